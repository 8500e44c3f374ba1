"""Slugs on their way out: what an export takes of the node, and for how long."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

from control import accounts, archives, moving
from control.archives import Archives
from control.context import Context
from core import files
from core.errors import DaeError
from core.nouns import App, now
from core.store import BuildRow
from slugs import packing
from tests.control.exported import Exported
from tests.control.ground import MARY, platform


@pytest.fixture
def here(exported: Exported, tmp_path: Path) -> Iterator[Context]:
    """Where the slug was built."""
    with platform(exported.home, tmp_path / "here.db") as context:
        slug, made = exported.bundle.slug, {"who": "mary", "state": "succeeded", "error": "", "created": now()}
        with context.store.write() as session:
            session.add(BuildRow(app="blog", commit=slug.commit, slug=slug.digest, **made))
        yield context


def app(context: Context) -> App:
    return accounts.require_app(context.store, MARY, "blog")


def read(context: Context, digest: str) -> Path:
    return moving.export(context, app(context), digest, lambda: None)


def test_two_at_once(here: Context, exported: Exported) -> None:
    """A third export is refused, and told what to type; it goes when one of the two was given back, twice as well."""
    digest = exported.bundle.slug.digest
    first, second = read(here, digest), read(here, digest)
    with pytest.raises(DaeError, match="slug/busy") as refused:
        read(here, digest)
    assert refused.value.hint.endswith(f"dae slugs export {digest[:12]} -a blog")
    for _ in range(2):
        moving.remove(here, first)
    third = read(here, digest)
    assert not first.exists() and second.read_bytes() == third.read_bytes() == exported.archive.read_bytes()
    for archive in (second, third):
        moving.remove(here, archive)
    assert here.exporting == set() and list(here.home.builds.iterdir()) == []


def test_whoever_asked_is_gone(here: Context, exported: Exported) -> None:
    """The export ends with the client, leaves nothing and counts no more."""

    def check() -> None:
        raise DaeError("push/cancelled", "gone")

    with pytest.raises(DaeError, match="push/cancelled"):
        moving.export(here, app(here), exported.bundle.slug.digest, check)
    assert here.exporting == set() and list(here.home.builds.iterdir()) == []


def test_an_export_is_weighed(
    here: Context, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written that might take from the node what runs on it needs; the room for all of it is there first."""
    order = packing.Order(str(here.home.root), "blog", exported.bundle.slug.digest)
    (tmp_path / "order.json").write_bytes(order.to_json())
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    with monkeypatch.context() as patched:
        patched.setattr(files, "KEPT_BYTES", free - (1 << 20))
        with pytest.raises(DaeError, match="platform/disk-full: writing the archive takes up to"):
            packing.pack(tmp_path, lambda _line: None)
    assert (tmp_path / packing.ARCHIVE).stat().st_size == 0
    reserved: list[int] = []

    def fill(out: io.BufferedWriter, *_words: object) -> str:
        reserved.append(os.fstat(out.fileno()).st_blocks * 512)
        return ""

    with monkeypatch.context() as patched:
        patched.setattr("slugs.archive.write", fill)
        packing.pack(tmp_path, lambda _line: None)
    assert reserved[0] >= sum(exported.bundle.files.values())
    packing.pack(tmp_path, lambda _line: None)
    assert (tmp_path / packing.ARCHIVE).read_bytes() == exported.archive.read_bytes()
    status = (tmp_path / packing.ARCHIVE).stat()
    assert status.st_blocks * 512 < status.st_size + (1 << 16)


@pytest.fixture
def door(here: Context) -> flask.Flask:
    made = flask.Flask("door")
    made.register_error_handler(DaeError, lambda error: (error.to_json(), error.status))
    Archives(made, here).register()
    return made


def ask(door: flask.Flask, context: Context, exported: Exported, **environ: object) -> Any:
    token = accounts.add_token(context.store, "mary")
    address = f"/api/v1/apps/blog/slugs/{exported.bundle.slug.digest}/archive"
    headers = {"Authorization": f"Bearer {token}"}
    return door.test_client().get(address, headers=headers, environ_overrides=environ, buffered=False)


def test_a_sent_archive_is_removed(door: flask.Flask, here: Context, exported: Exported) -> None:
    """Once it was read, or given up, its room is free and another may be exported."""
    with ask(door, here, exported) as answer:
        assert answer.data == exported.archive.read_bytes()
    assert here.exporting == set() and list(here.home.builds.iterdir()) == []


def test_who_reads_too_slowly(
    door: flask.Flask, here: Context, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive goes when its time is over, whoever still reads it: its room at once, and the connection breaks."""
    monkeypatch.setattr(archives, "SEND_SECONDS", 0.1)
    with ask(door, here, exported) as answer:
        pieces = iter(answer.response)
        assert next(pieces)
        deadline = time.monotonic() + 30
        while here.exporting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert here.exporting == set() and list(here.home.builds.iterdir()) == []
        with pytest.raises(BrokenPipeError):
            list(pieces)


def test_a_closed_connection_is_seen(door: flask.Flask, here: Context, exported: Exported) -> None:
    """A client that hung up is not packed for; one that waits, or says more, is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with ask(door, here, exported, **{"gunicorn.socket": ours}) as answer:
            assert answer.status_code == 200
        theirs.send(b"GET")
        with ask(door, here, exported, **{"gunicorn.socket": ours}) as answer:
            assert answer.status_code == 200
        assert ours.recv(3) == b"GET"
        theirs.close()
        with ask(door, here, exported, **{"gunicorn.socket": ours}) as answer:
            assert (answer.status_code, answer.json["error"]) == (409, "push/cancelled")
