"""When a push takes bytes for what they were."""

from __future__ import annotations

from control.reads import RECENT_SECONDS, Reads, code_key


def test_what_was_read_lately() -> None:
    """For an hour, all of what is asked for, and no longer because somebody asked."""
    now = [0.0]
    reads = Reads(lambda: now[0])
    assert not reads.recent(["e"])
    reads.note("e")
    reads.note(code_key("shop", "c"))
    assert reads.recent(["e", "shop/c"])
    assert not reads.recent(["e", "blog/c"])
    now[0] = RECENT_SECONDS - 1
    assert reads.recent(["e"])
    now[0] += 1
    assert not reads.recent(["e"])


def test_shared_files_are_as_old_as_where_they_come_from() -> None:
    """A layer that is linked to another does not become fresh by that, however long the chain."""
    now = [0.0]
    reads = Reads(lambda: now[0])
    reads.note("a")
    now[0] = RECENT_SECONDS / 2
    reads.note("b", like="a")
    reads.note("c", like="b")
    assert reads.recent(["b", "c"])
    now[0] = RECENT_SECONDS
    assert not reads.recent(["b"])
    assert not reads.recent(["c"])
    reads.note("d", like="never seen")
    assert not reads.recent(["d"])
