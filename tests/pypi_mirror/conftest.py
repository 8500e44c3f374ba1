"""One upstream and one mirror for most tests, which use projects of their own; an own pair where something breaks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pypi_mirror.clients import Ground, install_clients
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
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment for each client, made once."""
    folder = tmp_path_factory.mktemp("clients")
    install_clients(folder)
    return folder


@pytest.fixture(scope="session")
def site() -> Iterator[Front]:
    """A mirror behind nginx, for all who leave it as they found it."""
    with front() as made:
        yield made


@pytest.fixture
def ground(tmp_path: Path, site: Front, clients: Path) -> Ground:
    return Ground(tmp_path, site, clients)
