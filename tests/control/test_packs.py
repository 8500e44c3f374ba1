"""Buildpacks between control and a build: copies go in, an archive comes out, and neither is believed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from buildpacks.installed import Chosen
from control import packs
from control.context import Context
from core.errors import DaeError
from core.paths import Home

MOST = 1000


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """As far as this looks at one: a home with one buildpack."""
    home = Home(tmp_path / "h")
    home.caches.mkdir(parents=True)
    for program in ("detect", "compile"):
        (home.buildpacks / "node" / "bin").mkdir(parents=True, exist_ok=True)
        (home.buildpacks / "node" / "bin" / program).touch()
    settings = SimpleNamespace(buildpacks="", cache_bytes=MOST)
    return cast(Context, SimpleNamespace(home=home, settings=settings))


@pytest.fixture
def node(context: Context) -> Chosen:
    return packs.choose(context, ("node", "python"))


def built(context: Context, chosen: Chosen, tmp_path: Path, name: str, app: str = "blog") -> Path:
    work = tmp_path / name
    work.mkdir()
    packs.bring(context, app, chosen, work)
    return work


def test_what_one_build_keeps_the_next_one_gets(context: Context, node: Chosen, tmp_path: Path) -> None:
    """Of the same app, under whatever name; closed to others; gone with the app."""
    work = built(context, node, tmp_path, "1")
    assert (work / "packs" / "1-node" / "bin" / "compile").stat().st_mode & 0o111
    assert not (work / "cache.tar").exists()
    (work / "cache.tar").write_bytes(b"kept")
    packs.keep(context, "blog", node, work)
    assert context.home.cache("blog").stat().st_mode & 0o777 == 0o600
    assert not (built(context, node, tmp_path, "2", "other") / "cache.tar").exists()
    packs.rename(context, "blog", "diary")
    packs.rename(context, "blog", "diary")
    again = built(context, node, tmp_path, "3", "diary")
    assert (again / "cache.tar").read_bytes() == b"kept"
    assert (again / "cache.tar").stat().st_ino != context.home.cache("diary").stat().st_ino
    packs.forget(context, "diary")
    assert list(context.home.caches.iterdir()) == []


def test_what_is_not_kept(context: Context, node: Chosen, tmp_path: Path) -> None:
    """No link, nothing that is no file, nothing too large; without an archive the next build finds none."""
    kept = context.home.cache("blog")
    kept.write_bytes(b"before")
    work = built(context, node, tmp_path, "1")
    archive = work / "cache.tar"
    for make in (
        lambda: archive.symlink_to("/etc/passwd"),
        lambda: os.mkfifo(archive),
        lambda: archive.write_bytes(b"x" * (MOST + 1)),
    ):
        archive.unlink()
        make()
        packs.keep(context, "blog", node, work)
        assert (kept.is_symlink(), kept.read_bytes()) == (False, b"before")
    archive.unlink()
    packs.keep(context, "blog", node, work)
    assert not kept.exists()


def test_an_app_without_classic_buildpacks_has_no_cache(context: Context, tmp_path: Path) -> None:
    """Nothing is brought, and nothing is taken away."""
    context.home.cache("blog").write_bytes(b"before")
    python = packs.choose(context, ("python",))
    assert list(built(context, python, tmp_path, "1").iterdir()) == []
    packs.keep(context, "blog", python, tmp_path)
    assert context.home.cache("blog").exists()


def test_whether_a_slug_would_be_made_the_same_way(context: Context, node: Chosen) -> None:
    """By the versions of ours and the content of the operator's."""
    assert packs.unchanged(context, node.text)
    assert packs.unchanged(context, "python/3")
    assert not packs.unchanged(context, "python/1")
    (context.home.buildpacks / "node" / "bin" / "compile").write_text("changed")
    assert not packs.unchanged(context, node.text)
    for gone in ("ruby@0123456789abcdef", "", "+", "@/"):
        with pytest.raises(DaeError, match="build/unknown-buildpack"):
            packs.unchanged(context, gone)
