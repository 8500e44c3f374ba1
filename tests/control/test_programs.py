"""The programs that work beside control."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from control.output import Output
from control.programs import Program
from core.errors import DaeError
from core.program import MEMORY_BYTES
from tests.processes import alive

# What main() set before it would have begun.
REPORT = """
import ctypes, importlib, json, resource, sys
from core import program
def report(*_arguments):
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)  # PR_GET_PDEATHSIG
    limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
    print(json.dumps([number.value, *limits]))
    return 0
program.run = report
importlib.import_module(sys.argv[1]).main(["nowhere"])
"""


@pytest.mark.parametrize(
    "module",
    ["control.install", "control.unpack", "control.fetch", "slugs.packing", "slugs.opening", "slugs.verification"],
)
def test_none_outlives_control(module: str) -> None:
    """Each is killed when control ends, and has a bounded memory and no core, before it looks at its order."""
    said = subprocess.run([sys.executable, "-I", "-c", REPORT, module], check=True, capture_output=True, text=True)
    number, memory, core = json.loads(said.stdout)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
    assert (number, memory, core) == (signal.SIGKILL, [most, most], [0, 0])


def waiting(folder: Path) -> int:
    """The process whose command line names the folder; it has none for a moment at its start."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(folder).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    return int(entry.name)
    pytest.fail("there is no such process")


def test_started_before_its_order_is_there(tmp_path: Path) -> None:
    """It waits, and then does what the order says; what that ends with is raised."""
    with Program("control.install", tmp_path) as program:
        pid = waiting(tmp_path)
        assert alive(pid)
        with pytest.raises(DaeError, match="build/failed"):
            program.carry_out(b"{}", 60, Output(lambda _line: None))
    assert not alive(pid)


def test_one_that_nobody_needs(tmp_path: Path) -> None:
    """It is gone after the block, and has done nothing."""
    with Program("control.install", tmp_path):
        pid = waiting(tmp_path)
    assert not alive(pid)
    assert list(tmp_path.iterdir()) == []


def test_one_whose_starter_went(tmp_path: Path) -> None:
    """Without an order on its way any more, it ends by itself, and says nothing."""
    command = [sys.executable, "-I", "-m", "control.install", str(tmp_path), "--waiting"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_killed_while_it_waited(tmp_path: Path) -> None:
    """Whoever has an order for it is told that it ended, and with what."""
    with Program("control.install", tmp_path) as program:
        pid = waiting(tmp_path)
        subprocess.run(["kill", "-9", str(pid)], check=True)
        deadline = time.monotonic() + 60
        while alive(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(DaeError, match="status -9 and no result"):
            program.carry_out(b"{}", 60, Output(lambda _line: None))
