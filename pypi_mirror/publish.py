"""A wheel or sdist of the platform's own goes into the index; its project's name is private from then on."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.nouns import now
from core.paths import Home
from pypi_mirror import archives, private, rights
from pypi_mirror.metadata import CoreMetadata
from pypi_mirror.model import File
from pypi_mirror.private import Clock
from pypi_mirror.store import Store

FILE_BYTES = 1 << 30
BLOCK = 1 << 20


def publish(home: Home, path: Path, clock: Clock = now) -> File:
    """Put the wheel or sdist at ``path`` into the index, as the platform's own, and return its entry.

    Identical bytes change nothing. Called by root it writes as the owner of ``home.mirror``, so that nothing which that
    account could have put there is followed with root's rights. Raises ``mirror/bad-upload`` when the file is neither,
    or not as the standards want it, and ``mirror/file-exists`` when other bytes are published under its name.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
            raise archives.bad(path.name, f"is not a file of at most {FILE_BYTES} bytes")
        owner = home.mirror.stat() if home.mirror.is_dir() else None
        if os.geteuid() == 0 and owner is not None and owner.st_uid != 0:
            return _as_account(owner.st_uid, owner.st_gid, lambda: _publish(home, source, path.name, clock))
        return _publish(home, source, path.name, clock)


def _publish(home: Home, source: BinaryIO, filename: str, clock: Clock) -> File:
    store = Store(home)
    name, _ = archives.named(filename)
    with store.new_file() as (stream, temporary):
        digest = hashlib.sha256()
        while block := source.read(BLOCK):
            digest.update(block)
            stream.write(block)
        stream.flush()
        found = archives.check(temporary, filename)
        entry = entry_of(filename, digest.hexdigest(), stream.tell(), found, clock)
        return private.enter(store, name, entry, stream, temporary, rights.PLATFORM, clock)


def entry_of(filename: str, sha256: str, size: int, found: CoreMetadata, clock: Clock) -> File:
    """What a project's page says of a file that was checked."""
    time = clock().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return File(filename, sha256, size=size, requires_python=found.requires_python, upload_time=time)


def _as_account(uid: int, gid: int, work: Callable[[], File]) -> File:
    """Do ``work`` in a child that has given up root for that account for good, and return what it returned."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            os.umask(0o027)
            os.write(write_end, json.dumps(_outcome(work)).encode())
        finally:
            os._exit(0)  # neither the parent's handlers nor its buffers are this child's
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    data = json.loads(text) if text else {"error": "platform/internal", "cause": "publishing ended early"}
    if "error" in data:
        raise DaeError.from_json(data)
    return File(**data)


def _outcome(work: Callable[[], File]) -> dict[str, object]:
    try:
        file = work()
    except DaeError as error:
        return dict(error.to_json())
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        return {"error": "platform/internal", "cause": f"publishing failed: {type(error).__name__}: {error}"}
    return {name: getattr(file, name) for name in File.__dataclass_fields__}
