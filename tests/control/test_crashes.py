"""Why an app crashed, from what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.crashes import explained
from core.errors import DaeError

CRASH = DaeError("release/crashed", "the process ended before it answered", "its last lines are above")
TRACE = ["Traceback (most recent call last):", '  File "/x/app.py", line 1, in <module>', "    import nobody"]
NO_MODULE = "ModuleNotFoundError: No module named 'nobody.here'"
ADD = "'nobody' to requirements.txt"


def handler(error: str) -> str:
    return f"dae: wsgi_app app:app cannot be imported: {error}"


@pytest.mark.parametrize(
    ("lines", "cause", "hint"),
    [
        ([*TRACE, NO_MODULE, "Worker exiting", handler(NO_MODULE)], "'wsgi_app: app:app'", ADD),
        ([*TRACE, NO_MODULE, "Shutting down"], "answered: ModuleNotFoundError", ADD),
        ([handler("ModuleNotFoundError: No module named 'app'")], "No module named 'app'", "no app.py"),
        ([handler("ModuleNotFoundError: No module named 'mine.part'")], "mine.part", "was a file not committed?"),
        (["KeyError: 'DATABASE_URL'"], "KeyError", "dae config set DATABASE_URL=VALUE"),
        (["KeyError: 'lower'"], "KeyError: 'lower'", "above"),
        (["django.core.exceptions.ImproperlyConfigured: no"], "ImproperlyConfigured: no", "above"),
        (["ValueError", "an Error: in prose"], "answered: ValueError", "above"),
        (["nothing known"], CRASH.cause, CRASH.hint),
        ([], CRASH.cause, CRASH.hint),
    ],
)  # fmt: skip
def test_explained(tmp_path: Path, lines: list[str], cause: str, hint: str) -> None:
    """The handler that the runtime named, else the last exception; the hint says what to type or where to look."""
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "mine").mkdir()
    error = explained(CRASH, lines, tmp_path)
    assert error.code == "release/crashed"
    assert cause in error.cause
    assert hint in error.hint


def test_an_apps_words_are_bounded(tmp_path: Path) -> None:
    """Whatever it writes, the cause stays a sentence."""
    assert len(explained(CRASH, ["ValueError: " + "x" * 10_000], tmp_path).cause) < 400
