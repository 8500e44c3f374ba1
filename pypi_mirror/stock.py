"""The files on the mirror's disk, one after the other; and records made anew of them when those are lost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from core.errors import DaeError
from pypi_mirror import records
from pypi_mirror.model import METADATA_SUFFIX, SHA256, File, Project, is_file_name, possible_projects, versions_of
from pypi_mirror.shelves import RECORD
from pypi_mirror.store import Store

log = logging.getLogger("dae.mirror")


@dataclass(frozen=True, slots=True)
class Stocked:
    """A file on the disk: where, and what it is. ``held``: the default view hides it."""

    path: Path
    sha256: str
    filename: str
    held: bool = False

    @property
    def has_record(self) -> bool:
        """Whether it says beside it that it is one of our own."""
        return self.path.with_name(RECORD).is_file()


def stock(store: Store) -> Iterator[Stocked]:
    """Every file that is here; not metadata, and nothing that is no file of an index."""
    for path, held in _paths(store):
        if path.name != RECORD and is_file_name(path.name) and path.is_file() and not path.is_symlink():
            yield Stocked(path, path.parent.name, path.name, held)


def sidecars(store: Store) -> Iterator[Stocked]:
    """Every metadata file that is here, as the file that it belongs to, which need not be here."""
    for path, held in _paths(store):
        filename = path.name.removesuffix(METADATA_SUFFIX)
        if filename != path.name and is_file_name(filename) and path.is_file():
            yield Stocked(path, path.parent.name, filename, held)


def measured(store: Store) -> Iterator[tuple[Stocked, os.stat_result]]:
    """Every file that is here, and its status; without those that go away while others are looked at."""
    for item in stock(store):
        with contextlib.suppress(FileNotFoundError):
            yield item, item.path.stat()


class Own:
    """Which files on the disk are our own: they are never judged, and never evicted. ``item in own`` asks.

    A private project's record is read once, and again when it has changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[object, frozenset[tuple[str, str]] | None]] = {}

    def __contains__(self, item: Stocked) -> bool:
        return item.has_record or any(self._lists(name, item) for name in possible_projects(item.filename))

    def _lists(self, name: str, item: Stocked) -> bool:
        stamp = self._store.private_stamp(name)
        if stamp is None:
            return False
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            project = self._store.load(name)
            files = None if project is None else frozenset((file.sha256, file.filename) for file in project.files)
            known = self._known[name] = stamp, files
        # A record that cannot be read says nothing: what could be its file counts as such.
        return known[1] is None or (item.sha256, item.filename) in known[1]


def _paths(store: Store) -> Iterator[tuple[Path, bool]]:
    """What lies in the folders of files, and whether it is hidden. Folders may go away meanwhile."""
    for place in ("files", "held"):
        for start in _inside(store.root / place):
            for folder in _inside(start) if len(start.name) == 2 else ():
                for path in _inside(folder) if SHA256.match(folder.name) else ():
                    yield path, place == "held"


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def recover(store: Store) -> list[str]:
    """Make records anew that were lost: private ones of what lies beside their files and in the record of the name,
    others of the files' names.

    Returns the projects. A record of upstream's made so is old from the start: upstream is asked as soon as it answers.
    """
    names = [*_recover_private(store), *_recover_names(store)]
    if not any((store.root / "projects").glob("*.json")):
        names += _recover_others(store)
    if names:
        log.warning("made the records of %d projects anew, of their files: %s", len(names), ", ".join(names[:20]))
    return names


def _recover_private(store: Store) -> Iterator[str]:
    found: defaultdict[str, list[File]] = defaultdict(list)
    for item in stock(store):
        entry = None if item.held else _entry(item)
        if entry:
            found[entry[0]].append(entry[1])
    for name, files in sorted(found.items()):
        try:
            with store.locked():
                made = _made(store, name, files)
        except OSError:  # a full disk: the files are served to who has their addresses
            log.exception("the record of %s could not be made anew", name)
            made = True
        if made:
            yield name


def _made(store: Store, name: str, files: list[File]) -> bool:
    """Make a private project's record of these files, if there is none; whether it was made.

    What was deleted is not listed again, and goes now, if whoever deleted it was killed before that.
    """
    gone: list[File] = []
    with contextlib.suppress(DaeError):  # one that cannot be read does not say what was deleted
        record = records.load(store, name)
        gone = [file for file in files if record.is_gone(file)]
    listed = store.load(name) if store.is_private(name) else None
    for file in gone:
        if listed is None or listed.file(file.sha256, file.filename) is None:
            store.withdraw(file)
    kept = sorted(set(files) - set(gone), key=lambda file: (file.upload_time or "", file.filename))
    if listed is None and kept:
        store.save_private(_marked(store, Project(name, tuple(kept), versions_of(kept))))
    return listed is None and bool(kept)


def _recover_names(store: Store) -> Iterator[str]:
    """Names without files that were taken and never given back: upstream's project would be seen in their place."""
    for name in records.names(store):
        with contextlib.suppress(DaeError):  # one that cannot be read does not say that the name is free
            if records.load(store, name).is_free:
                continue
        if store.is_private(name):
            continue
        try:
            with store.locked():
                store.save_private(_marked(store, Project(name)))
        except OSError:
            log.exception("the record of %s could not be made anew", name)
        yield name


def _marked(store: Store, project: Project) -> Project:
    """The project in the state that it was put into (PEP 792)."""
    with contextlib.suppress(DaeError):
        status, reason = records.load(store, project.name).status
        return replace(project, status=status, status_reason=reason)
    return project


def _entry(item: Stocked) -> tuple[str, File] | None:
    """The project and entry that a private file's record says; None without one that fits the file."""
    try:
        data = json.loads(item.path.with_name(RECORD).read_bytes())
        name, file = Project(data["project"]).name, File(**data["file"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, DaeError):
        log.exception("the record beside %s cannot be read", item.path)
        return None
    fits = (file.filename, file.sha256) == (item.filename, item.sha256) and not file.url
    return (name, file) if fits and name in possible_projects(item.filename) else None


def _recover_others(store: Store) -> Iterator[str]:
    found: defaultdict[str, list[File]] = defaultdict(list)
    for item, status in measured(store):
        names = possible_projects(item.filename)
        if names and not item.has_record and not store.is_private(names[0]):
            since = datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            file = File(item.filename, item.sha256, url="unknown:", size=status.st_size, upload_time=since)
            found[names[0]].append(file)
    for name, files in sorted(found.items()):
        try:
            store.save(Project(name, tuple(files), versions_of(files)), 1)  # fetched in 1970
        except (DaeError, OSError):  # no policy to render it by, or no room: the page comes when it is asked for
            log.exception("the page of %s could not be made", name)
        yield name
