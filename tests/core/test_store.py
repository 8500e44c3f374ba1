"""The store: one schema, several writers, nothing half done, nothing rewritten."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core.nouns import now
from core.store import AppRow, Base, EventRow, ReleaseRow, Store, UserRow

CONNECT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import datetime, os, signal
from pathlib import Path
from core.nouns import now
from core.store import *
store = Store.at(Path(sys.argv[1]))
"""


def other(tmp_path: Path, code: str) -> subprocess.Popen[str]:
    """Another process that runs ``code`` with ``store`` on the same file."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", CONNECT + code, str(tmp_path / "dae.db")], stdout=subprocess.PIPE, text=True
    )


def add_release(store: Store) -> None:
    with store.write() as session:
        session.add(UserRow(name="ann", admin=True, created=now()))
        session.flush()
        session.add(AppRow(name="blog", owner="ann", next_release=2, created=now()))
        session.flush()
        session.add(
            ReleaseRow(
                app="blog", number=1, stage="dev", slug="s", commit="c", action="deploy", source=None, who="ann",
                state="starting", created=now(),
            )
        )  # fmt: skip
        session.add(EventRow(kind="app-created", app="blog", stage="", who="ann", data={}, created=now()))


def test_the_migration_makes_the_models_schema(store: Store) -> None:
    """What the migrations make and what the classes say are the same."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    assert differences == []


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    """A schema is ready once it was migrated, and migrating it again keeps what is in it."""
    store = Store.at(tmp_path / "dae.db")
    assert not store.ready()
    store.migrate()
    assert store.ready()
    add_release(store)
    store.migrate()
    with store.read() as session:
        assert session.get(AppRow, "blog") is not None


def test_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """Parts that start together on an empty home do not get into each other's way."""
    others = [other(tmp_path, "store.migrate(); print(store.ready())") for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in others] == ["True\n"] * 3


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "UPDATE events SET kind = 'x'",
        "DELETE FROM releases",
        *(
            f"UPDATE releases SET {column} = {column}"
            for column in ("slug", "stage", "number", "who", "created", "source")
        ),
        'UPDATE releases SET "commit" = 0',
        "UPDATE releases SET action = 'x'",
    ],
)
def test_append_only(store: Store, statement: str) -> None:
    """No statement deletes or rewrites an event or a release."""
    add_release(store)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), store.write() as session:
        session.execute(sa.text(statement))


def test_a_releases_state_may_change(store: Store) -> None:
    """State, error and index are what a release goes through."""
    add_release(store)
    with store.write() as session:
        row = session.get_one(ReleaseRow, ("blog", 1))
        row.state, row.error, row.index = "failed", "release/crashed", 2
    with store.read() as session:
        assert session.get_one(ReleaseRow, ("blog", 1)).state == "failed"


def test_foreign_keys_hold(store: Store) -> None:
    """An app without its owner is not stored."""
    with pytest.raises(sa.exc.IntegrityError), store.write() as session:
        session.add(AppRow(name="blog", owner="nobody", next_release=1, created=now()))


def test_what_is_raised_undoes_the_write(store: Store) -> None:
    """A write that ends in an exception leaves nothing; the next one works."""
    with pytest.raises(ZeroDivisionError), store.write() as session:
        session.add(UserRow(name="ann", admin=True, created=now()))
        session.flush()
        raise ZeroDivisionError
    add_release(store)


def test_reading_changes_nothing(store: Store) -> None:
    """What is done in a read session is not kept."""
    with store.read() as session:
        session.add(UserRow(name="ann", admin=True, created=now()))
        session.flush()
    with store.read() as session:
        assert session.get(UserRow, "ann") is None


def test_rows_stay_readable(store: Store) -> None:
    """A row that was read or written may be used after its session."""
    with store.write() as session:
        written = UserRow(name="ann", admin=True, created=now())
        session.add(written)
    with store.read() as session:
        read = session.get_one(UserRow, "ann")
    assert written.name == read.name == "ann"


def test_a_reader_sees_one_state(store: Store) -> None:
    """A read session keeps seeing what it saw first, while others commit, and holds no writer up."""
    with store.read() as session:
        assert session.get(UserRow, "ann") is None
        add_release(store)
        assert session.get(UserRow, "ann") is None


def test_a_write_inside_a_write_is_refused(store: Store) -> None:
    """Instead of waiting for itself for ever it raises; the outer one is undone."""
    with pytest.raises(RuntimeError, match="wait for itself"), store.write(), store.write():
        pass
    add_release(store)


def test_times_keep_their_zone(store: Store) -> None:
    """A time goes in with any zone and comes back as the same moment in UTC."""
    moment = datetime.datetime(2026, 7, 1, 12, 0, 0, 5, datetime.timezone(datetime.timedelta(hours=2)))
    with store.write() as session:
        session.add(UserRow(name="ann", admin=True, created=moment))
    with store.read() as session:
        created = session.get_one(UserRow, "ann").created
    assert created == moment and created.utcoffset() == datetime.timedelta(0)


def test_writers_of_several_processes_and_threads(store: Store, tmp_path: Path) -> None:
    """Read-add-write in write sessions loses nothing: two processes with two threads each, and this one."""
    add_release(store)
    count = (
        "import threading\n"
        "def count():\n"
        "    for _ in range(40):\n"
        "        with store.write() as session: session.get_one(AppRow, 'blog').next_release += 1\n"
        "threads = [threading.Thread(target=count) for _ in range(2)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    others = [other(tmp_path, count) for _ in range(2)]
    for _ in range(40):
        with store.write() as session:
            session.get_one(AppRow, "blog").next_release += 1
    assert [process.wait(60) for process in others] == [0, 0]
    with store.read() as session:
        assert session.get_one(AppRow, "blog").next_release == 2 + 40 * 5


def test_greenlets_share_a_store(store: Store, tmp_path: Path) -> None:
    """Under gevent, writers of one process wait for each other cooperatively."""
    add_release(store)
    code = (
        "import gevent\n"
        "def count():\n"
        "    for _ in range(10):\n"
        "        with store.write() as session:\n"
        "            row = session.get_one(AppRow, 'blog'); value = row.next_release\n"
        "            gevent.sleep(0); row.next_release = value + 1\n"
        "gevent.joinall([gevent.spawn(count) for _ in range(8)], raise_error=True)\n"
    )
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gevent.monkey; gevent.monkey.patch_all()" + CONNECT + code,
            str(tmp_path / "dae.db"),
        ],
        timeout=60,
    )
    assert process.returncode == 0
    with store.read() as session:
        assert session.get_one(AppRow, "blog").next_release == 82


def test_kill_inside_a_transaction_leaves_the_old_state(store: Store, tmp_path: Path) -> None:
    """kill -9 between two changes: neither is there, the next writer goes on at once."""
    add_release(store)
    code = (
        "with store.write() as session:\n"
        "    session.get_one(AppRow, 'blog').next_release = 100\n"
        "    session.add(EventRow(kind='x', app='blog', stage='', who='', data={}, created=now()))\n"
        "    session.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert other(tmp_path, code).wait(60) == -9
    with store.write() as session:
        app = session.get_one(AppRow, "blog")
        assert app.next_release == 2
        app.next_release = 3
        assert session.scalar(sa.select(sa.func.count(EventRow.id))) == 1


def test_a_write_waits_for_the_one_before(store: Store) -> None:
    """A second thread's write begins when the first one's has ended."""
    add_release(store)
    order: list[str] = []

    def second() -> None:
        with store.write() as session:
            order.append(f"second sees {session.get_one(AppRow, 'blog').next_release}")

    with store.write() as session:
        thread = threading.Thread(target=second)
        thread.start()
        session.get_one(AppRow, "blog").next_release = 7
        order.append("first ends")
    thread.join()
    assert order == ["first ends", "second sees 7"]


def test_an_app_keeps_its_history_under_a_new_name(store: Store) -> None:
    """Renaming an app takes its releases along; nothing else of them changes."""
    add_release(store)
    with store.write() as session:
        session.execute(sa.update(AppRow).where(AppRow.name == "blog").values(name="news"))
    with store.read() as session:
        assert session.get_one(ReleaseRow, ("news", 1)).slug == "s"
