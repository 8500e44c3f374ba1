"""Slugs on their way in: an import is a build whose layers come ready."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import flask
import pytest

from control import accounts, keeping, moving, recovery, trust
from control.archives import Archives
from control.context import Context
from control.output import Output
from core import events, files
from core.config import Settings
from core.errors import DaeError
from core.nouns import App, now
from core.paths import Home
from core.store import AppRow, BuildRow
from slugs import packing, signing
from slugs.bundle import Bundle
from tests.control.exported import Exported, file_of
from tests.control.ground import MARY, QUIET, Agent, platform


@pytest.fixture
def there(exported: Exported, tmp_path: Path) -> Iterator[Context]:
    """A platform that has nothing, and trusts the other one."""
    home = Home(tmp_path / "there")
    for folder in (home.state, home.builds, home.codes, home.slugs):
        folder.mkdir(parents=True)
    with platform(home, home.database) as context:
        trust.trust(context, "here", signing.public_key(exported.home.signing_key), "mary")
        yield context


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


def test_a_damaged_archive_of_what_is_here(there: Context, exported: Exported, tmp_path: Path) -> None:
    """Whoever imports it learns that the file is damaged, although nothing of it is needed."""
    bring(there, exported.archive)
    cut = tmp_path / "cut"
    cut.write_bytes(exported.archive.read_bytes()[:-20])
    with pytest.raises(DaeError, match="slug/bad-archive"):
        bring(there, cut)
    assert [state for state, _slug in builds(there)] == ["succeeded"]


def test_an_archive_may_be_larger_than_a_request(there: Context, exported: Exported) -> None:
    """What other requests may have at most does not hold for it; its own bound does."""
    door = flask.Flask("door")
    door.config["MAX_CONTENT_LENGTH"] = 1000
    door.register_error_handler(DaeError, lambda error: (error.to_json(), error.status))
    Archives(door, there).register()
    headers = {"Authorization": f"Bearer {accounts.add_token(there.store, 'mary')}"}
    assert exported.archive.stat().st_size > 1000
    with exported.archive.open("rb") as source:
        answer = door.test_client().post("/api/v1/apps/blog/slugs", input_stream=source, headers=headers)
    assert (answer.status_code, b'"imported": true' in answer.data) == (200, True), answer.data


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
