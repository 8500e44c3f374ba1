"""What gevent would change is set right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import os, sys
from pathlib import Path
from core.cooperative import close_at_once
close_at_once()
for path, folders, files, descriptor in os.fwalk(sys.argv[1]):
    most = max(int(name) for name in os.listdir("/proc/self/fd"))
print(most)
"""


def test_descriptors_are_closed_when_they_are_closed(tmp_path: Path) -> None:
    """A walk over many folders, which never yields to gevent's loop, keeps a handful of descriptors open."""
    for number in range(300):
        (tmp_path / str(number)).mkdir()
    ran = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 50


FAILING = """
from gevent import monkey
monkey.patch_all()
from core.cooperative import aside, at_most
try:
    aside(int, "one")
except ValueError as error:
    print(error)
import time
try:
    with at_most(0.01):
        time.sleep(60)
except TimeoutError as error:
    print(error)
"""


def test_what_fails_aside_is_the_callers_affair() -> None:
    """An error of work done aside is raised where it was asked for, and printed by nobody; waiting can be bounded."""
    ran = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=True)
    assert "invalid literal" in ran.stdout
    assert "it took more than 0.01 s" in ran.stdout
    assert ran.stderr == ""


LOCKING = """
from gevent import monkey
monkey.patch_all()
import sys, gevent, gevent.event
from core.cooperative import take_flock
order = []

def work(name):
    with open(sys.argv[1], "ab") as file:
        take_flock(file, every=0.001, meanwhile=lambda: waited.set())
        order.append(name)
        waited.wait(60)
        order.append(name)

waited = gevent.event.Event()
gevent.joinall([gevent.spawn(work, name) for name in "ab"])
print(*order)
"""


def test_a_lock_is_waited_for_beside_its_holder(tmp_path: Path) -> None:
    """The greenlet that has it goes on while another one of the same process waits, and is alone until it lets go."""
    ran = subprocess.run([sys.executable, "-c", LOCKING, tmp_path / "lock"], capture_output=True, text=True, check=True)
    assert ran.stdout in ("a a b b\n", "b b a a\n")
