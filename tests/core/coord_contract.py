"""What every implementation of ``core.coord.Coord`` promises.

A test module subclasses :class:`CoordContract` and defines the fixture ``coord``, which gives a Coord that shares its
keys with what :func:`program` connects to from another process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.coord import Change, Coord, Entry, Holder
from core.errors import DaeError

ROOT = Path(__file__).parents[2]
TTL = 1.0


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Process:
    """Another process with a Coord named ``coord`` of the same kind; it runs ``code`` and prints what it likes."""

    def __init__(self, argv: Sequence[str], code: str) -> None:
        self.popen = subprocess.Popen(
            [*argv, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def say(self, text: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(text + "\n")

    def end(self) -> None:
        self.popen.send_signal(signal.SIGCONT)
        self.popen.kill()
        self.popen.communicate()


Start = Callable[[str], Process]


class CoordContract:
    """The promises. ``other_argv`` is the command that runs Python code with ``coord`` in another process."""

    @pytest.fixture
    def coord(self) -> Coord:
        raise NotImplementedError

    @pytest.fixture
    def other_argv(self) -> Sequence[str]:
        raise NotImplementedError

    @pytest.fixture
    def start(self, other_argv: Sequence[str]) -> Iterator[Start]:
        started: list[Process] = []

        def start(code: str) -> Process:
            started.append(Process(other_argv, code))
            return started[-1]

        yield start
        for process in started:
            process.end()

    # keys

    def test_read_what_was_written(self, coord: Coord) -> None:
        """A key has the value of its last put, and a version that each put changes."""
        assert coord.get("a/b") is None
        first = coord.put("a/b", "one")
        second = coord.put("a/b", "tw\u00f6\n")
        assert 1 <= first != second
        assert coord.get("a/b") == Entry("a/b", "tw\u00f6\n", second)

    def test_compare_and_set(self, coord: Coord) -> None:
        """A put or delete with another version than the present one changes nothing and raises coord/conflict."""
        version = coord.put("k", "v", expect=0)
        for refused in (
            lambda: coord.put("k", "w", expect=0),
            lambda: coord.put("k", "w", expect=version + 1),
            lambda: coord.delete("k", version + 1),
            lambda: coord.delete("missing", 1),
            lambda: coord.put("missing", "", expect=1),
        ):
            with pytest.raises(DaeError, match="coord/conflict"):
                refused()
        assert coord.get("k") == Entry("k", "v", version)
        newer = coord.put("k", "w", expect=version)
        coord.delete("k", newer)
        coord.delete("k")
        assert coord.get("k") is None

    def test_list_goes_by_whole_segments(self, coord: Coord) -> None:
        """The prefix ``shop`` covers ``shop`` and ``shop/x``, never ``shop-admin``; the empty one covers all."""
        for key in ("shop", "shop/b", "shop/a/c", "shop-admin/a", "shop0", "other"):
            coord.put(key, "")
        assert [entry.key for entry in coord.list("shop")] == ["shop", "shop/a/c", "shop/b"]
        assert len(coord.list("")) == 6
        assert coord.list("sho") == []

    @pytest.mark.parametrize(
        "name",
        ["", "/", "a//b", "/a", "a/", "..", "a/../b", ".", "a b", "a\n", "\u0430", "a%", "x" * 101, "a/" * 20 + "a"],
    )
    def test_malformed_names(self, coord: Coord, name: str) -> None:
        """A name that is none is refused everywhere."""
        with coord.session(TTL) as session:
            for refused in (
                lambda: coord.get(name),
                lambda: coord.put(name, ""),
                lambda: coord.delete(name),
                lambda: coord.holder(name),
                lambda: coord.lock(name, session, 0),
            ):
                with pytest.raises(DaeError, match="input/invalid"):
                    refused()

    def test_lock_keys_are_the_locks(self, coord: Coord) -> None:
        """Nobody can take or break a lock by writing its key."""
        for refused in (lambda: coord.put("locks/a", ""), lambda: coord.delete("locks/a")):
            with pytest.raises(DaeError, match="input/invalid"):
                refused()

    # watches

    def test_watch_sees_changes_below_its_prefix(self, coord: Coord) -> None:
        """A watch gives what happened below its prefix since it was made, once, in order."""
        coord.put("n/old", "")
        watch = coord.watch("n")
        assert watch.poll(0) == []
        coord.put("n/a", "1")
        coord.put("m/a", "1")
        coord.delete("n/a")
        seen: list[Change] = []
        wait_for(lambda: (seen.extend(watch.poll(0.2)) or len(seen)) >= 2)  # type: ignore[func-returns-value]
        assert seen == [Change("n/a", "put"), Change("n/a", "gone")]
        assert watch.poll(0) == []

    def test_watch_wakes_up_for_another_process(self, coord: Coord, start: Start) -> None:
        """A poll that waits returns when another process writes."""
        watch = coord.watch("n")
        other = start("input(); coord.put('n/a', 'x'); print('put')")
        other.say("go")
        seen: list[Change] = []
        wait_for(lambda: bool(seen.extend(watch.poll(5)) or seen))  # type: ignore[func-returns-value]
        assert seen == [Change("n/a", "put")]

    # sessions

    def test_ephemeral_keys_end_with_their_session(self, coord: Coord) -> None:
        """Closing a session removes its keys, with a change for each; others stay."""
        session = coord.session(TTL)
        coord.put("n/a", "1", session=session)
        coord.put("n/b", "1")
        entry = coord.get("n/a")
        assert entry is not None and entry.ephemeral
        watch = coord.watch("n")
        session.close()
        session.close()
        assert session.lost
        assert [entry.key for entry in coord.list("n")] == ["n/b"]
        assert watch.poll(1) == [Change("n/a", "gone")]

    def test_a_live_session_outlives_its_ttl(self, coord: Coord) -> None:
        """The background thread keeps a session for as long as its process lives."""
        with coord.session(0.5) as session:
            coord.put("n/a", "1", session=session)
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert coord.get("n/a") is not None
                assert not session.lost
                time.sleep(0.05)

    def test_a_killed_process_loses_its_keys(self, coord: Coord, start: Start) -> None:
        """After kill -9 the keys of the process stay for its time to live, then go, with a change event."""
        other = start(f"s = coord.session({TTL}); coord.put('n/a', 'x', session=s); print('put'); input()")
        assert other.line() == "put"
        watch = coord.watch("n")
        other.popen.kill()
        assert coord.get("n/a") is not None
        seen: list[Change] = []
        wait_for(lambda: bool(seen.extend(watch.poll(0.5)) or seen))  # type: ignore[func-returns-value]
        assert seen == [Change("n/a", "gone")]
        assert coord.get("n/a") is None

    def test_a_stopped_process_knows_that_it_lost(self, coord: Coord, start: Start) -> None:
        """A process that slept through its time to live sees ``lost`` when it wakes, and cannot write under it."""
        other = start(
            f"s = coord.session({TTL}); coord.put('n/a', 'x', session=s); print('put')\n"
            "input(); print(s.lost)\n"
            "try: coord.put('n/b', 'x', session=s)\n"
            "except Exception as error: print(error.code)\n"
        )
        assert other.line() == "put"
        os.kill(other.popen.pid, signal.SIGSTOP)
        wait_for(lambda: coord.get("n/a") is None)
        os.kill(other.popen.pid, signal.SIGCONT)
        other.say("")
        assert other.line() == "True"
        assert other.line() == "coord/lost"
        assert coord.list("n") == []

    def test_nothing_is_made_under_an_ended_session(self, coord: Coord) -> None:
        """Puts and locks of a closed session raise coord/lost."""
        session = coord.session(TTL)
        lock = coord.lock("a", session, 0)
        session.close()
        with pytest.raises(DaeError, match="coord/lost"):
            coord.put("n/a", "", session=session)
        with pytest.raises(DaeError, match="coord/lost"):
            lock.acquire()
        assert coord.get("n/a") is None and coord.holder("a") is None

    def test_a_key_keeps_its_session(self, coord: Coord) -> None:
        """A plain put changes an ephemeral key's value only; a put under another session is refused."""
        with coord.session(TTL) as mine, coord.session(TTL) as other:
            coord.put("n/a", "1", session=mine)
            coord.put("n/a", "2")
            coord.put("n/plain", "1")
            for key in ("n/a", "n/plain"):
                with pytest.raises(DaeError, match="coord/conflict"):
                    coord.put(key, "3", session=other)
        assert [entry.key for entry in coord.list("n")] == ["n/plain"]

    # locks

    def test_lock_excludes_and_tells_its_holder(self, coord: Coord) -> None:
        """A held lock is refused to another session and to the same one; the refusal names the holder."""
        with coord.session(TTL) as mine, coord.session(TTL) as other:
            with coord.lock("app/blog", mine, 0, who="a push by ann") as lock:
                assert coord.holder("app/blog") == lock.holder() == Holder("a push by ann", lock.fence)
                assert not lock.lost
                for session in (mine, other):
                    with pytest.raises(DaeError, match=r"coord/timeout: app/blog is held by a push by ann"):
                        coord.lock("app/blog", session, 0.1).__enter__()
                with coord.lock("app/blog-admin", other, 0):
                    pass
            assert coord.holder("app/blog") is None
            assert lock.lost
            with pytest.raises(DaeError, match="coord/lost"):
                lock.check()

    def test_fence_numbers_grow(self, coord: Coord) -> None:
        """Each holder of a lock gets a larger number than all before it, across sessions too."""
        fences = []
        for _ in range(3):
            with coord.session(TTL) as session:
                lock = coord.lock("a", session, 0)
                for _ in range(2):
                    with lock:
                        fences.append(lock.fence)
        assert fences == sorted(set(fences))

    def test_a_waiting_lock_is_taken_when_it_is_released(self, coord: Coord) -> None:
        """Who waits gets the lock after its release, long before its own time is up."""
        with coord.session(TTL) as mine, coord.session(TTL) as other:
            first, second = coord.lock("a", mine, 0), coord.lock("a", other, 30)
            assert first.acquire()
            taken = threading.Event()

            def wait() -> None:
                if second.acquire():
                    taken.set()

            threading.Thread(target=wait, daemon=True).start()
            assert not taken.wait(0.2)
            first.release()
            assert taken.wait(10)
            first.release()  # not ours any more: does nothing
            assert coord.holder("a") == Holder("", second.fence)

    def test_a_killed_holder_frees_its_lock(self, coord: Coord, start: Start) -> None:
        """kill -9 of a holder: the lock stays held for the time to live, is free after it, with a larger fence."""
        code = f"s = coord.session({TTL}); l = coord.lock('a', s, 0, 'it'); l.acquire(); print(l.fence); input()"
        other = start(code)
        fence = int(other.line())
        with coord.session(TTL) as session:
            lock = coord.lock("a", session, 20)
            other.popen.kill()
            assert not lock.acquire(0)
            assert lock.acquire()
            assert lock.fence > fence
            assert not session.lost

    def test_processes_exclude_one_another(self, coord: Coord, start: Start, tmp_path: Path) -> None:
        """Read-add-write by four processes under one lock loses no addition, and no fence number comes twice."""
        file = tmp_path / "sum"
        file.write_text("0")
        code = (
            "from pathlib import Path\n"
            f"file, s = Path({str(file)!r}), coord.session(10)\n"
            "for _ in range(8):\n"
            "    with coord.lock('sum', s, 60) as lock:\n"
            "        file.write_text(str(int(file.read_text()) + 1)); print(lock.fence)\n"
            "print('end')\n"
        )
        others = [start(code) for _ in range(4)]
        fences = [line for other in others for line in iter(other.line, "end")]
        assert file.read_text() == "32"
        assert len(set(fences)) == 32

    def test_one_leader_at_a_time(self, coord: Coord, start: Start) -> None:
        """The next candidate leads after the leader was killed, and everybody can read who leads."""
        code = f"s = coord.session({TTL}); coord.elect('hooks', s, 'n1').acquire(); print('leads'); input()"
        leader = start(code)
        assert leader.line() == "leads"
        held = coord.holder("leader/hooks")
        assert held is not None and held.who == "n1"
        leader.popen.kill()
        with coord.session(TTL) as session, coord.elect("hooks", session, "n2", 20) as office:
            assert office.fence > held.fence
            assert str(coord.holder("leader/hooks")) == "n2"


__all__ = ["CoordContract", "wait_for"]
