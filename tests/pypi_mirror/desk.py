"""A user's terminal: the real command, and the real API behind it, over a mirror that runs.

``python -m tests.pypi_mirror.desk HOME`` serves the API as whoever runs it, until its standard input ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flask
from werkzeug.serving import make_server

from control import accounts
from control.archives import Archives
from control.http import _tell
from control.index_api import Index
from control.mirror_care_api import MirrorCare
from core.errors import DaeError
from core.paths import Home
from tests.control.ground import platform
from tests.pypi_mirror.mirror_process import MirrorProcess

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Told:
    """Where the API is, and the tokens of ``ann``, an administrator, and ``bob``, who is none."""

    url: str
    tokens: dict[str, str]


@dataclass
class Desk:
    """Whoever sits at it is ``ann``, if nothing else is said."""

    mirror: MirrorProcess
    folder: Path
    told: Told

    def dae(self, *words: str | Path, status: int = 0, who: str = "ann") -> tuple[str, str]:
        """What ``dae mirror`` writes on standard output and error."""
        return self.run("mirror", *words, status=status, who=who)

    def run(self, *words: str | Path, status: int = 0, who: str = "ann") -> tuple[str, str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DAE_URL": self.told.url,
            "DAE_CONFIG": str(self.folder / "c"),
            "DAE_TOKEN": self.told.tokens[who],
        }
        argv = [Path(sys.executable).with_name("dae"), *words]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr


@contextmanager
def serving(folder: Path) -> Iterator[Told]:
    """The parts of the API that concern the index, over the home in ``folder``."""
    home = Home(folder)
    for needed in (home.state, home.builds):
        needed.mkdir(exist_ok=True)
    with platform(home, home.database) as context:
        app = flask.Flask("control")
        app.register_error_handler(DaeError, _tell)
        for routes in (MirrorCare, Index, Archives):
            routes(app, context).register()
        tokens = {n: accounts.add_user(context.store, n, admin=n == "ann", who="mary") for n in ("ann", "bob")}
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Told(f"http://127.0.0.1:{server.server_port}", tokens)
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving_as(folder: Path, account: str | None) -> Iterator[Told]:
    """The same in a process of its own, as that UNIX account."""
    argv: list[str | Path] = [sys.executable, "-m", "tests.pypi_mirror.desk", folder]
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=account,
        group=account,
        extra_groups=[] if account else None,
        umask=0o077,
    )
    with process:
        try:
            assert process.stdout
            yield Told(**json.loads(process.stdout.readline()))
        finally:
            process.communicate()


if __name__ == "__main__":
    with serving(Path(sys.argv[1])) as told:
        print(json.dumps({"url": told.url, "tokens": told.tokens}), flush=True)
        sys.stdin.read()
