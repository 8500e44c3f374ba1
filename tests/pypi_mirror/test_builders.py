"""What real tools build may be published: wheels and sdists of each build backend, and wheels that were packed anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pypi_mirror import archives
from tests.pypi_mirror.clients import UV, Clients

PROJECT = '[project]\nname = "thing"\nversion = "1.0"\ndescription = "A thing."\n[build-system]\nrequires = []\n'
#: The backend, what says where the package is, and the client that brings it; none: this environment has it.
BACKENDS = {
    "setuptools.build_meta": ('[tool.setuptools]\npackages = ["thing"]\n', ""),
    "poetry.core.masonry.api": ("", ""),
    "flit_core.buildapi": ("", "flit"),
    "hatchling.build": ("", "hatch"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a package of one module."""
    folder = tmp_path / "source"
    (folder / "thing").mkdir(parents=True)
    (folder / "dist").mkdir()
    (folder / "thing" / "__init__.py").write_text("A = 1\n")
    (folder / "README.md").write_text("A thing.\n")
    return folder


def run(folder: Path, *argv: str | Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends(clients: Clients, source: Path, backend: str) -> None:
    """A backend's wheel and sdist are taken, and the wheel again when it was unpacked and packed."""
    more, client = BACKENDS[backend]
    python = clients(client) / "bin" / "python" if client else Path(sys.executable)
    (source / "pyproject.toml").write_text(f'{PROJECT}build-backend = "{backend}"\n{more}')
    for kind in ("wheel", "sdist"):
        run(source, python, "-c", f"import {backend} as backend; backend.build_{kind}('dist')")
    taken(source, 2)
    if backend == "setuptools.build_meta":
        (wheel,) = (source / "dist").glob("*.whl")
        run(source, sys.executable, "-m", "wheel", "unpack", wheel)
        shutil.rmtree(source / "dist")
        (source / "dist").mkdir()
        run(source, sys.executable, "-m", "wheel", "pack", "thing-1.0", "-d", "dist")
        taken(source, 1)


def test_uv_build(source: Path) -> None:
    """What uv builds by itself is taken."""
    shutil.move(source / "thing", source / "src" / "thing")
    version = subprocess.run([UV, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    project = PROJECT.replace("requires = []", f'requires = ["uv_build>={version}"]')
    (source / "pyproject.toml").write_text(f'{project}build-backend = "uv_build"\n')
    run(source, UV, "build", "--quiet", "--no-config")
    taken(source, 2)


def taken(source: Path, count: int) -> None:
    found = [path for path in (source / "dist").iterdir() if path.suffix in (".whl", ".gz")]
    assert len(found) == count
    for path in found:
        assert archives.check(path, path.name).name == "thing"
