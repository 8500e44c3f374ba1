"""What is done to private projects is told: as events, which webhooks get."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from control import index_events
from core import events
from core.nouns import now
from core.paths import Home
from core.store import DeliveryRow, EventRow, HookRow
from core.store import Store as Database
from pypi_mirror import private, records, rights
from pypi_mirror.model import Project
from pypi_mirror.publish import publish
from pypi_mirror.stock import recover
from pypi_mirror.store import Store
from tests.pypi_mirror.desk import Desk, serving
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.uploading import basic, form, post, sdist_bytes
from tests.pypi_mirror.upstream_model import UpstreamModel


def told(database: Database) -> list[tuple[str, str, dict[str, str]]]:
    with database.read() as session:
        found = events.list_events(session)
    return [(event.kind, event.who, dict(event.data)) for event in found if event.kind.startswith("package-")]


def test_all_that_is_done_is_told(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """An upload, and each verb, makes one event, and a delivery to who hears of all apps; the same bytes again none."""
    mirror = new_mirror(upstream.url)
    body = form({":action": "file_upload"}, "ours-1.0.tar.gz", sdist_bytes("ours"))
    with serving(tmp_path) as names:
        database, desk = Database.at(Home(tmp_path).database), Desk(mirror, tmp_path, names)
        with database.write() as session:
            session.add(HookRow(app="", url="https://hooks.test/", secret="s", created=now()))
        for _ in range(2):
            assert post(mirror.port, body, basic("__token__", names.tokens["ann"])).status == 200
        for words in (
            ("yank", "Ours", "1.0", "--reason", "broken"),
            ("unyank", "ours", "1.0"),
            ("mark", "ours", "deprecated", "--reason", "old"),
            ("delete", "ours", "--reason", "gone", "--confirm", "ours"),
            ("claim", "ours", "--owner", "bob"),
            ("release", "ours", "--confirm", "ours"),
        ):
            desk.dae(*words)
    assert told(database) == [
        ("package-uploaded", "ann", {"project": "ours", "file": "ours-1.0.tar.gz"}),
        ("package-yanked", "ann", {"project": "ours", "version": "1.0", "reason": "broken"}),
        ("package-unyanked", "ann", {"project": "ours", "version": "1.0"}),
        ("package-marked", "ann", {"project": "ours", "status": "deprecated", "reason": "old"}),
        ("package-deleted", "ann", {"project": "ours", "version": "all", "reason": "gone"}),
        ("package-claimed", "ann", {"project": "ours", "owner": "bob"}),
        ("package-released", "ann", {"project": "ours"}),
    ]
    with database.read() as session:
        of_packages = sa.select(EventRow.id).where(EventRow.kind.startswith("package-"))
        counted = sa.select(sa.func.count()).select_from(DeliveryRow).where(DeliveryRow.event.in_(of_packages))
        assert session.scalar(counted) == 7
    database.close()


def test_what_could_not_be_told_is_told_later(tmp_path: Path) -> None:
    """Killed between the change and its event, or without a database, nothing is lost; told is told once."""
    store, database = Store(Home(tmp_path)), Database.at(tmp_path / "dae.db")
    private.claim(store, "ours", "ann", rights.PLATFORM)
    index_events.tell(database, store, "ours")  # there are no tables yet
    assert records.load(store, "ours").untold == 1
    database.migrate()
    for _ in range(2):
        index_events.tell_all(database, store)
    assert told(database) == [("package-claimed", "", {"project": "ours", "owner": "ann"})]
    assert records.load(store, "ours").untold == 0
    path = store.root / "records" / "ours.json"
    path.write_text(path.read_text().replace(',"untold":0', ""))
    index_events.tell_all(database, store)
    assert len(told(database)) == 1, "a record of before there were such events tells none"
    database.close()


def test_what_never_came_true_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an upload that was cut off between its record and the listing no event tells; the next try is told, once."""
    home = Home(tmp_path)
    store, database = Store(home), Database.at(tmp_path / "dae.db")
    database.migrate()
    publish(home, wheel(tmp_path, "ours", "1.0"))
    second = wheel(tmp_path, "ours", "2.0")

    @contextmanager
    def cut_off(_store: Store, _project: Project) -> Iterator[Callable[[], None]]:
        def commit() -> None:
            raise KeyboardInterrupt

        yield commit

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Store, "change", cut_off)
            publish(home, second)
    index_events.tell_all(database, store)
    first = ("package-uploaded", "", {"project": "ours", "file": "ours-1.0-py3-none-any.whl"})
    assert told(database) == [first]
    assert [action.subject for action in records.load(store, "ours").actions] == ["ours-1.0-py3-none-any.whl"]
    publish(home, second)
    private.delete(store, "ours", "2.0", "wrong", "ours", rights.PLATFORM)
    index_events.tell_all(database, store)
    assert [kind for kind, _, _ in told(database)] == ["package-uploaded", "package-uploaded", "package-deleted"]
    database.close()


def test_a_first_upload_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when the mirror, which starts again, has listed its file."""
    home = Home(tmp_path)
    store, database = Store(home), Database.at(tmp_path / "dae.db")
    database.migrate()
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if target == store.root / "private" / "ours.json":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupted)
        publish(home, wheel(tmp_path, "ours", "1.0"))
    index_events.tell_all(database, store)
    assert told(database) == []
    assert recover(store) == ["ours"]
    index_events.tell_all(database, store)
    assert told(database) == [("package-uploaded", "", {"project": "ours", "file": "ours-1.0-py3-none-any.whl"})]
    database.close()
