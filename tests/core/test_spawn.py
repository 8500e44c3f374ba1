"""Programs that are started by posix_spawn, with and without gevent."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import pytest

from core.argv import CLEAN_ENVIRON
from core.spawn import Child
from tests.processes import alive


def test_a_pipe() -> None:
    """What it reads and writes, its status, and nothing of our environment."""
    with tempfile.TemporaryFile() as given:
        given.write(b"one\ntwo\n")
        given.seek(0)
        child = Child(["sh", "-c", "cat; env; exit 3"], {"A": "b", **CLEAN_ENVIRON}, given)
    with child.reader() as stream:
        lines = stream.read().decode().splitlines()
    assert lines[:2] == ["one", "two"]
    assert "A=b" in lines and not [line for line in lines if line.startswith("HOME=")]
    assert child.wait() == 3
    assert child.poll() == 3


def test_a_file() -> None:
    """Its output may go to a file, and its errors go nowhere."""
    with tempfile.TemporaryFile() as out:
        child = Child(["sh", "-c", "echo out; echo err >&2"], CLEAN_ENVIRON, stdout=out)
        assert child.wait(10) == 0
        out.seek(0)
        assert out.read() == b"out\n"


def test_what_is_not_there() -> None:
    """A program that nobody has is said to be missing, and no pipe is left open."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        Child(["no-such-program"], CLEAN_ENVIRON)


def test_it_is_killed_with_its_group() -> None:
    """Who gives up waiting ends it and what it started."""
    child = Child(["sh", "-c", "sleep 60 & echo $!; wait"], CLEAN_ENVIRON)
    with child.reader() as stream:
        grandchild = int(stream.readline())
        assert child.wait(0.05) is None
        child.kill()
    assert child.wait(10) == -9
    deadline = time.monotonic() + 10
    while alive(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()  # once more does nothing


UNDER_GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, time
from core.argv import CLEAN_ENVIRON
from core.spawn import Child

ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.01)
ticker = gevent.spawn(tick)
child = Child(["sh", "-c", "echo a; sleep 0.4; echo b; exit 4"], CLEAN_ENVIRON)
with child.reader() as stream:
    print(stream.read().decode().split(), child.wait(5))
quiet = Child(["sh", "-c", "sleep 0.4"], CLEAN_ENVIRON)
print(quiet.wait(5), max(b - a for a, b in zip(ticks, ticks[1:])) < 0.3, len(ticks) > 10)
"""


def test_under_gevent() -> None:
    """Others go on while one waits, and the loop's own collecting of children loses no status."""
    done = subprocess.run([sys.executable, "-c", UNDER_GEVENT], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['a', 'b'] 4", "0 True True"], done.stderr


AT_ONCE = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent.os, os
from core.argv import CLEAN_ENVIRON
from core.spawn import Child

start = gevent.os._raw_posix_spawn
def until_it_has_ended(*words, **named):
    pid = start(*words, **named)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid
gevent.os._raw_posix_spawn = until_it_has_ended
print(Child(["true"], CLEAN_ENVIRON).wait(30))
"""


def test_a_first_child_that_ends_before_gevent_looks() -> None:
    """Its end is heard of, too: whoever waited for the first program of a process waited for ever."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["0"], done.stderr
