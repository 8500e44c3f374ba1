"""Releases in the store: a row and a file, or neither counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from control import accounts, releases
from control.releases import Wanted
from core.errors import DaeError
from core.nouns import Action, Process, ProcessType, ReleaseState, Slug, Stage, now
from core.paths import Home
from core.store import AppRow, Store

SLUG = Slug("c" * 40, "a" * 40, "e" * 64, "cpython-3.11.2", "python/1", (Process("web", ProcessType.WEB, "run"),))
WANTED = Wanted("blog", Stage.DEV, SLUG, Action.DEPLOY, "ann", {"COLOUR": "red"})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.state.mkdir()
    return home


@pytest.fixture
def store(home: Home) -> Store:
    store = Store.at(home.database)
    store.migrate()
    accounts.add_user(store, "ann")
    with store.write() as session:
        session.add(AppRow(name="blog", owner="ann", next_release=1, destroyed=False, created=now()))
    return store


def go_live(store: Store, home: Home, wanted: Wanted = WANTED) -> int:
    release = releases.record(store, home, wanted)
    releases.make_live(store, release, wanted.config)
    return release.number


def test_a_release_has_a_row_and_a_file(store: Store, home: Home) -> None:
    """It starts with the config that was wanted in its file, and becomes the stage's one live release with it."""
    assert [go_live(store, home), go_live(store, home)] == [1, 2]
    assert [(r.number, r.state) for r in releases.history(store, "blog")] == [
        (2, ReleaseState.LIVE),
        (1, ReleaseState.SUPERSEDED),
    ]
    live = releases.require_live(store, "blog", Stage.DEV)
    assert releases.read_file(home, live)["config"] == releases.config_of(store, "blog", Stage.DEV) == {"COLOUR": "red"}


def test_a_file_that_cannot_be_written_fails_the_release(store: Store, home: Home) -> None:
    """The row does not stay in ``starting``, and what was live stays live."""
    go_live(store, home)
    (home.state / "releases").rename(home.state / "was")
    (home.state / "releases").touch()
    with pytest.raises(OSError):
        releases.record(store, home, WANTED)
    assert [r.state for r in releases.history(store, "blog")] == [ReleaseState.FAILED, ReleaseState.LIVE]


def test_going_back(store: Store, home: Home) -> None:
    """Without a number to the one before, past rollbacks and what failed; with one to that, if it ever was live."""
    for _ in range(3):
        go_live(store, home)
    releases.fail(store, releases.record(store, home, WANTED), "release/crashed")
    assert releases.earlier(store, "blog", Stage.DEV, None).number == 2
    go_live(store, home, Wanted("blog", Stage.DEV, SLUG, Action.ROLLBACK, "ann", {}, source=2))
    assert releases.earlier(store, "blog", Stage.DEV, None).number == 1
    assert releases.earlier(store, "blog", Stage.DEV, 3).number == 3
    for number in (4, 5, 99):
        with pytest.raises(DaeError, match="release/unknown"):
            releases.earlier(store, "blog", Stage.DEV, number)
    with pytest.raises(DaeError, match="release/nothing-live"):
        releases.earlier(store, "blog", Stage.BETA, None)


def test_going_back_to_a_rollback(store: Store, home: Home) -> None:
    """After a rollback and another deploy one goes back to what served, not to what was rolled back from."""
    for _ in range(2):
        go_live(store, home)
    go_live(store, home, Wanted("blog", Stage.DEV, SLUG, Action.ROLLBACK, "ann", {}, source=1))
    go_live(store, home)
    assert releases.earlier(store, "blog", Stage.DEV, None).number == 3
    go_live(store, home, Wanted("blog", Stage.DEV, SLUG, Action.ROLLBACK, "ann", {}, source=3))
    with pytest.raises(DaeError, match="release/no-earlier"):
        releases.earlier(store, "blog", Stage.DEV, None)


def test_what_is_over_stays_so(store: Store, home: Home) -> None:
    """A release that failed or was superseded never changes again."""
    release = releases.record(store, home, WANTED)
    releases.fail(store, release, "release/crashed")
    with pytest.raises(RuntimeError, match="cannot go from failed to live"):
        releases.make_live(store, release, {})
