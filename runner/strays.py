"""Processes that outlived their supervisor: found by the launcher's records, ended when they provably are ours."""

from __future__ import annotations

import os

from core.paths import Home
from runner import procs


def reap_strays(home: Home, grace: float = 5.0) -> list[str]:
    """End every recorded process group that is still alive, and forget the records; returns the names that were.

    To be called when no supervisord of this home runs. All groups get SIGTERM at once, ``grace`` seconds, then
    SIGKILL; raises TimeoutError when even that does not end one.
    """
    folder = home.agent_state / "pids"
    if not folder.is_dir():
        return []
    if folder.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    paths = sorted(folder.glob("*.json"))
    records = [record for path in paths if (record := procs.parse_record(path.read_text())) is not None]
    ended = procs.end(records, grace)
    for path in paths:
        path.unlink(missing_ok=True)
    return [record.name for record in ended]
