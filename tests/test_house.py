"""The rules of the house that are cheap to hold; CONTRIBUTING.md has all of them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = {"run", "Popen", "call", "check_call", "check_output"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# In pieces, so that this file holds none of them itself.
REGISTRIES = [
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("crates", "io"))
]


def files(*patterns: str) -> list[Path]:
    """The files that git has, or would take."""
    argv = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(), str(path))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_every_folder_says_what_it_is() -> None:
    """Each top-level folder that can be seen has a README.md."""
    folders = {path.relative_to(ROOT).parts[0] for path in files() if len(path.relative_to(ROOT).parts) > 1}
    seen = sorted(name for name in folders if not name.startswith("."))
    assert "core" in seen
    assert [name for name in seen if not (ROOT / name / "README.md").is_file()] == []


def test_no_shell() -> None:
    """No Python file gives a command to a shell: neither by ``shell=`` nor by the functions that always do."""
    found = []
    for path in files("*.py"):
        for call in calls(path):
            name = ast.unparse(call.func)
            asked = name.split(".")[-1] in RUNNERS and any(word.arg == "shell" for word in call.keywords)
            if asked or name in SHELLS:
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_registry_is_named(host: str) -> None:
    """Which index is upstream is the operator's and pip's affair: no file of ours names the host of one."""
    assert [str(path.relative_to(ROOT)) for path in files() if host.encode() in path.read_bytes()] == []


def test_every_error_code_can_happen() -> None:
    """Each code of the catalogue stands somewhere in the platform's code: one that nothing raises is removed."""
    from core.errors import CATALOG

    parts = [path for path in files("*.py") if path.relative_to(ROOT).parts[0] not in ("tests", "sdk", "examples")]
    text = "\n".join(path.read_text() for path in parts)
    assert [code for code in CATALOG if text.count(f'"{code}"') < 2] == [], "it stands in the catalogue only"


def test_every_setting_is_read() -> None:
    """Each setting stands somewhere besides its declaration: one that nothing reads is removed."""
    from dataclasses import fields

    from core.config import Settings

    parts = [path for path in files("*.py") if path.relative_to(ROOT).parts[0] not in ("tests", "sdk", "examples")]
    text = "\n".join(path.read_text() for path in parts)
    names = [field.name for field in fields(Settings)]
    assert [name for name in names if f"settings.{name}" not in text and f"self.{name}" not in text] == []


def test_tests_say_what_they_prove() -> None:
    """Each test has a docstring."""
    found = []
    for path in files("tests/*.py"):
        tests = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        silent = [test for test in tests if test.name.startswith("test_") and not ast.get_docstring(test)]
        found += [f"{path.relative_to(ROOT)}:{test.lineno}" for test in silent]
    assert found == []
