"""The programs that work beside control."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys

import pytest

from core.program import MEMORY_BYTES

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
