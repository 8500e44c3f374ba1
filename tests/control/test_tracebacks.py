"""Tracebacks of crashed apps, as a push shows them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from control.tracebacks import LEFT_OUT, shortened

CHAIN = """\
import json
def one(): json.loads("{")
def two():
    try: one()
    except ValueError as error: raise RuntimeError("no luck") from error
two()
"""


def crashed(folder: Path, text: str) -> list[str]:
    """What Python itself writes when an app of that text is imported by others."""
    (folder / "app.py").write_text(text)
    words = [sys.executable, "-c", "import importlib; importlib.import_module('app')"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False).stderr.splitlines()


def frames(lines: list[str]) -> list[str]:
    return [match[1] for line in lines if (match := re.match(r'  File "([^"]+)"', line))]


def test_own_frames_and_the_last(tmp_path: Path) -> None:
    """Of both tracebacks of a chain; a frame of a library that raised keeps its place in the library."""
    whole = crashed(tmp_path, CHAIN)
    told = shortened(whole, tmp_path)
    assert [path.rpartition("python3")[0] or path for path in frames(told)] == [
        *("app.py", "app.py", "json/decoder.py"), *("app.py", "app.py"),
    ]  # fmt: skip
    assert len(frames(whole)) > len(frames(told))
    assert told[-2:] == ["RuntimeError: no luck", LEFT_OUT]
    assert "The above exception was the direct cause of the following exception:" in told


def test_a_mistake_in_the_syntax(tmp_path: Path) -> None:
    """The line that is wrong is shown, though it is no frame of its own."""
    told = shortened(crashed(tmp_path, "x = (\n"), tmp_path)
    assert frames(told) == ["app.py"]
    assert told[-2].startswith("SyntaxError")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["ready", "  indented", "bye"], ["ready", "  indented", "bye"]),
        (
            ["[2026-11-30 23:51:32 +0000] [1] [ERROR] Reason: Worker failed to boot.", "ImportError: no x", "no x"],
            ["ImportError: no x"],
        ),
        (["[2026-11-30 23:51:32 +0000] [1] [ERROR] of the app's own"], None),
        (["dae: wsgi_app app:app cannot be imported: ImportError: no x"], []),
        ([], []),
    ],
)
def test_what_else_was_written(lines: list[str], told: list[str] | None) -> None:
    """The app's own words stay as they are; the server's about the end go, and what the error says once more."""
    assert shortened(lines, Path("/code")) == (lines if told is None else told)
