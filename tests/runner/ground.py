"""A home with accounts (as root), a real supervisord with the plug-in, and apps made of a few lines of Python."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dae
from control.platform import layout
from core.config import Settings
from core.nouns import Handler, Health, Instance, Process, ProcessType, Slug, Stage, canonical_json
from core.paths import Home
from runner.accounts import accounts_for, remove_platform
from runner.node import Node
from runner.strays import reap_strays
from runner.supervisor import Supervisor

ENVIRONMENT, TREE, COMMIT = "e" * 64, "c" * 40, "d" * 40
DEADLINE = 20.0
ROOT = os.geteuid() == 0

#: A web server on DAE_SOCKET or PORT that answers what the path says: ``/500`` with 500, ``/env`` with its environment.
SERVER = """\
import http.server, json, os, socket, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = int(self.path[1:4]) if self.path[1:4].isdigit() else 200
        body = json.dumps(dict(os.environ) if self.path == "/env" else dict(self.headers)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "-"
class Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
path = os.environ["DAE_SOCKET"]
address = ("127.0.0.1", int(os.environ.get("PORT") or 0))
server = Unix(path, Handler) if path else http.server.ThreadingHTTPServer(address, Handler)
print("serving", flush=True)
server.serve_forever()
"""


def until(condition: Callable[[], object], what: str) -> None:
    """Ask until ``condition`` holds; fails after DEADLINE seconds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


class Ground:
    """A home and what the tests put into it."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.settings = Settings(home=root, build_timeout=20, drain_timeout=2)
        self.accounts = accounts_for(self.settings, self.home)
        self.apps: set[str] = set()

    def build(self) -> None:
        self.accounts.ensure_platform()
        ids = None
        if ROOT:
            entry = pwd.getpwnam(self.settings.account)
            ids = layout.Ids(entry.pw_uid, entry.pw_gid)
        layout.apply(layout.plan(layout.table(self.home), ids, layout.find))
        make_environment(self.home.environment(ENVIRONMENT))

    def node(self) -> Node:
        return Node(self.settings, self.home, self.accounts, Supervisor(self.home, self.settings))

    def release(
        self,
        app: str,
        commands: Mapping[str, str],
        number: int = 1,
        *,
        files: Mapping[str, str] | None = None,
        handlers: tuple[Handler, ...] = (),
        config: Mapping[str, str] | None = None,
        port: int = 0,
        health: Health | None = None,
    ) -> Instance:
        """Lay down code, manifest and release file of ``app`` in dev; returns its web instance."""
        kinds = {"web": ProcessType.WEB, "release": ProcessType.RELEASE}
        self.apps.add(app)
        code = self.home.code(app, TREE)
        code.mkdir(parents=True, exist_ok=True)
        code.parent.chmod(0o755)
        for name, text in {"server.py": SERVER, **(files or {})}.items():
            (code / name).write_text(text)
        slug = Slug(
            commit=COMMIT,
            code=TREE,
            environment=ENVIRONMENT,
            interpreter="cpython-3.11",
            buildpack="python/1",
            processes=tuple(Process(n, kinds.get(n, ProcessType.WORKER), c) for n, c in commands.items()),
            handlers=handlers,
            health=health or Health(timeout=15),
        )
        self.home.slug(slug.digest).write_bytes(canonical_json(slug.to_json()))
        data = {"app": app, "number": number, "stage": "dev", "slug": slug.digest, "config": config or {}, "port": port}
        path = self.home.release(app, number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(canonical_json(data))
        return Instance(app, Stage.DEV, number, "web")

    def socket(self, instance: Instance) -> Path:
        return self.home.app_socket(instance.app, instance.stage, instance.release, instance.index)

    def erase(self) -> None:
        reap_strays(self.home, grace=0)
        for app in self.apps:
            self.accounts.remove_app(app)
        if ROOT:
            remove_platform(self.settings)
        shutil.rmtree(self.home.root)


class Daemon:
    """A supervisord of a ground."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        home = self.ground.home
        config = home.agent_state / "supervisord.conf"
        config.write_text(
            f"[unix_http_server]\nfile = {home.socket('supervisor')}\nchmod = 0600\n"
            f"[supervisord]\nnodaemon = true\nlogfile = {home.logs}/supervisord.log\n"
            f"pidfile = {home.agent_state}/supervisord.pid\nchildlogdir = {home.logs}\n"
            + ("user = root\n" if ROOT else "")
            + "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[rpcinterface:dae]\nsupervisor.rpcinterface_factory = runner.supervisor_plugin:make\n"
        )
        argv = [sys.executable, "-I", "-m", "supervisor.supervisord", "-s", "-c", str(config)]
        self.process = subprocess.Popen(argv, cwd="/", stdout=subprocess.DEVNULL)
        until(lambda: home.socket("supervisor").exists(), "supervisord listens")

    def kill(self) -> None:
        """As the machine's out-of-memory killer would: its children stay."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None
        self.ground.home.socket("supervisor").unlink(missing_ok=True)


def make_environment(folder: Path) -> None:
    """What stands for an environment layer: an interpreter that sees what is installed beside these tests."""
    base = Path(sys.executable).resolve()
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    theirs = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (packages / "dae").symlink_to(Path(dae.__file__).parent)
    (packages / "these.pth").write_text(f"import site; {theirs}\n")


@contextmanager
def ground() -> Iterator[Ground]:
    """A ground of its own, erased afterwards."""
    root = Path(tempfile.mkdtemp(prefix="dr", dir="/tmp"))
    root.chmod(0o755)
    made = Ground(root)
    try:
        made.build()
        yield made
    finally:
        made.erase()
