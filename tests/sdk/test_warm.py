"""An instance that was begun before its release was there is the instance that it would have been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from dae.runtime import warm
from tests.sdk.processes import UnixConnection, fetch, until
from tests.sdk.test_gunicorn import HANDLERS_COMMAND, environ_of, folder

__all__ = ["folder"]
#: An app that tells all that it can see of how it was started.
TELLING = """
import json, os, socket, sys, threading
def app(environ, start_response):
    main = sys.modules["__main__"]
    import gunicorn.config
    found = {
        "settings": {
            name: getattr(made.default, "__qualname__", str(made.default))
            for name, made in sorted(gunicorn.config.make_settings().items())
        },
        "cwd": os.getcwd(), "environ": dict(os.environ), "path": sys.path, "argv": sys.argv,
        "main": [main.__name__, main.__spec__.name, main.__file__], "patched": socket.socket.__module__,
        "modules": sorted(sys.modules), "original": sys.orig_argv, "thread": threading.current_thread().name,
        "flags": str(sys.flags), "umask": os.umask(7),
    }
    start_response("200 OK", [])
    return [json.dumps(found).encode()]
"""


@contextmanager
def started(folder: Path, environ: Mapping[str, str], argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program with a pipe for its standard input, ended in the end; what is open there was not closed by it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def tell(process: subprocess.Popen[bytes], argv: list[str], environ: Mapping[str, str], cwd: Path) -> None:
    assert process.stdin is not None
    order = {"argv": argv, "environ": dict(environ), "cwd": str(cwd)}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()


def told_of(folder: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(fetch(UnixConnection(folder / "s"), "/")[2])
    return answer


def answers(folder: Path) -> bool:
    return fetch(UnixConnection(folder / "s"), "/")[0] == 200


WARM_COMMAND = [sys.executable, "-m", "dae.runtime.warm", *HANDLERS_COMMAND[1:]]


def test_it_is_what_it_would_have_been(folder: Path) -> None:
    """The app finds the same paths, arguments, variables and modules; nothing is said; standard input stays open."""
    (folder / "app.py").write_text(TELLING)
    (folder / "lib").mkdir()
    environ = environ_of(folder, PYTHONPATH=f"{folder}:{folder}/lib:{folder}", PYTHONUNBUFFERED="1", LANG="C.UTF-8")
    environ["DAE_HANDLERS"] = json.dumps([{"url": "/.*", "wsgi_app": "app:app"}])
    with started(folder, environ, HANDLERS_COMMAND, folder / "cold.log"):
        until(lambda: answers(folder), "the app answers", (folder / "cold.log").read_text)
        cold = told_of(folder)
    before = {**environ, "DAE_RELEASE": "v2", "DAE_CODE": "/nowhere", "DAE_HANDLERS": "[]", "DAE_WORKERS": "3"}
    del before["PYTHONPATH"]
    with started(Path("/"), before, WARM_COMMAND, folder / "warm.log") as process:
        tell(process, HANDLERS_COMMAND, environ, folder)
        until(lambda: answers(folder), "the app answers", (folder / "warm.log").read_text)
        now = told_of(folder)
    assert now.pop("original") == WARM_COMMAND
    assert cold.pop("original") == HANDLERS_COMMAND
    extra = set(now.pop("modules")) - set(cold.pop("modules"))  # type: ignore[call-overload]
    assert extra <= {"runpy", "pkgutil", "zipimport", "importlib.util", "dae.runtime.warm"}
    assert now == cold
    assert (folder / "warm.log").read_text() == (folder / "cold.log").read_text() == ""


TELLER = "import os, sys, json; print(json.dumps([sys.argv, dict(os.environ), os.getcwd(), os.getpid()]))"


@pytest.mark.parametrize(
    ("argv", "config", "files"),
    [
        (["/bin/sh", "-c", 'exec "$0" -c "$1"', sys.executable, TELLER], {}, {}),  # another program
        ([sys.executable, "-c", TELLER], {}, {}),  # not the server
        ([sys.executable, "-m", "gunicorn"], {"COLOUR": "red"}, {"gunicorn.py": TELLER}),  # a variable changed
        ([sys.executable, "-m", "gunicorn"], {"NEW": "1"}, {"gunicorn.py": TELLER}),
        ([sys.executable, "-m", "gunicorn"], {"COLOUR": ""}, {"gunicorn.py": TELLER}),
        ([sys.executable, "-m", "gunicorn"], {}, {"gunicorn.py": TELLER}),  # the app has a server of its own
        ([sys.executable, "-m", "gunicorn"], {}, {"sitecustomize.py": f"{TELLER}\nsys.stdout.flush(); os._exit(0)"}),
        ([sys.executable, "-m", "gunicorn"], {}, {"lib/usercustomize.py": "", "gunicorn.py": TELLER}),
    ],
)
def test_where_it_would_differ_it_begins_afresh(
    folder: Path, argv: list[str], config: dict[str, str], files: dict[str, str]
) -> None:
    """The very process becomes the program, with exactly its environment."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = environ_of(folder, COLOUR="blue", LANG="C.UTF-8")
    environ = {**before, "PYTHONPATH": f"{folder}:{folder}/lib", **config}
    del before["PYTHONPATH"]
    with started(Path("/"), before, WARM_COMMAND, folder / "log") as process:
        tell(process, argv, environ, folder)
        assert process.wait(20) == 0, (folder / "log").read_text()
    _argv, found, cwd, pid = json.loads((folder / "log").read_text().splitlines()[0])
    assert {name: found[name] for name in environ} == environ
    assert set(found) <= {*environ, "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}  # a shell's own
    assert (cwd, pid) == (str(folder), process.pid)


def test_signals_are_as_for_any_program(folder: Path) -> None:
    """SIGPIPE is not ignored by what it becomes, as it would be by what Python starts."""
    with started(Path("/"), environ_of(folder), WARM_COMMAND, folder / "log") as process:
        tell(process, ["/bin/grep", "SigIgn", "/proc/self/status"], environ_of(folder), folder)
        assert process.wait(20) == 0
    ignored = int((folder / "log").read_text().split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1


def test_a_server_may_be_told_much(folder: Path) -> None:
    """An order larger than a pipe arrives whole, in pieces."""
    environ = environ_of(folder, LARGE="x" * 100_000)
    with started(Path("/"), environ_of(folder), WARM_COMMAND, folder / "log") as process:
        tell(process, [sys.executable, "-c", "import os; print(len(os.environ['LARGE']))"], environ, folder)
        assert process.wait(20) == 0
    assert (folder / "log").read_text() == "100000\n"


def test_nobody_tells_it(folder: Path) -> None:
    """It ends with its standard input."""
    with started(Path("/"), environ_of(folder), WARM_COMMAND, folder / "log") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert (folder / "log").read_text() == ""


def test_what_is_loaded_before_is_loaded_anyway() -> None:
    """Each of the modules is there, so that the list does not rot unseen."""
    code = f"import importlib; [importlib.import_module(name) for name in {warm.MODULES!r}]"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("json.py", True),
        ("json.cpython-311-x86_64-linux-gnu.so", True),
        ("email/x.py", True),
        ("usercustomize.pyc", True),
        ("json.txt", False),
        ("json.conf.py", False),
        ("gunicorn.conf.py", False),
        ("app.py", False),
        ("lib/json.py", False),
    ],
)
def test_names_that_are_taken(tmp_path: Path, name: str, told: bool) -> None:
    """A file counts when an import of a name that is loaded could find it."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert warm.shadowed([str(tmp_path / "missing"), str(tmp_path)]) is told
