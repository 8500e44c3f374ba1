"""How one program is started: everything that ``runner.launch`` needs to know, as data, in a file of the agent's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import DaeError
from core.files import write_atomically
from core.paths import Home

_NAME = re.compile(r"[a-z][a-z0-9.-]{0,120}\Z")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a program is shut into, by a launcher that is root (``runner.sandbox``).

    ``private``: it gets /tmp, /var/tmp and /dev/shm of its own. ``keep``: folders that it sees though they lie in
    those. ``tmp``: the folder that stands for the first two; when it is empty, or something is kept, one in memory.
    ``writable``: the only folder besides in which it can write, and it sees no process of other accounts; empty: it can
    write wherever its account may. ``index``: address, port and the unix socket that they lead to, the only network;
    empty: the host's network.
    ``cgroups``: folders of control groups that it joins.
    """

    private: bool = False
    tmp: str = ""
    keep: tuple[str, ...] = ()
    writable: str = ""
    index: tuple[str, int, str] | tuple[()] = ()
    cgroups: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sandbox:
        """The inverse of ``dataclasses.asdict``."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A program: its argv (absolute), its whole environment, its folder, and the account that it runs as.

    ``account`` None: whoever starts it. ``limits``: rlimits by name (``nofile``, ``nproc``, ``as``, ``data``,
    ``fsize``, ``cpu``, ``core``). ``groups``: groups besides the account's own. ``die_with_parent``: SIGKILL when its
    starter ends (PR_SET_PDEATHSIG, prctl(2)). Raises ``runner/refused`` for what could not be started.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: str
    account: str | None
    umask: int = 0o027
    limits: Mapping[str, int] = field(default_factory=dict)
    no_new_privs: bool = True
    groups: tuple[str, ...] = ()
    die_with_parent: bool = False
    sandbox: Sandbox | None = None

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise DaeError("runner/refused", f"{self.name[:80]!a} is not a program's name")
        if not self.argv or any("\0" in word for word in self.argv):
            raise DaeError("runner/refused", f"{self.name} has no command, or one with a NUL in it")
        for key, value in self.environ.items():
            if not key or "=" in key or "\0" in key + value:
                raise DaeError("runner/refused", f"{self.name} cannot have a variable {key[:60]!a} of that value")

    def save(self, home: Home) -> None:
        """Write the file, atomically, for nobody else to read: it holds the app's config."""
        path = _path(home, self.name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, home: Home, name: str) -> LaunchSpec:
        """The spec of a name; raises ``runner/refused`` when there is none or it cannot be read."""
        try:
            data = json.loads(_path(home, name).read_text())
            lists = {key: tuple(data[key]) for key in ("argv", "groups")}
            return cls(**{**data, **lists, "sandbox": data["sandbox"] and Sandbox.from_json(data["sandbox"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DaeError("runner/refused", f"there is no program {name[:80]!a}: {error}") from error


def remove(home: Home, name: str) -> None:
    """Forget a program that does not run any more: its spec and its record."""
    _path(home, name).unlink(missing_ok=True)
    record_path(home, name).unlink(missing_ok=True)


def record_path(home: Home, name: str) -> Path:
    """Where the launcher records what it started under a name."""
    _path(home, name)
    return home.agent_state / "pids" / f"{name}.json"


def _path(home: Home, name: str) -> Path:
    if not _NAME.match(name):
        raise DaeError("runner/refused", f"{name[:80]!a} is not a program's name")
    return home.agent_state / "specs" / f"{name}.json"
