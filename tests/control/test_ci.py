"""The queue of tests: what is taken up, what was interrupted, and how the tests of a slug stand."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from buildpacks.steps import Order, Step
from control import ci, history
from control.account import borrowed_number
from control.context import Context
from control.testing import Outcome, Trial, copy_code
from core.errors import DaeError
from core.nouns import App, CiState, Slug, now
from core.paths import Home
from core.store import AppRow, BuildRow, CiRow, Store, UserRow

SLUG = Slug("1" * 40, "2" * 40, "3" * 64, "cpython-3.11.2", "python/1", ())
ORDERED = Order((Step("a", ("a",)),), "/env", tests=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.at(tmp_path / "dae.db")
    made.migrate()
    with made.write() as session:
        session.add(UserRow(name="mary", admin=True, created=now()))
        session.flush()
        for name, destroyed in (("shop", False), ("gone", True)):
            session.add(AppRow(name=name, owner="mary", next_release=1, destroyed=destroyed, created=now()))
    yield made
    made.close()


def add(store: Store, slug: str, *states: CiState, app: str = "shop") -> None:
    with store.write() as session:
        for state in states:
            session.add(CiRow(app=app, commit="c", slug=slug, state=state, error="", who="mary", created=now()))


def test_a_pass_stays(store: Store) -> None:
    """Of the runs of a slug one that passed counts, else the last one; other apps are not asked."""
    add(store, "a", CiState.FAILED, CiState.PASSED, CiState.FAILED)
    add(store, "b", CiState.FAILED, CiState.QUEUED)
    add(store, "b", CiState.PASSED, app="gone")
    with store.read() as session:
        assert ci.states(session, "shop") == {"a": CiState.PASSED, "b": CiState.QUEUED}


def test_one_after_the_other(store: Store) -> None:
    """The longest waiting comes first, none of a destroyed app; what still ran was interrupted, and is told."""
    context = cast(Context, SimpleNamespace(store=store))
    add(store, "x", CiState.QUEUED, app="gone")
    add(store, "a", CiState.RUNNING, CiState.QUEUED, CiState.QUEUED)
    first = ci._take(context)
    assert first is not None and (first.app, first.state) == ("shop", CiState.RUNNING)
    with store.read() as session:
        assert ci.states(session, "shop") == {"a": CiState.QUEUED}
        found = {row.id: row.state for row in session.query(CiRow).filter(CiRow.app == "shop")}
    assert sorted(found.values()) == ["interrupted", "queued", "running"]
    second = ci._take(context)
    assert second is not None and second.id > first.id
    assert ci._take(context) is None


def test_nobody_stands_in_the_way(store: Store) -> None:
    """Of two apps that wait, the one has its turn whose last run is longer ago, however many the other asked for."""
    context = cast(Context, SimpleNamespace(store=store))
    with store.write() as session:
        session.add(AppRow(name="late", owner="mary", next_release=1, destroyed=False, created=now()))
    add(store, "a", *[CiState.QUEUED] * 5)
    add(store, "b", CiState.QUEUED, CiState.QUEUED, app="late")
    order = []
    for _ in range(5):
        row = ci._take(context)
        assert row is not None
        order.append(row.app)
        with store.write() as session:
            ci._settle(session, session.get_one(CiRow, row.id), Outcome(CiState.PASSED, 0))
    assert order == ["shop", "late", "shop", "late", "shop"]


def test_asking_twice(store: Store) -> None:
    """What waits already is not queued again; what is being run, or ended, is."""
    context, slug = cast(Context, SimpleNamespace(store=store)), SLUG
    first = ci.queue(context, "shop", slug, "mary")
    assert ci.queue(context, "shop", slug, "tom") == first
    assert ci._take(context) is not None
    assert ci.queue(context, "shop", slug, "tom")["id"] != first["id"]


@pytest.mark.parametrize(
    ("state", "again"),
    [
        (None, True),
        (CiState.ERROR, True),
        (CiState.INTERRUPTED, True),
        (CiState.PASSED, False),
        (CiState.FAILED, False),
        (CiState.QUEUED, False),
        (CiState.RUNNING, False),
    ],
)
def test_what_never_ran_to_an_end(store: Store, tmp_path: Path, state: CiState | None, again: bool) -> None:
    """It is tested at the next push; what passed, failed or waits is left alone."""
    home = Home(tmp_path)
    code = home.code("shop", SLUG.code)
    code.mkdir(parents=True)
    (code / "app.yaml").write_text("ci: pytest\n")
    context = cast(Context, SimpleNamespace(store=store, home=home))
    if state is not None:
        add(store, SLUG.digest, state)
    waits = ci.ensure(context, "shop", SLUG, "mary")
    with store.read() as session:
        queued = session.query(CiRow).filter(CiRow.state == CiState.QUEUED).count()
    assert queued == (1 if again or state is CiState.QUEUED else 0)
    assert waits is (again or state in (CiState.QUEUED, CiState.RUNNING))


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("", "c" * 64),
        ("2", "b" * 64),
        ("1234567", "a" * 64),  # digits that are no build's number
        ("b" * 12, "b" * 64),
        ("ff", "more than one commit"),
        ("fe", "no build fe"),
        ("77", "no build 77"),
        ("x", "no commit, build or slug"),
        ("%", "no commit, build or slug"),
    ],
)
def test_what_is_meant(store: Store, what: str, wanted: str) -> None:
    """A build by its number, a commit or a slug by its beginning; what is not one of them is said."""
    with store.write() as session:
        app = session.get_one(AppRow, "shop")
        for letter, commit in (("a", "1234567"), ("b", "ff1"), ("c", "ff2")):
            session.add(
                BuildRow(
                    app="shop", commit=commit.ljust(40, "0"), who="mary", state="succeeded", slug=letter * 64,
                    created=now(),
                )
            )  # fmt: skip
        known = App("shop", "mary", app.created)
    context = cast(Context, SimpleNamespace(store=store))
    try:
        found = ci._digest(context, known, what)
    except DaeError as error:
        found = error.cause
    assert wanted in found


@pytest.mark.parametrize(
    ("raised", "state", "code"),
    [
        (DaeError("build/timeout", "x"), CiState.FAILED, "build/timeout"),
        (DaeError("build/limit", "x"), CiState.FAILED, "build/limit"),
        (DaeError("build/busy", "x"), CiState.ERROR, "build/busy"),
        (DaeError("build/failed", "\ud800"), CiState.ERROR, "build/failed"),
        (DaeError("push/cancelled", "x"), CiState.INTERRUPTED, "push/cancelled"),
        (OSError(errno.ENOSPC, "full"), CiState.ERROR, "platform/disk-full"),
        (ValueError("x"), CiState.ERROR, "platform/internal"),
    ],
)
def test_something_comes_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, state: CiState, code: str
) -> None:
    """Only what the tests themselves bring about counts as their failure, and whatever happens is told."""

    @contextmanager
    def broken(*_: object) -> Iterator[None]:
        raise raised
        yield

    monkeypatch.setattr("control.testing.built", broken)
    monkeypatch.setattr(Trial, "_prepared", lambda *_: nullcontext(ORDERED))
    context = cast(Context, SimpleNamespace(store=store, home=Home(tmp_path), building=set()))
    (tmp_path / "builds").mkdir()
    add(store, "a", CiState.QUEUED)
    row = ci._take(context)
    assert row is not None
    outcome = ci._outcome(context, row)
    assert (outcome.state, outcome.error) == (state, code)
    assert list((tmp_path / "builds").iterdir()) == []


def test_a_log_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    """That is an outcome like others."""
    (tmp_path / "logs").touch()
    add(store, "a", CiState.QUEUED)
    context = cast(Context, SimpleNamespace(store=store, home=Home(tmp_path)))
    row = ci._take(context)
    assert row is not None
    assert ci._outcome(context, row) == Outcome(CiState.ERROR, error="platform/internal")


def test_old_logs_go(store: Store, tmp_path: Path) -> None:
    """The logs of what a listing shows stay, and none of an app that is gone."""
    home = Home(tmp_path)
    add(store, "a", *[CiState.PASSED] * 5)
    for number in range(1, 6):
        home.test_log(number).parent.mkdir(parents=True, exist_ok=True)
        home.test_log(number).touch()
    context = cast(Context, SimpleNamespace(store=store, home=home))
    history.forget_logs(context, "shop", 2)
    assert sorted(path.name for path in home.test_log(1).parent.iterdir()) == ["4.log", "5.log"]
    history.forget_logs(context, "shop", 0)
    assert list(home.test_log(1).parent.iterdir()) == []


def test_a_number_never_comes_twice(store: Store) -> None:
    """Not even when the row that had it is deleted: the agent may still be at work in its folder."""
    context = cast(Context, SimpleNamespace(store=store, building=set()))
    numbers = []
    for _ in range(3):
        with borrowed_number(context, "shop", "mary") as number:
            numbers.append(number)
    assert len(set(numbers)) == 3


def test_the_copy_may_be_written(tmp_path: Path) -> None:
    """A layer is read-only and has bytecode; its copy is neither, and its links and scripts are as they were."""
    layer = tmp_path / "layer"
    (layer / "pkg" / "__pycache__").mkdir(parents=True)
    (layer / "pkg" / "__pycache__" / "a.pyc").touch()
    (layer / "run").write_text("#!/bin/sh\n")
    (layer / "run").chmod(0o555)
    (layer / "pkg" / "a.py").touch(0o444)
    (layer / "link").symlink_to("pkg/a.py")
    (layer / "pkg").chmod(0o555)
    copy_code(layer, tmp_path / "copy")
    (layer / "pkg").chmod(0o755)
    names = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert names == ["link", "pkg", "pkg/a.py", "run"]
    modes = [(tmp_path / "copy" / name).stat().st_mode & 0o777 for name in ("pkg", "pkg/a.py", "run")]
    assert modes == [0o755, 0o644, 0o755]
    assert (tmp_path / "copy" / "link").readlink() == Path("pkg/a.py")
