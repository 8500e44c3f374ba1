"""One upstream and one mirror for most tests, which use projects of their own; an own pair where something breaks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pypi_mirror.clients import Clients, Ground, installed
from tests.pypi_mirror.front import Front, front
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.upstream_model import UpstreamModel


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[UpstreamModel]:
    model = UpstreamModel()
    yield model
    model.close()


@pytest.fixture(scope="session")
def shared_mirror(shared_upstream: UpstreamModel) -> Iterator[MirrorProcess]:
    with tempfile.TemporaryDirectory(prefix="dm") as folder:
        process = MirrorProcess(Path(folder), shared_upstream.url)
        yield process
        process.stop()


@pytest.fixture
def upstream() -> Iterator[UpstreamModel]:
    model = UpstreamModel()
    yield model
    model.close()


@pytest.fixture
def new_mirror(tmp_path: Path) -> Iterator[Callable[..., MirrorProcess]]:
    """Starts mirrors: ``new_mirror(upstream url, ttl=..., DAE_X=...)``."""
    started: list[MirrorProcess] = []

    def start(url: str, ttl: int = 600, **environ: str) -> MirrorProcess:
        started.append(MirrorProcess(tmp_path, url, ttl, environ))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """Real clients, which all processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clients"
    folder.mkdir(exist_ok=True)
    return lambda name: installed(folder, name)


@pytest.fixture(scope="session")
def site() -> Iterator[Front]:
    """A mirror behind nginx, for all who leave it as they found it."""
    with front() as made:
        yield made


@pytest.fixture
def ground(tmp_path: Path, site: Front, clients: Clients) -> Ground:
    return Ground(tmp_path, site, clients)
