"""Slugs on their way, as control handles them: what an export takes, and what an import leaves."""

from __future__ import annotations

import datetime
import io
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import flask
import pytest

from control import accounts, archives, keeping, moving, recovery, trust
from control.accounts import Identity
from control.archives import Archives
from control.context import Context
from control.locks import lock_name
from control.node import Node
from control.output import Output
from core import events, files
from core.config import Settings
from core.coord import EmbeddedCoord
from core.errors import DaeError
from core.nouns import App, now
from core.paths import Home
from core.store import AppRow, BuildRow, Store, UserRow
from slugs import SlugStore, packing, signing
from slugs.bundle import Bundle
from tests.control.exported import Exported, file_of

MARY = Identity("mary", admin=True)
QUIET = Output(lambda _line: None)
NOBODY_LEFT = DaeError("push/cancelled", "gone")


class Agent:
    """Tells who held the app while its account was made."""

    def __init__(self, store: Store) -> None:
        self.coord = EmbeddedCoord(store)
        self.holders: list[str] = []

    def ensure_app(self, app: str) -> None:
        self.holders.append(str(self.coord.holder(lock_name(app))))


@contextmanager
def platform(home: Home, database: Path) -> Iterator[Context]:
    store = Store.at(database)
    store.migrate()
    with store.write() as session:
        session.add(UserRow(name="mary", admin=True, created=now()))
        session.flush()
        session.add(AppRow(name="blog", owner="mary", next_release=1, destroyed=False, created=now()))
    node = cast(Node, SimpleNamespace(agent=Agent(store)))
    yield Context(Settings(home.root), home, store, EmbeddedCoord(store), SlugStore(home), node, accounts=False)
    store.close()


@pytest.fixture
def here(exported: Exported, tmp_path: Path) -> Iterator[Context]:
    """Where the slug was built."""
    with platform(exported.home, tmp_path / "here.db") as context:
        slug, made = exported.bundle.slug, {"who": "mary", "state": "succeeded", "error": "", "created": now()}
        with context.store.write() as session:
            session.add(BuildRow(app="blog", commit=slug.commit, slug=slug.digest, **made))
        yield context


@pytest.fixture
def there(exported: Exported, tmp_path: Path) -> Iterator[Context]:
    """A platform that has nothing, and trusts the other one."""
    home = Home(tmp_path / "there")
    for folder in (home.state, home.builds, home.codes, home.slugs):
        folder.mkdir(parents=True)
    with platform(home, home.database) as context:
        trust.trust(context, "here", signing.public_key(exported.home.signing_key), "mary")
        yield context


def app(context: Context) -> App:
    return accounts.require_app(context.store, MARY, "blog")


def builds(context: Context) -> list[tuple[str, str]]:
    with context.store.read() as session:
        return [(row.state, row.slug) for row in session.query(BuildRow).order_by(BuildRow.id)]


def kinds(context: Context) -> list[str]:
    with context.store.read() as session:
        return [event.kind for event in events.list_events(session)]


def bring(context: Context, archive: Path, output: Output = QUIET) -> dict[str, Any]:
    with archive.open("rb") as stream:
        received = moving.receive(context, stream)
    return moving.import_slug(context, App("blog", "mary", now()), received, MARY, output)


def read(context: Context, digest: str) -> Path:
    return moving.export(context, app(context), digest, lambda: None)


# --- out


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
        raise NOBODY_LEFT

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


# --- in


def test_an_import_is_a_build(there: Context, exported: Exported) -> None:
    """It has a record, and its event with that; once more it has another, and the slug is kept as long from then."""
    digest = exported.bundle.slug.digest
    assert bring(there, exported.archive) == {"app": "blog", "slug": digest, "imported": True}
    assert builds(there) == [("succeeded", digest)]
    assert kinds(there)[-3:] == ["build-started", "build-succeeded", "slug-imported"]
    with there.store.write() as session:
        for row in session.query(BuildRow):
            row.finished = now() - datetime.timedelta(hours=2)
    assert keeping.wanted(there) == set()
    assert bring(there, exported.archive)["imported"] is False
    assert builds(there) == [("succeeded", digest)] * 2
    assert keeping.wanted(there) == {("blog", digest)}


def test_no_import_without_its_event(there: Context, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slug counts as imported in the very transaction that tells of it, or not at all."""
    append = events.append

    def killed(session: Any, kind: str, **more: Any) -> Any:
        if kind == "slug-imported":
            raise KeyboardInterrupt
        return append(session, kind, **more)

    monkeypatch.setattr(events, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        bring(there, exported.archive)
    assert builds(there) == [("running", "")]


def test_control_reads_no_document(there: Context, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document of any size holds nobody up: a program beside control reads it."""

    def never(_data: bytes) -> Bundle:
        raise AssertionError("control itself read a document")

    monkeypatch.setattr(Bundle, "from_bytes", never)
    assert bring(there, exported.archive)["imported"] is True


def test_the_app_is_held(there: Context, exported: Exported) -> None:
    """Nobody renames or destroys the app while a slug of it comes in."""
    bring(there, exported.archive)
    assert cast(Agent, there.node.agent).holders == ["an import by mary"]


@pytest.mark.parametrize("change", ["destroyed", "renamed"])
def test_the_app_went_meanwhile(there: Context, exported: Exported, change: str) -> None:
    """Between the upload and the import: it fails, and no record, account, folder or layer is left."""
    before = kinds(there)

    def on_line(line: str) -> None:
        if line.startswith("-----> Importing"):
            with there.store.write() as session:
                row = session.get_one(AppRow, "blog")
                row.destroyed, row.name = change == "destroyed", "blog" if change == "destroyed" else "other"

    with pytest.raises(DaeError, match="app/unknown"):
        bring(there, exported.archive, Output(on_line))
    assert builds(there) == [] and kinds(there) == before
    assert cast(Agent, there.node.agent).holders == []
    assert list(there.home.codes.iterdir()) == [] and list(there.home.slugs.iterdir()) == []


def test_nothing_is_read_of_strangers(there: Context, exported: Exported, tmp_path: Path) -> None:
    """The signer is asked after before the document is looked at; the error names the key, and what to type."""
    key = tmp_path / "another.key"
    signature = signing.sign(key, b"nonsense")
    archive = exported.forged(tmp_path / "forged", document=b"nonsense", signature=signature)
    with pytest.raises(DaeError, match="slug/untrusted") as refused:
        bring(there, archive)
    assert refused.value.hint.endswith(f"dae slugs trust NAME {signing.public_key(key)}")


def test_an_upload_is_weighed(there: Context, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """One beyond import_bytes, or that would take what the node needs, is refused, and its folder goes."""
    small = replace(there, settings=Settings(there.home.root, import_bytes=1000))
    with pytest.raises(DaeError, match="slug/too-large") as refused:
        moving.receive(small, io.BytesIO(bytes(1001)))
    assert "import_bytes = " in refused.value.hint and "dae up" in refused.value.hint
    monkeypatch.setattr(files, "KEPT_BYTES", 1 << 60)
    with pytest.raises(DaeError, match="platform/disk-full"):
        moving.receive(there, io.BytesIO(bytes(10)))
    assert list(there.home.builds.iterdir()) == []


def test_running_out_of_time(there: Context, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not called a slug that is too large."""
    monkeypatch.setattr(moving, "OPEN_SECONDS", 0)
    with pytest.raises(DaeError, match="slug/timeout"):
        bring(there, exported.archive)


def test_an_upload_that_is_none(there: Context, tmp_path: Path) -> None:
    """A file that is no archive at all is refused by its form."""
    with pytest.raises(DaeError, match="slug/bad-archive"):
        bring(there, file_of(tmp_path / "none", b"PK\x03\x04" * 100))


def test_what_a_kill_left(there: Context) -> None:
    """The next start removes archives that nobody writes or reads any more, and copies of the key; the key stays."""
    key = signing.public_key(there.home.signing_key)
    for name in ("export-1", "import-1"):
        (there.home.builds / name).mkdir()
        (there.home.builds / name / packing.ARCHIVE).touch()
    (there.home.state / ".signing.key.0123").hardlink_to(there.home.signing_key)
    (there.home.state / "..signing.key.0123.4567.new").touch()
    recovery.settle_interrupted(there)
    assert list(there.home.builds.iterdir()) == []
    assert [path for path in there.home.state.iterdir() if "signing" in path.name] == [there.home.signing_key]
    assert signing.public_key(there.home.signing_key) == key
