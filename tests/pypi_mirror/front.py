"""A real mirror behind the router's real nginx, with a model of upstream: what clients of the platform talk to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.pypi_mirror.mirror_process import Answer, MirrorProcess, ask
from tests.pypi_mirror.upstream_model import UpstreamModel
from tests.router.conftest import Nginx, router_home


@dataclass
class Front:
    """Two doors to one mirror: ``port`` of nginx, and ``mirror.port`` of the Python behind it."""

    nginx: Nginx
    mirror: MirrorProcess
    upstream: UpstreamModel
    account: str | None = None  # that the mirror runs as, when it is not this one's

    @property
    def port(self) -> int:
        return self.nginx.settings.port

    @property
    def index(self) -> str:
        return f"http://127.0.0.1:{self.port}/pypi/simple/"

    @property
    def pages(self) -> Path:
        """What nginx serves without asking the mirror."""
        return self.nginx.home.mirror / "pages" / "default"

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET", *, door: str) -> Answer:
        """Ask at a door: "nginx" or "python"."""
        return ask(self.port if door == "nginx" else self.mirror.port, path, headers, method)


@contextmanager
def front(ttl: int = 600, configuration: str = "") -> Iterator[Front]:
    """``configuration``: of the mirror's gunicorn, Python."""
    with router_home() as nginx:
        home, upstream = nginx.home, UpstreamModel()
        account = nginx.settings.account if os.geteuid() == 0 else None
        for path in (home.root, home.run, home.mirror, home.mirror / "files"):
            if account:
                shutil.chown(path, account, account)
        home.mirror.chmod(0o750)
        (home.root / "gunicorn.py").write_text(configuration)
        (home.root / "gunicorn.py").chmod(0o644)
        options = ("-c", str(home.root / "gunicorn.py"))
        bind = f"unix:{home.socket('mirror')}"
        home.socket("mirror").parent.mkdir(parents=True, exist_ok=True)
        mirror = MirrorProcess(home.root, upstream.url, ttl, bind=bind, account=account, options=options)
        try:
            nginx.start()
            yield Front(nginx, mirror, upstream, account)
        finally:
            mirror.stop()
            upstream.close()
