"""Why an app crashed, from what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.crashes import Ran, explained
from core.errors import DaeError

CRASH = DaeError("release/crashed", "the process ended before it answered", "its last lines are above")
TRACE = ["Traceback (most recent call last):", '  File "/x/app.py", line 1, in <module>', "    import nobody"]
NO_MODULE = "ModuleNotFoundError: No module named 'nobody.here'"
ADD = "add the package that brings 'nobody' to requirements.txt"
HANDLER_BELOW = "is in server/, and imports begin at the top; in place of the handler, write into Procfile: web:"
ASGI, WORKER = " is an ASGI application", "'web: gunicorn -k uvicorn_worker.UvicornWorker app:app' into Procfile, and"
MINE = "mine/__init__.py"
MV_TIME = "Python's own module 'time' is imported in place of your time.py; give it another name: git mv time.py"
MV_FLASK = "place of the installed package 'flask'; give it another name: git mv flask.py my_flask.py"


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
        ([handler("ModuleNotFoundError: No module named 'yaml'")], "yaml", "add PyYAML, which brings 'yaml', to requi"),
        (["ModuleNotFoundError: No module named 'rest_framework.views'"], "rest", "add djangorestframework, which"),
        ([handler("ModuleNotFoundError: No module named 'site_of_mine'")], "mine", HANDLER_BELOW),
        (["ModuleNotFoundError: No module named 'inner'"], "inner", "start it there: web: gunicorn --chdir src/deep "),
        (["ModuleNotFoundError: No module named 'helper'"], "helper", "brings 'helper' to requirements.txt"),
        (["AttributeError: module 'random' has no attribute 'x' (consider)"], "random", "Python's own module 'random'"),
        (["ImportError: cannot import name 'Flask' from partially initialized module 'flask' (x)"], "Flask", MV_FLASK),
        (["ModuleNotFoundError: No module named 'flask.views'; 'flask' is not a package"], "not a package", MV_FLASK),
        (["ImportError: cannot import name 'now' from 'time' (unknown location)"], "now", MV_TIME),
        (["AttributeError: module 'json' has no attribute 'x'"], "json", "above"),
        ([f"ModuleNotFoundError: No module named '{'x' * 260}'"], "xxx", "above"),
        ([f"AttributeError: module '{'x' * 260}' has no"], "xxx", "above"),
        ([handler(f"ImportError: it{ASGI}, which: take that handler")], "it is an ASGI application, which", WORKER),
        (["nothing known"], CRASH.cause, CRASH.hint),
        ([], CRASH.cause, CRASH.hint),
    ],
)  # fmt: skip
def test_explained(tmp_path: Path, lines: list[str], cause: str, hint: str) -> None:
    """The handler that the runtime named, else the last exception; the hint says what to type or where to look."""
    for name in ("requirements.txt", "server/site_of_mine/settings.py", "src/deep/inner.py", "tests/helper.py", MINE):
        place = tmp_path / "code" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
    for name in ("random.py", "time.py"):
        (tmp_path / "code" / name).write_text("")
    (tmp_path / "code/flask.py").write_text("")
    (tmp_path / "env/lib/python3.11/site-packages/flask").mkdir(parents=True)
    error = explained(CRASH, lines, Ran(tmp_path / "code", tmp_path / "env"))
    assert error.code == "release/crashed"
    assert cause in error.cause
    assert hint in error.hint


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """What the shell says of the process's command comes first."""
    ran = Ran(tmp_path, tmp_path, "uv run gunicorn app:app")
    told = explained(CRASH, ["/bin/sh: 1: uv: not found"], ran)
    assert (told.cause, "write 'gunicorn app:app' alone" in told.hint) == (CRASH.cause, True)


def test_a_command_that_is_not_missed(tmp_path: Path) -> None:
    """What a program raised counts, whatever a shell had said before it: the app may do without that."""
    lines = ["/bin/sh: 1: git: not found", *TRACE, "KeyError: 'DATABASE_URL'", "Shutting down"]
    told = explained(CRASH, lines, Ran(tmp_path, tmp_path, "gunicorn app:app"))
    assert "KeyError: 'DATABASE_URL'" in told.cause
    assert told.hint.endswith("dae config set DATABASE_URL=VALUE")


def test_a_lock_is_not_written_by_hand(tmp_path: Path) -> None:
    """Where a manager's lock counts, the hint is that manager's command."""
    (tmp_path / "Pipfile.lock").write_text('{"_meta": {"pipfile-spec": 6, "requires": {}}, "default": {}}')
    crash = explained(CRASH, ["ModuleNotFoundError: No module named 'yaml'"], Ran(tmp_path, tmp_path))
    assert crash.hint == "type: pipenv install PyYAML"
    crash = explained(CRASH, ["ModuleNotFoundError: No module named 'nobody'"], Ran(tmp_path, tmp_path))
    assert crash.hint == "pipenv install PACKAGE, which brings 'nobody'"


def test_an_apps_words_are_bounded(tmp_path: Path) -> None:
    """Whatever it writes, the cause stays a sentence."""
    assert len(explained(CRASH, ["ValueError: " + "x" * 10_000], Ran(tmp_path, tmp_path)).cause) < 400


def test_an_asgi_application_that_is_called_as_wsgi(tmp_path: Path) -> None:
    """It is told by how the call of one ends; of any other answer nothing is known."""
    crash = DaeError("release/unhealthy", "GET / was answered with status 500", "above")
    ran = Ran(tmp_path, tmp_path, "gunicorn app:app")
    line = "TypeError: App.__call__() missing 1 required positional argument: 'send'"
    told = explained(crash, [*TRACE, line], ran)
    assert (told.code, told.cause) == (crash.code, crash.cause)
    assert "gunicorn -k uvicorn_worker.UvicornWorker MODULE:app" in told.hint
    assert explained(crash, [*TRACE, "TypeError: f() missing 1 required positional argument: 'x'"], ran) is crash
