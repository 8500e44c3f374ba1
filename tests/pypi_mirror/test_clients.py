"""Real clients, old and new, install from the mirror through nginx, cut off from this machine's configuration."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.pypi_mirror.clients import HERE, PIPS, Ground
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

BACKEND = """\
import shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    shutil.copy("ready.whl", f"{folder}/NAME")
    return "NAME"
"""


def build_sdist(name: str, version: str) -> bytes:
    """An sdist that needs nothing to be built: its backend is inside, and so is what it builds."""
    wheel = f"{name}-{version}-py3-none-any.whl"
    members = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND.replace("NAME", wheel).encode(),
        "ready.whl": build_wheel(name, version),
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, data in members.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def offer(upstream: UpstreamModel, prefix: str) -> tuple[str, str, str]:
    """Three projects: the first needs the others; the second has versions not to be taken, the third only an sdist."""
    top, below, source = (f"{prefix}{name}" for name in ("top", "below", "source"))
    upstream.add(below, "1.0")
    upstream.add(below, "1.5")
    upstream.add(below, "2.0", python=">=3.99")
    upstream.add(below, "3.0rc1")
    files = upstream.pages[below]["files"]
    files[1]["yanked"], files[2]["requires-python"] = "it is broken", ">=3.99"
    upstream.add_file(source, f"{source}-1.0.tar.gz", build_sdist(source, "1.0"))
    upstream.add(top, "1.0", requires=f"{below}>=1")
    return top, below, source


def hashed(text: str) -> list[str]:
    """The pins of a lock, each of which has to have a hash."""
    pins = re.findall(r"^([a-z-]+==\S+)", text, re.M)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pins) > 0
    return sorted(pins)


@pytest.mark.parametrize("pip", PIPS)
def test_pip(pip: str, ground: Ground) -> None:
    """pip resolves, minds requires-python, yanks and pre-releases, and installs; warm, upstream is not asked."""
    top, below, _ = offer(ground.site.upstream, pip.replace("-", ""))
    ground.pip(pip, "download", "-d", "got", top)
    wheels = [f"{below}-1.0-py3-none-any.whl", f"{top}-1.0-py3-none-any.whl"]
    assert ground.names("got") == wheels
    asked = ground.site.upstream.counts.total()
    ground.pip(pip, "install", "--target", "put", top)
    assert (ground.folder / "put" / below / "__init__.py").read_text().startswith("VERSION = '1.0'")
    assert ground.site.upstream.counts.total() == asked


@pytest.mark.parametrize("client", ["old-pip", "own-pip", "uv"])
def test_credentials_in_the_address(client: str, ground: Ground) -> None:
    """Who sends a name and a token, because a program wants some there, installs as everybody does."""
    top, below, _ = offer(ground.site.upstream, client.replace("-", "") + "known")
    index = ground.site.index.replace("://", "://ann:dae_t%2Fk3n@")
    if client == "uv":
        ground.uv("pip", "install", "--index-url", index, "--target", "put", top)
    else:
        ground.pip(client, "install", "-i", index, "--target", "put", top)
    assert {top, below} <= set(ground.names("put"))


@pytest.mark.parametrize("pip", PIPS)
def test_pip_takes_what_is_asked_for(pip: str, ground: Ground) -> None:
    """A yanked version is installed by who pins it, with its reason; a pre-release by who wants one; no other is."""
    _, below, _ = offer(ground.site.upstream, pip.replace("-", "") + "odd")
    assert "it is broken" in ground.pip(pip, "download", "-d", "yanked", f"{below}==1.5")
    ground.pip(pip, "download", "-d", "pre", "--pre", below)
    assert (ground.names("yanked"), ground.names("pre")) == (
        [f"{below}-1.5-py3-none-any.whl"],
        [f"{below}-3.0rc1-py3-none-any.whl"],
    )
    ground.pip(pip, "download", "-d", "none", f"{below}==2.0", fails=True)


@pytest.mark.parametrize("pip", PIPS)
def test_pip_with_hashes(pip: str, ground: Ground) -> None:
    """By a lock with hashes pip installs what the lock names, and nothing whose hash is another one."""
    top, below, _ = offer(ground.site.upstream, pip.replace("-", "") + "locked")
    entries = {name: ground.site.upstream.pages[name]["files"][0]["hashes"]["sha256"] for name in (top, below)}
    ground.write("lock.txt", "".join(f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in entries.items()))
    ground.pip(pip, "install", "--target", "put", "--require-hashes", "-r", "lock.txt")
    assert {top, below} <= set(ground.names("put"))
    ground.write("wrong.txt", f"{top}==1.0 --hash=sha256:{entries[below]}\n")
    said = ground.pip(pip, "install", "--target", "no", "--no-deps", "--require-hashes", "-r", "wrong.txt", fails=True)
    assert "DO NOT MATCH THE HASHES" in said


@pytest.mark.parametrize("pip", ["own-pip", "new-pip"])
def test_pip_builds_an_sdist(pip: str, ground: Ground) -> None:
    """A project that has only an sdist is built and installed."""
    *_, source = offer(ground.site.upstream, pip.replace("-", "") + "built")
    ground.pip(pip, "install", "--target", "put", source)
    assert (ground.folder / "put" / source / "__init__.py").is_file()


def test_pip_reads_metadata_by_ranges(ground: Ground) -> None:
    """``--use-feature=fast-deps`` reads the metadata of a wheel that the mirror has not fetched yet in parts of it."""
    upstream = ground.site.upstream
    upstream.add("fastbelow", "1.0")
    upstream.add("fasttop", "1.0", requires="fastbelow", padding=200_000)
    ground.pip("own-pip", "download", "--use-feature=fast-deps", "-d", "got", "fasttop")
    assert ground.names("got") == ["fastbelow-1.0-py3-none-any.whl", "fasttop-1.0-py3-none-any.whl"]
    assert 206 in ground.statuses("fasttop-1.0-py3-none-any.whl")
    assert upstream.counts["/up/fasttop-1.0-py3-none-any.whl"] == 1


def test_uv(ground: Ground) -> None:
    """uv locks with hashes and installs by that lock, an sdist too; warm, upstream is not asked."""
    top, below, source = offer(ground.site.upstream, "uv")
    ground.uv("venv", "--python", HERE, "venv")
    python = ground.folder / "venv" / "bin" / "python"
    ground.write("in.txt", f"{top}\n{source}\n")
    ground.uv("pip", "compile", "--generate-hashes", "in.txt", "-o", "lock.txt")
    assert hashed((ground.folder / "lock.txt").read_text()) == [f"{below}==1.0", f"{source}==1.0", f"{top}==1.0"]
    ground.uv("pip", "sync", "--no-cache", "--require-hashes", "--python", python, "lock.txt")
    assert "1.0\n" in ground.run(python, "-c", f"import {top}, {below}, {source}; print({below}.VERSION)")
    asked = ground.site.upstream.counts.total()
    ground.uv("pip", "install", "--no-cache", "--target", "put", top)
    assert ground.site.upstream.counts.total() == asked


def test_uv_takes_what_is_asked_for(ground: Ground) -> None:
    """uv warns of a yanked pin with its reason, takes a pre-release when told, and cools down by upload times."""
    _, below, _ = offer(ground.site.upstream, "uvodd")
    install = ["pip", "install", "--no-cache", "--target"]
    assert "it is broken" in ground.uv(*install, "yanked", f"{below}==1.5")
    assert f"{below}==3.0rc1" in ground.uv(*install, "pre", "--prerelease", "allow", below)
    assert f"{below}==1.0" in ground.uv(*install, "then", "--exclude-newer", "2024-05-07", below)
    ground.uv(*install, "before", "--exclude-newer", "2024-05-05", below, fails=True)


def test_uv_reads_metadata_by_ranges(ground: Ground) -> None:
    """uv resolves by parts of wheels, too: the mirror fetches each once."""
    upstream = ground.site.upstream
    upstream.add("uvranged", "1.0", padding=200_000)
    ground.write("in.txt", "uvranged\n")
    assert "uvranged==1.0" in ground.uv("pip", "compile", "--no-cache", "in.txt")
    assert 206 in ground.statuses("uvranged-1.0-py3-none-any.whl")
    assert upstream.counts["/up/uvranged-1.0-py3-none-any.whl"] == 1


def test_uv_project(ground: Ground) -> None:
    """A project of uv's locks and syncs against the index; the lock names the index's own addresses."""
    top, below, _ = offer(ground.site.upstream, "uvproject")
    ground.write(
        "pyproject.toml",
        f'[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{top}"]\n',
    )
    ground.uv("lock", "--python", HERE)
    lock = (ground.folder / "uv.lock").read_text()
    assert f'name = "{below}"\nversion = "1.0"' in lock
    assert "size = " in lock
    assert 'upload-time = "2024-05-06T07:08:09.123Z"' in lock
    ground.uv("sync", "--locked", "--no-cache", "--python", HERE)
    assert "1.0\n" in ground.run(ground.folder / ".venv/bin/python", "-c", f"import {below}; print({below}.VERSION)")


def test_pip_tools(ground: Ground) -> None:
    """pip-compile locks with hashes, and pip-sync installs by it."""
    top, below, _ = offer(ground.site.upstream, "tools")
    ground.write("in.txt", f"{top}\n")
    index = ["--no-config", "-i", ground.site.index]
    compile_: list[str | Path] = [HERE, "-m", "piptools", "compile", "-q", "--generate-hashes", "--strip-extras"]
    ground.run(*compile_, *index, "-o", "lock.txt", "in.txt", PIP_NO_CACHE_DIR="1")
    assert hashed((ground.folder / "lock.txt").read_text()) == [f"{below}==1.0", f"{top}==1.0"]
    ground.run(HERE.with_name("virtualenv"), "-q", "venv")
    python = ground.folder / "venv" / "bin" / "python"
    ground.run(HERE, "-m", "piptools", "sync", "-q", *index, "--python-executable", python, "lock.txt")
    assert "1.0\n" in ground.run(python, "-c", f"import {top}, {below}; print({below}.VERSION)")


def test_poetry(ground: Ground) -> None:
    """poetry locks against the index as its only source, with hashes, and installs by the lock."""
    top, below, _ = offer(ground.site.upstream, "poetry")
    ground.write_poetry(top)
    ground.poetry("lock", "-n")
    lock = (ground.folder / "poetry.lock").read_text()
    assert f'name = "{below}"\nversion = "1.0"' in lock
    assert "sha256:" in lock
    ground.poetry("install", "-n")
    assert "1.0\n" in ground.run(ground.folder / ".venv/bin/python", "-c", f"import {below}; print({below}.VERSION)")


def test_pipenv(ground: Ground) -> None:
    """pipenv locks with hashes from the pages, downloads no more than it installs, and syncs by the lock."""
    top, below, _ = offer(ground.site.upstream, "pipenv")
    ground.write_pipenv(top)
    ground.pipenv("--python", str(HERE), "lock")
    locked = json.loads((ground.folder / "Pipfile.lock").read_text())["default"]
    assert locked[below]["version"] == "==1.0"
    assert locked[below]["hashes"]
    assert ground.site.upstream.counts[f"/up/{below}-2.0-py3-none-any.whl"] == 0
    ground.pipenv("sync")
    assert "1.0\n" in ground.run(ground.folder / ".venv/bin/python", "-c", f"import {below}; print({below}.VERSION)")
