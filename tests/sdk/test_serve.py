"""dae serve, really started: it answers, follows changes, keeps serving over mistakes, and leaves nothing behind."""

from __future__ import annotations

import http.client
import os
import signal
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from dae.cli.errors import CliError
from dae.local import plan
from dae.local.environment import STAMP, Environment
from dae.local.watch import matters
from tests.processes import alive
from tests.sdk.conftest import DAE, Person
from tests.sdk.processes import fetch, free_port, program, until

APP_YAML = """handlers:
- url: /static/(.*)
  static_files: static/\\1
  upload: static/.*
- url: /.*
  wsgi_app: app:app
"""
APP = """import os
from dae.api.permdir import get_permdir
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["{text} {{}} {{}}".format(os.environ["DAE_ENV"], get_permdir()).encode()]
"""


def ready_made(folder: Path) -> None:
    """An environment for the app without asking any index: it borrows the packages of the tests' own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    packages = next((folder / ".venv" / "lib").glob("python*")) / "site-packages"
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (packages / "borrowed.pth").write_text("".join(lines))
    (folder / ".venv" / STAMP).write_text(Environment(folder).wanted_stamp())


@pytest.fixture
def folder(person: Person) -> Path:
    (person.folder / "app.yaml").write_text(APP_YAML)
    (person.folder / "app.py").write_text(APP.format(text="one"))
    (person.folder / "static").mkdir()
    (person.folder / "static" / "a.txt").write_text("first")
    ready_made(person.folder)
    return person.folder


class Serving:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def get(self, path: str = "/") -> str:
        return fetch(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10), path)[2]

    def until_says(self, text: str, path: str = "/") -> None:
        """While it restarts there may be no answer, or half of one."""

        def says() -> bool:
            with suppress(http.client.HTTPException, OSError):
                return text in self.get(path)
            return False

        until(says, f"{text!r} at {path}", self.log)

    def log(self) -> str:
        return self._log.read_text()

    def until_logs(self, text: str) -> None:
        until(lambda: text in self.log(), f"{text!r} in the log", self.log)


@contextmanager
def serving(person: Person) -> Iterator[Serving]:
    port = free_port()
    log = person.home / "serve.log"
    with program([str(DAE), "serve", "--port", str(port)], person.folder, person.environ, log) as process:
        try:
            yield Serving(process, port, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_the_app_is_served_and_reloaded(person: Person, folder: Path) -> None:
    """Handlers as on the platform; a changed module is served soon, also from a folder that did not exist before."""
    with serving(person) as server:
        server.until_says(f"one SDK {folder}/.dae/permdir")
        assert server.get("/static/a.txt") == "first"
        assert "SDK" in server.get("/_dae/release")
        (folder / "static" / "a.txt").write_text("second")
        assert server.get("/static/a.txt") == "second"
        (folder / "app.py").write_text(APP.format(text="two"))
        server.until_says("two SDK")
        (folder / "parts").mkdir()
        server.until_logs("parts changed")
        (folder / "parts" / "__init__.py").write_text("TEXT = 'three'\n")
        (folder / "app.py").write_text(
            "from parts import TEXT\n" + APP.format(text="{}").replace("format(", "format(TEXT, ")
        )
        server.until_says("three SDK")
        (folder / "parts" / "__init__.py").write_text("TEXT = 'four'\n")
        server.until_says("four SDK")


def test_a_change_has_the_name_of_the_file_that_changed(person: Person, folder: Path) -> None:
    """Many editors write aside and rename: what is told of is the file, not the name that is gone."""
    with serving(person) as server:
        server.until_says("one")
        (folder / "aside4711").write_text(APP.format(text="two"))
        (folder / "aside4711").rename(folder / "app.py")
        server.until_logs("app.py changed, reloading")
        assert "aside4711 changed" not in server.log()


def test_a_mistake_in_app_yaml_stops_nothing(person: Person, folder: Path) -> None:
    """The error is shown with its line, what ran goes on, and the mended file counts."""
    with serving(person) as server:
        server.until_says("one")
        (folder / "app.yaml").write_text(APP_YAML + "handlers: []\n")
        server.until_logs("build/bad-app-yaml")
        assert "one" in server.get()
        (folder / "app.yaml").write_text(APP_YAML.replace("/static/", "/files/"))
        server.until_says("first", "/files/a.txt")


def test_a_crash_is_said_and_the_next_change_starts_again(person: Person, folder: Path) -> None:
    """Nothing serves while the app cannot be imported; saving a good version is enough."""
    with serving(person) as server:
        server.until_says("one")
        (folder / "app.py").write_text("import nothing_of_that_name\n")
        server.until_logs("it is started again when a file changes")
        assert "ModuleNotFoundError" in server.log()
        (folder / "app.py").write_text(APP.format(text="mended"))
        server.until_says("mended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_behind(person: Person, folder: Path, number: signal.Signals) -> None:
    """Ctrl-C, kill and a closed terminal end gunicorn, its workers and whatever those started."""
    started = folder / "child.pid"
    (folder / "app.py").write_text(
        "import subprocess\n"
        f"with open({str(started)!r}, 'w') as file:\n"
        "    file.write(str(subprocess.Popen(['sleep', '300']).pid))\n" + APP.format(text="one")
    )
    with serving(person) as server:
        server.until_says("one")
        child = int(started.read_text())
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert server.get() == ""
        until(lambda: not alive(child), "the app's own child is gone")


def test_a_procfile_is_served_too(person: Person, folder: Path) -> None:
    """``web`` runs in a shell with PORT, on loopback, and is started anew when a file changes."""
    (folder / "app.yaml").unlink()
    (folder / "Procfile").write_text("web: gunicorn app:app\nrelease: false\n")
    gunicorn = folder / ".venv" / "bin" / "gunicorn"
    gunicorn.write_text(f'#!/bin/sh\nexec {folder}/.venv/bin/python -m gunicorn "$@"\n')
    gunicorn.chmod(0o755)
    with serving(person) as server:
        server.until_says("one SDK")
        assert server.get("/_dae/health") == "ok\n"
        (folder / "app.py").write_text(APP.format(text="two"))
        server.until_says("two SDK")


def test_a_taken_port_is_said_at_once(person: Person, folder: Path) -> None:
    """No half a minute of retries: the error names the port and another one."""
    with serving(person) as server:
        server.until_says("one")
        done = person.dae("serve", "--port", str(server.port), status=1)
        assert done.stderr.startswith(f" !     local/port-taken: port {server.port}")


def test_what_cannot_be_served_is_said(person: Person, folder: Path) -> None:
    """No entry, a malformed file, two entries: the build's own words, before anything starts."""
    (folder / "Procfile").write_text("web: gunicorn app:app\n")
    assert "build/bad-procfile" in person.dae("serve", status=1).stderr
    (folder / "Procfile").unlink()
    (folder / "app.yaml").write_text("handlers: [")
    assert "build/bad-app-yaml" in person.dae("serve", status=1).stderr
    (folder / "app.yaml").unlink()
    (folder / "Procfile").write_text("worker: python x.py\n")
    assert "Procfile has no process 'web'; it has: worker" in person.dae("serve", status=1).stderr


def test_where_nothing_is_to_be_served_nothing_is_made(person: Person) -> None:
    """A wrong folder gets no environment."""
    assert "local/no-entry" in person.dae("serve", status=1).stderr
    assert not (person.folder / ".venv").exists()


def test_the_plan_of_a_site(tmp_path: Path) -> None:
    """A folder of files is served as on the platform; so is one that says that it is a site."""
    (tmp_path / "index.html").touch()
    server = plan.read(tmp_path, {}, 8000)
    assert "dae.runtime.site:application" in server.environ["DAE_HANDLERS"]
    (tmp_path / "tool.py").touch()
    with pytest.raises(CliError, match="local/no-entry"):
        plan.read(tmp_path, {}, 8000)
    (tmp_path / "app.yaml").write_text("buildpacks: [static]")
    assert plan.read(tmp_path, {}, 8000).environ["DAE_HANDLERS"] == server.environ["DAE_HANDLERS"]


def test_the_plan_names_loopback_and_nothing_of_the_platform(tmp_path: Path) -> None:
    """What a shell has of DAE_SOCKET or DAE_ACCEL does not reach the app."""
    (tmp_path / "app.yaml").write_text(APP_YAML)
    server = plan.read(tmp_path, {"PATH": "/bin", "DAE_SOCKET": "/s", "DAE_ACCEL": "1"}, 8000)
    assert "DAE_SOCKET" not in server.environ and "DAE_ACCEL" not in server.environ
    assert server.environ["PORT"] == "8000"
    assert server.environ["PATH"] == f"{tmp_path}/.venv/bin{os.pathsep}/bin"
    (tmp_path / "app.yaml").write_bytes(b"\xff")
    with pytest.raises(CliError, match="UTF-8"):
        plan.read(tmp_path, {}, 8000)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("app.py", True),
        ("templates/index.html", True),
        (".gitignore", True),
        (".git/index", False),
        (".venv/lib/x.py", False),
        ("a/__pycache__/x.pyc", False),
        (".dae/permdir/votes.json", False),
        ("db.sqlite3", False),
        ("db.sqlite3-journal", False),
        ("app.py~", False),
        (".app.py.swp", False),
        ("../other/app.py", False),
        ("", False),
    ],
)
def test_only_the_apps_own_files_matter(path: str, expected: bool) -> None:
    """What git, Python, editors and the app itself write makes no reload."""
    assert matters(f"/home/mary/app/{path}", Path("/home/mary/app")) is expected
