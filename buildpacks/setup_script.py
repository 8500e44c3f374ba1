"""Run by :mod:`buildpacks.project`, isolated: SETUP.PY on standard input, its literal requirements on standard output.

A parser can be broken by what it parses, so that is not done where the platform works. Nothing of the file is run.
Prints a JSON list of texts, ``"dynamic"``, ``"line N: ..."`` of a file that is not Python, or ``null`` when no
requirements are named.
"""

import ast
import json
import resource
import sys

LIMITS = ((resource.RLIMIT_CPU, 5), (resource.RLIMIT_AS, 1 << 30), (resource.RLIMIT_CORE, 0))


def main() -> None:
    for which, wanted in LIMITS:
        hard = resource.getrlimit(which)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (limit, limit))
    try:
        found = requirements(ast.parse(sys.stdin.buffer.read()))
    except SyntaxError as error:
        found = f"line {error.lineno}: {error.msg}"
    except (ValueError, TypeError, RecursionError, MemoryError):
        found = "dynamic"
    print(json.dumps(found))  # noqa: T201 - a program's output


def requirements(tree: ast.Module) -> object:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) == "setup"]
    if len(calls) != 1:
        return "dynamic"
    given = {keyword.arg: keyword.value for keyword in calls[0].keywords}
    if None in given:  # setup(**something)
        return "dynamic"
    if "install_requires" not in given:
        return None
    value = ast.literal_eval(given["install_requires"])
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        return "dynamic"
    return [text.strip() for text in value if text.strip()]


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


if __name__ == "__main__":
    main()
