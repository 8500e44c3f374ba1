"""What is told of Pythons that builds pass over."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from buildpacks import interpreters
from buildpacks.interpreters import Interpreter, survey


def program(folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
    place = folder / name / "bin" / "python3.99"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    place.chmod(mode)
    return place


def test_why_a_python_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails, cannot be run, talks of something else, is too old, or is not there: each with the reason."""
    monkeypatch.setattr(interpreters, "_on_this_machine", tuple)  # looking through it takes seconds
    broken = program(tmp_path, "broken", "#!/bin/sh\necho libpython3.99.so: not found >&2\nexit 127\n")
    closed = program(tmp_path, "closed", "#!/bin/nothing\n")
    other = program(tmp_path, "other", "#!/bin/sh\necho hello\n")
    real = program(tmp_path, "real", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    said = '{"python": "/x", "prefix": "/x", "name": "cpython", "version": [3, 8, 18]}'
    old = program(tmp_path, "old", f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "empty").mkdir()
    found = dict(survey(False, tmp_path))
    assert found[broken] == "it does not start: libpython3.99.so: not found"
    assert str(found[closed]).startswith("it cannot be started: ")
    assert found[other] == "it does not say what it is"
    assert found[old] == "it is 3.8.18, and apps run on 3.9 or later"
    assert found[tmp_path / "empty"] == "there is no bin/python3.N in it"
    assert isinstance(found[real], Interpreter)
    default = next(iter(found.values()))
    assert isinstance(default, Interpreter)
    assert default.version == sys.version_info[:3]
