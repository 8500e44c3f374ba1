"""Warm starts: what an instance's start can do before its release is there, done while that is being made.

An instance of the release to come is started like the live one, but for its program: ``dae.runtime.warm`` loads the
server, waits on standard input, and becomes the instance when it is told how.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from runner.spec import LaunchSpec

#: A release that takes longer to make gains nothing worth the memory.
SECONDS = 60
_PROGRAM = ("-m", "dae.runtime.warm")
_FILE = "lib/python3*/site-packages/dae/runtime/warm.py"
_SERVER = ("-m", "gunicorn")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The program that waits, and the environment that it was started from (inode, and time of its last change)."""

    launch: LaunchSpec
    environment: tuple[int, int]

    @classmethod
    def like(cls, launch: LaunchSpec) -> Self | None:
        """What gets ready for an instance like ``launch``; None when nothing can: for other servers than ours, and in
        environments that were made before it was."""
        environment = _environment(launch)
        if launch.argv[1:3] != _SERVER or not any(environment.glob(_FILE)):
            return None
        environ = {name: value for name, value in launch.environ.items() if name != "PYTHONPATH"}
        program = (launch.argv[0], *_PROGRAM, *launch.argv[1:])
        return cls(replace(launch, argv=program, environ=environ, cwd="/"), _identity(environment))

    def fits(self, launch: LaunchSpec) -> bool:
        """Can it become the instance ``launch``, as far as it cannot see itself?

        It is shut in in the same way; and what it has loaded was not made anew since, as what is damaged is.
        """
        same = replace(self.launch, argv=launch.argv, environ=launch.environ, cwd=launch.cwd) == launch
        return same and _identity(_environment(self.launch)) == self.environment


def order(launch: LaunchSpec) -> str:
    """What one that waits is told to be, a line."""
    return json.dumps({"argv": launch.argv, "environ": dict(launch.environ), "cwd": launch.cwd}) + "\n"


def _environment(launch: LaunchSpec) -> Path:
    return Path(launch.argv[0]).parents[1]


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_ino, status.st_ctime_ns
