"""The runtime under the real gunicorn, started the way instances are started."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.processes import UnixConnection, fetch, program, until

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["SCRIPT_NAME"].encode() + b"hello " + environ["PATH_INFO"].encode("latin-1")]
"""
HANDLERS = [
    {"url": "/static/(.*)", "wsgi_app": "", "static_files": "static/\\1", "upload": "static/.*"},
    {"url": "/.*", "wsgi_app": "app:app", "static_files": "", "upload": ""},
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dae-") as name:
        path = Path(name)
        (path / "app.py").write_text(APP)
        (path / "static").mkdir()
        (path / "static" / "style.css").write_text("body {}")
        yield path


def environ_of(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "DAE_APP": "blog",
        "DAE_STAGE": "dev",
        "DAE_RELEASE": "v3",
        "DAE_SOCKET": str(folder / "s"),
        "DAE_CODE": str(folder),
        "DAE_HANDLERS": json.dumps(HANDLERS),
        "PYTHONPATH": str(folder),
        "GUNICORN_CMD_ARGS": "-c python:dae.runtime.gunicorn_conf",
        **more,
    }


def get(folder: Path, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    return fetch(UnixConnection(folder / "s"), path, method, headers)


HANDLERS_COMMAND = [sys.executable, "-m", "gunicorn", "dae.runtime.wsgi:application"]


def test_handlers_are_served_on_the_socket(folder: Path) -> None:
    """One gunicorn answers for the app, its files and the predefined URLs; its group may connect, others may not."""
    with program(HANDLERS_COMMAND, folder, environ_of(folder), folder / "log") as process:
        until(lambda: get(folder, "/")[0] == 200, "the app answers")
        assert get(folder, "/x")[2] == "hello /x"
        assert get(folder, "/static/style.css")[2] == "body {}"
        assert get(folder, "/_dae/health")[2] == "ok v3\n"
        assert json.loads(get(folder, "/_dae/release")[2]) == {"app": "blog", "stage": "dev", "release": "v3"}
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o770
        assert get(folder, "/a", SCRIPT_NAME="/a")[2] != "/ahello ", "a client's header is not believed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert (folder / "log").read_text() == ""


def test_nginx_is_left_to_send_files(folder: Path) -> None:
    """With DAE_ACCEL=1 the answer names the file and is empty."""
    with program(HANDLERS_COMMAND, folder, environ_of(folder, DAE_ACCEL="1"), folder / "log"):
        until(lambda: get(folder, "/")[0] == 200, "the app answers")
        status, headers, body = get(folder, "/static/style.css")
        assert (status, headers["X-Accel-Redirect"], body) == (200, "/_dae_static/static/style.css", "")


@pytest.mark.parametrize("worker", [[], ["-k", "sync"], ["-k", "gthread"]])
def test_a_procfile_command_gets_the_predefined_urls_too(folder: Path, worker: list[str]) -> None:
    """``web: gunicorn app:app`` answers /_dae/health, whichever of gunicorn's WSGI workers it chooses."""
    with program([sys.executable, "-m", "gunicorn", *worker, "app:app"], folder, environ_of(folder), folder / "log"):
        until(lambda: get(folder, "/_dae/health")[0] == 200, "the predefined URL answers")
        assert get(folder, "/")[2] == "hello /"


@pytest.mark.parametrize(
    "source, said",
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("import json\njson.nothing", "has no attribute 'nothing'"),
        ("def f(:", "SyntaxError"),
        ("other = 1", "no 'app'"),
        ("raise SystemExit(0)", "SystemExit(0)"),
    ],
)
def test_a_crash_at_import_is_a_crash_of_the_instance(folder: Path, source: str, said: str) -> None:
    """gunicorn ends with a status that is not 0, and the log says where the app's own module went wrong."""
    (folder / "app.py").write_text(source + "\n")
    with program(HANDLERS_COMMAND, folder, environ_of(folder), folder / "log") as process:
        assert process.wait(30) != 0
    log = (folder / "log").read_text()
    assert said in log
    assert "Failed to find attribute" not in log


def test_a_port_is_bound_on_loopback_only() -> None:
    """gunicorn's own default for PORT is every address of the machine; ours is 127.0.0.1."""
    environ = {"PORT": "8123", "GUNICORN_CMD_ARGS": "-c python:dae.runtime.gunicorn_conf"}
    argv = [sys.executable, "-m", "gunicorn", "--print-config", "wsgiref.simple_server:demo_app"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=30, check=True)
    settings = dict(line.split(" = ", 1) for line in done.stdout.splitlines() if " = " in line)
    found = {name.strip(): value.strip() for name, value in settings.items()}
    assert found["bind"] == "['127.0.0.1:8123']"
    assert int(found["keepalive"]) > 30, "closing is left to the router, so that no POST meets a closing connection"
    assert found["control_socket_disable"] == "True"
