"""What is read before a slug serves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from control import wholeness
from control.context import Context
from control.recording import Source
from core.errors import DaeError
from core.nouns import Slug
from tests.control.exported import Exported, export
from tests.control.ground import QUIET, platform


@pytest.fixture
def made(tmp_path: Path) -> Exported:
    return export(tmp_path)


@pytest.fixture
def here(made: Exported, tmp_path: Path) -> Iterator[Context]:
    with platform(made.home, tmp_path / "here.db") as context:
        yield context


def damaged(context: Context, slug: Slug, *, again: bool) -> bool:
    """Whether a reading of the slug finds damage; ``again``: not that of a push."""
    source = Source("blog", slug.commit, "mary", sharing=False)
    with (
        context.slugs.in_use(lambda: None),
        wholeness.reading(context, slug, source, QUIET, again=again) as reading,
    ):
        return reading._damaged()


def flip(path: Path) -> None:
    """Another first byte, and no trace of it."""
    before, data = path.stat(), path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"X" + data[1:])
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("large", [False, True])
def test_a_push_reads_what_is_large_once_an_hour(
    here: Context, made: Exported, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """A small slug is read by each push, a large one when it was not lately, both by all else each time."""
    slug = made.bundle.slug
    monkeypatch.setattr(wholeness, "SMALL_BYTES", 0 if large else 1 << 40)
    assert not damaged(here, slug, again=False)
    flip(made.home.code("blog", slug.code) / "app.py")
    assert damaged(here, slug, again=False) != large
    if large:
        here.reads._clock = lambda: float("inf")  # more than an hour later
        assert damaged(here, slug, again=False)


def test_all_else_reads_each_time(here: Context, made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read a moment ago is read again."""
    monkeypatch.setattr(wholeness, "SMALL_BYTES", 0)
    slug = made.bundle.slug
    assert not damaged(here, slug, again=True)
    library = next(made.home.environment(slug.environment).glob("lib/*/site-packages/alpha/__init__.py"))
    flip(library)
    assert damaged(here, slug, again=True)


def test_what_is_damaged_does_not_count_as_read(here: Context, made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that finds damage is followed by another one."""
    monkeypatch.setattr(wholeness, "SMALL_BYTES", 0)
    slug = made.bundle.slug
    flip(made.home.code("blog", slug.code) / "app.py")
    assert damaged(here, slug, again=False)
    assert damaged(here, slug, again=False)


def test_a_reading_that_was_killed(here: Context, made: Exported) -> None:
    """It tells nothing of the layers: they do not count as damaged, and the next reading says how they are."""
    slug = made.bundle.slug
    manifest = made.home.environment(slug.environment) / "environment.json"
    before = manifest.read_bytes()
    manifest.parent.chmod(0o755)
    manifest.unlink()
    os.mkfifo(manifest)  # whoever reads it waits
    source = Source("blog", slug.commit, "mary", sharing=False)
    with here.slugs.in_use(lambda: None), wholeness.reading(here, slug, source, QUIET) as reading:
        os.kill(working_on(made.home.builds), signal.SIGKILL)
        with pytest.raises(DaeError, match="platform/internal: the layers could not be read to their end") as caught:
            reading._damaged()
        assert "type the command again" in caught.value.hint
    manifest.unlink()
    manifest.write_bytes(before)
    assert not damaged(here, slug, again=True)
    assert list(made.home.builds.glob("verification-*")) == []


def working_on(folder: Path) -> int:
    """The process whose command line names something in the folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                    return int(entry.name)
    pytest.fail("there is no such process")


def test_what_was_read_lately_is_looked_at(here: Context, made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large slug's push sees who wrote to a file, or took one away, without reading it."""
    monkeypatch.setattr(wholeness, "SMALL_BYTES", 0)
    slug = made.bundle.slug
    assert not damaged(here, slug, again=False)
    assert not damaged(here, slug, again=False)
    library = next(made.home.environment(slug.environment).glob("lib/*/site-packages/alpha/__init__.py"))
    before = library.stat()
    os.utime(library, (1, 1))
    assert damaged(here, slug, again=False)
    os.utime(library, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not damaged(here, slug, again=False)
    code = made.home.code("blog", slug.code)
    code.chmod(0o755)
    (code / "app.py").unlink()
    assert damaged(here, slug, again=False)
