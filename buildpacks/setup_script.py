"""Run by :mod:`buildpacks.setupfiles`, isolated: SETUP.PY on standard input, what it says plainly on standard output.

A parser can be broken by what it parses, so that is not done where the platform works. Nothing of the file is run.
Prints a JSON table of ``install_requires`` (a list of texts) and ``python_requires`` (a list of one); each is
``"dynamic"`` when it would have to be calculated, and ``null`` when it is not there. Or, for all, ``"dynamic"``, or
``"line N: ..."`` of a file that is not Python.
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
        found = keywords(ast.parse(sys.stdin.buffer.read()))
    except SyntaxError as error:
        found = f"line {error.lineno}: {error.msg}"
    except (ValueError, TypeError, RecursionError, MemoryError):
        found = "dynamic"
    print(json.dumps(found))  # noqa: T201 - a program's output


def keywords(tree: ast.Module) -> object:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) == "setup"]
    if len(calls) != 1:
        return "dynamic"
    given = {keyword.arg: keyword.value for keyword in calls[0].keywords}
    if None in given:  # setup(**something)
        return "dynamic"
    return {name: _texts(given.get(name)) for name in ("install_requires", "python_requires")}


def _texts(expression: ast.expr | None) -> object:
    if expression is None:
        return None
    try:
        value = ast.literal_eval(expression)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return "dynamic"
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        return "dynamic"
    return [text.strip() for text in value if text.strip()]


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


if __name__ == "__main__":
    main()
