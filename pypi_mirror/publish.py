"""A wheel or sdist of one's own goes into the index; its project's name is private from then on."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.nouns import now
from core.paths import Home
from pypi_mirror import metadata
from pypi_mirror.model import File, Project, is_file_name, normalize, possible_projects, project_name, versions_of
from pypi_mirror.store import Store

FILE_BYTES = 1 << 30
BLOCK = 1 << 20


def publish(home: Home, path: Path, clock: Callable[[], datetime.datetime] = now) -> File:
    """Put the wheel or ``.tar.gz`` sdist at ``path`` into the index and return its entry.

    Identical bytes change nothing. Called by root it writes as the owner of ``home.mirror``, so that nothing which that
    account could have put there is followed with root's rights. Raises ``input/invalid`` when the file is neither, or
    another file of that name is published already.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
            raise _invalid(path.name, f"is not a file of at most {FILE_BYTES} bytes")
        owner = home.mirror.stat() if home.mirror.is_dir() else None
        if os.geteuid() == 0 and owner is not None and owner.st_uid != 0:
            return _as_account(owner.st_uid, owner.st_gid, lambda: _publish(home, source, path.name, clock))
        return _publish(home, source, path.name, clock)


def _publish(home: Home, source: BinaryIO, filename: str, clock: Callable[[], datetime.datetime]) -> File:
    if not is_file_name(filename) or not filename.endswith((".whl", ".tar.gz")):
        raise _invalid(filename, "is neither a wheel nor a .tar.gz sdist")
    store = Store(home)
    with store.new_file() as (stream, temporary):
        digest = hashlib.sha256()
        while block := source.read(BLOCK):
            digest.update(block)
            stream.write(block)
        stream.flush()
        read = metadata.of_wheel if filename.endswith(".whl") else metadata.of_sdist
        found = read(temporary, filename)
        if found is None or normalize(found.name) not in possible_projects(filename):
            raise _invalid(filename, "holds no metadata of the project that its name states")
        entry = File(
            filename,
            digest.hexdigest(),
            size=stream.tell(),
            requires_python=found.requires_python,
            upload_time=clock().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        )
        with store.locked():
            return _enter(store, project_name(found.name), entry, stream, temporary)


def _enter(store: Store, name: str, entry: File, stream: BinaryIO, temporary: Path) -> File:
    """Add the file to its project. A file that is listed is on disk: the listing comes last."""
    old = store.load(name) if store.is_private(name) else None
    files = old.files if old else ()
    for file in files:
        if file.filename == entry.filename:
            if file.sha256 != entry.sha256:
                raise _invalid(entry.filename, "is published already, with another content")
            entry = replace(entry, upload_time=file.upload_time)
    if not store.file_path(entry.sha256, entry.filename).is_file():
        store.publish_file(stream, temporary, entry)
    kept = tuple(file for file in files if file.filename != entry.filename)
    project = Project(name, (*kept, entry), versions_of((*kept, entry)))
    store.save_private(old if old and entry in old.files else project)
    return entry


def _invalid(filename: str, what: str) -> DaeError:
    return DaeError("input/invalid", f"{filename[:80]!a} {what}", "build it anew, with a new version")


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
