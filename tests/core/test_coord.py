"""Embedded coordination: the contract, and what is its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.coord import Change, Coord, EmbeddedCoord
from core.coord import embedded as embedded_module
from core.coord.lease import LOST_AFTER, Lease
from core.errors import DaeError
from core.store import Store
from tests.core.coord_contract import CoordContract, Start, wait_for

CONNECT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from core.coord import EmbeddedCoord
from core.store import Store
coord = EmbeddedCoord(Store.at(Path({path!r})))
exec(sys.argv[1])
"""
PATCHED = "import gevent.monkey; gevent.monkey.patch_all()\n"


def command(tmp_path: Path, before: str = "") -> Sequence[str]:
    root = str(Path(__file__).parents[2])
    return [sys.executable, "-u", "-c", before + CONNECT.format(root=root, path=str(tmp_path / "dae.db"))]


class TestEmbedded(CoordContract):
    """The embedded implementation keeps the contract among plain processes."""

    @pytest.fixture
    def coord(self, store: Store) -> Coord:
        return EmbeddedCoord(store)

    @pytest.fixture
    def other_argv(self, tmp_path: Path) -> Sequence[str]:
        return command(tmp_path)


class TestUnderGevent:
    """The same beside processes in which gevent patched the standard library."""

    @pytest.fixture
    def coord(self, store: Store) -> Coord:
        return EmbeddedCoord(store)

    @pytest.fixture
    def other_argv(self, tmp_path: Path) -> Sequence[str]:
        return command(tmp_path, PATCHED)

    start = CoordContract.start
    test_killed_holder = CoordContract.test_a_killed_holder_frees_its_lock
    test_exclusion = CoordContract.test_processes_exclude_one_another
    test_stopped = CoordContract.test_a_stopped_process_knows_that_it_lost

    def test_waiting_and_renewing_are_cooperative(self, coord: Coord, start: Start) -> None:
        """One greenlet waits for a lock that another holds longer than its ttl; both sessions live, others run."""
        code = (
            "import gevent\n"
            "a, b = coord.session(0.6), coord.session(0.6)\n"
            "first, second, ticks = coord.lock('x', a, 0), coord.lock('x', b, 30), []\n"
            "first.acquire()\n"
            "waiting = gevent.spawn(second.acquire)\n"
            "for _ in range(60): gevent.sleep(0.02); ticks.append(waiting.ready())\n"
            "print(any(ticks), a.lost, b.lost)\n"
            "first.release()\n"
            "print(waiting.get(timeout=10), second.fence > 1)\n"
        )
        other = start(code)
        assert other.line() == "False False False"
        assert other.line() == "True True"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_lease_is_lost_before_the_server_may_end_it() -> None:
    """Without a renewal ``lost`` is true from four fifths of the ttl on, counted from before the request."""
    clock = Clock()
    lease = Lease("x", 100, 1000.0, clock, lambda: True, lambda: None)
    clock.time = 1000 + 100 * LOST_AFTER - 0.1
    assert not lease.lost
    clock.time += 0.1
    assert lease.lost
    clock.time = 1000.0
    assert lease.lost, "once said, it stays so"
    lease.close()


def test_a_failing_renewal_is_tried_again() -> None:
    """A renewal that raises does not end the session while there is time; one that says no does."""
    answers = [OSError("busy"), True, OSError("busy"), False]
    clock = Clock()

    def renew() -> bool:
        answer = answers.pop(0) if answers else False
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    lease = Lease("x", 0.2, 1000.0, clock, renew, lambda: None)
    wait_for(lambda: not answers)
    wait_for(lambda: lease.lost)
    lease.close()


def test_sessions_of_an_earlier_boot_are_over(store: Store) -> None:
    """After a reboot the monotonic clock starts anew: what the last boot left is dropped, however late it 'expires'."""
    before = EmbeddedCoord(store, Clock(), boot="one")
    session = before.session(3600)
    before.put("n/a", "1", session=session)
    after = EmbeddedCoord(store, Clock(), boot="two")
    watch = after.watch("n")
    assert after.get("n/a") is None
    assert watch.poll(0) == [Change("n/a", "gone")]


def test_expiry_by_the_clock(store: Store) -> None:
    """A session is over at its deadline, not earlier; the reader that comes then carries it out."""
    clock = Clock()
    coord = EmbeddedCoord(store, clock)
    session = coord.session(3600)
    with coord.lock("a", session, 0, who="me"):
        clock.time += 3599
        assert str(coord.holder("a")) == "me"
        assert session.lost, "the holder stopped before"
        clock.time += 1
        assert coord.holder("a") is None


def test_old_changes_are_dropped_and_said_to_be(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change rows stay bounded; a watch that fell behind is told that it missed some."""
    monkeypatch.setattr(embedded_module, "KEPT_CHANGES", 10)
    monkeypatch.setattr(embedded_module, "PRUNE_EVERY", 16)
    coord = EmbeddedCoord(store)
    watch = coord.watch("n")
    for number in range(40):
        coord.put("n/a", str(number))
    changes = watch.poll(0)
    assert changes[0] == Change("n", "missed")
    assert 10 <= len(changes) - 1 <= 10 + 16


def test_versions_never_repeat(store: Store) -> None:
    """A key that was removed and made again has another version: who read the old one cannot overwrite the new."""
    coord = EmbeddedCoord(store)
    old = coord.put("k", "1", expect=0)
    coord.delete("k", old)
    coord.put("k", "2", expect=0)
    with pytest.raises(DaeError, match="coord/conflict"):
        coord.put("k", "3", expect=old)


def test_a_session_needs_time(store: Store) -> None:
    """A session of no seconds is refused."""
    with pytest.raises(DaeError, match="input/invalid"):
        EmbeddedCoord(store).session(0)
