"""What is done to private projects. Each change is allowed (rights.py), whole, recorded, and one at a time.

A name is private from its first file or its claim on, until an administrator releases it; deleting does not release it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.nouns import now
from pypi_mirror import records
from pypi_mirror.model import METADATA_SUFFIX, STATUSES, File, Project, is_of_version, project_name, versions_of
from pypi_mirror.records import Action, Record
from pypi_mirror.rights import OWN, PLATFORM, UPLOAD, YANK, Caller, require, require_claim
from pypi_mirror.store import Store
from pypi_mirror.taken import require_new, require_unlike

Clock = Callable[[], datetime.datetime]


def enter(
    store: Store, name: str, entry: File, stream: BinaryIO, temporary: Path, caller: Caller, clock: Clock = now
) -> File:
    """Add a file, which was checked, to its project, and return its entry. Identical bytes change nothing.

    Whoever enters the first file of a free name owns it: :func:`require_claim` and a look upstream come before. Raises
    ``auth/forbidden``, ``mirror/closed`` or ``mirror/file-exists``.
    """
    with store.locked():
        record = settled(store, name)
        if not store.is_private(name):
            require_claim(caller, name)
            if not caller.admin:
                require_unlike(name, names(store), lambda other: records.load(store, other).owner, caller.name)
            record = replace(record, owner=caller.name)
        require(caller, name, record, UPLOAD)
        old = _listing(store, name) or Project(name)
        known = next((file for file in old.files if file.filename == entry.filename), None)
        require_new(entry, {file.filename: file.sha256 for file in old.files}, record.gone)
        if known and store.file_path(entry.sha256, entry.filename).is_file():
            store.save_private(old)  # whoever was killed between record and page: it is rendered now
            return known
        if old.status in ("archived", "quarantined"):
            raise DaeError("mirror/closed", f"{name} is {old.status} and takes no files", "see: dae mirror projects")
        # A file that is listed is on disk, and a name that is taken has its owner: the listing comes last.
        try:
            store.publish_file(stream, temporary, entry)
            entry = known or entry
            files = (*(file for file in old.files if file.filename != entry.filename), entry)
            project = replace(old, files=files, versions=versions_of(files))
            _keep(store, project, record.with_action(_action(clock, caller, "upload", entry.filename)))
        except OSError:
            if not known:
                store.withdraw(entry)
            raise
        return entry


def _keep(store: Store, project: Project, record: Record) -> None:
    """Change a project, and record it: what is to be written is written before either."""
    with store.change(project) as commit:
        records.save(store, project.name, record)
        commit()


def settled(store: Store, name: str) -> Record:
    """The record of a name, without uploads that are not true: who was killed before the listing left them.

    Hold ``store.locked()``. Raises ``mirror/unavailable`` when it or the listing is damaged.
    """
    record = records.load(store, name)
    if not record.untold:
        return record
    listing = _listing(store, name) or Project(name)
    return record.with_true({file.filename for file in listing.files})


def require_fits(store: Store, project: Project) -> None:
    """Raise ``mirror/file-exists`` when files of a private project of another platform cannot stand beside ours."""
    old = _listing(store, project.name)
    here = {file.filename: file.sha256 for file in old.files} if old else {}
    gone = records.load(store, project.name).gone
    for file in project.files:
        if file.filename not in gone and here.get(file.filename) != file.sha256:
            require_new(file, here, {})


def bring(store: Store, project: Project, place: Callable[[File], None], *, clock: Clock = now) -> None:
    """Add the files of a private project that another platform exported; ``place`` puts one of them on the disk.

    What is here stays as it is, and what was deleted here stays away, however it is spelt: it was decided before that
    all is to come (:func:`require_fits`), and may be done again. A name that was free is the administrators' then.
    Raises ``mirror/unavailable`` when what is here is damaged.
    """
    with store.locked():
        record = records.load(store, project.name)
        old = _listing(store, project.name) or Project(project.name, status=project.status)
        here = {file.filename: file.sha256 for file in old.files}
        fitting = [file for file in project.files if _fits(file, here, record.gone)]
        new = tuple(file for file in fitting if file.filename not in here)
        for file in fitting:
            place(file)
        if not new and store.is_private(project.name):
            return
        files = (*old.files, *new)
        came = replace(old, files=files, versions=versions_of(files))
        _keep(store, came, record.with_action(_action(clock, PLATFORM, "import", f"{len(new)} files")))


def _fits(file: File, here: Mapping[str, str], gone: Mapping[str, str]) -> bool:
    """Whether it is one of ``here`` itself, or one that neither these nor those that are gone stand against."""
    if file.filename in gone:
        return False
    if here.get(file.filename) == file.sha256:
        return True
    try:
        require_new(file, here, gone)
    except DaeError:
        return False
    return True


def yank(
    store: Store, text: str, version: str, reason: str, caller: Caller, *, undo: bool = False, clock: Clock = now
) -> Project:
    """Mark a version as one that nobody should choose (PEP 592), or take that back."""
    name = project_name(text)
    with store.locked():
        record, old = _own(store, name, caller, YANK)
        chosen = _of_version(old, version)
        mark: bool | str = False if undo else _reason(reason) or True
        files = tuple(replace(file, yanked=mark) if file in chosen else file for file in old.files)
        if files == old.files:
            return old
        project, what = replace(old, files=files), "unyank" if undo else "yank"
        _keep(store, project, record.with_action(_action(clock, caller, what, version, _reason(reason))))
        return project


def delete(
    store: Store, text: str, version: str, reason: str, confirm: str, caller: Caller, *, clock: Clock = now
) -> Project:
    """Remove a version's files, or without ``version`` all of them: the project is in quarantine then.

    The names of the files stay taken, and so does the project's.
    """
    name = project_name(text)
    with store.locked():
        record, old = _own(store, name, caller, OWN)
        _confirmed(name, confirm)
        why = _reason(reason)
        if not why:
            raise DaeError("input/invalid", "deleting wants a reason, which is kept", "give one: --reason TEXT")
        removed = _to_delete(old, version, record)
        gone = {**record.gone, **{file.filename: file.sha256 for file in removed}}
        action = _action(clock, caller, "delete", version or records.ALL, why)
        kept = tuple(file for file in old.files if file not in removed)
        project = replace(old, files=kept, versions=versions_of(kept))
        if not version:
            project = replace(project, status="quarantined", status_reason=f"deleted: {why}")
        _keep(store, project, replace(record, gone=gone).with_action(action))
        _remove_files(store, gone, project)
        return project


def set_status(store: Store, text: str, status: str, reason: str, caller: Caller, *, clock: Clock = now) -> Project:
    """Give a project one of PEP 792's states. Into quarantine and out of it only an administrator puts it."""
    name = project_name(text)
    if status not in STATUSES:
        raise DaeError("input/invalid", f"{status[:40]!a} is no status", f"choose one of {', '.join(STATUSES)}")
    with store.locked():
        record, old = _own(store, name, caller, OWN)
        project = replace(old, status=status, status_reason=_reason(reason))
        if "quarantined" in (old.status, status) and not caller.admin:
            raise DaeError("auth/forbidden", "quarantine is an administrator's affair", "ask one of them")
        _keep(store, project, record.with_action(_action(clock, caller, "status", status, _reason(reason))))
        return project


def claim(store: Store, text: str, owner: str, caller: Caller, *, clock: Clock = now) -> Project:
    """Make a name private, also one that upstream has, or give a private one another owner (administrators)."""
    name = project_name(text)
    if not caller.admin or caller.project:
        raise DaeError("auth/forbidden", "names are given by administrators", "ask one of them")
    with store.locked():
        record = replace(records.load(store, name), owner=owner)
        project = _listing(store, name) or Project(name)
        _keep(store, project, record.with_action(_action(clock, caller, "claim", owner)))
        return project


def release(store: Store, text: str, confirm: str, caller: Caller, *, clock: Clock = now) -> None:
    """Give a name without files back: upstream's project of that name is seen again (administrators)."""
    name = project_name(text)
    if not caller.admin or caller.project:
        raise DaeError("auth/forbidden", "names are released by administrators", "ask one of them")
    with store.locked():
        record, old = _own(store, name, caller, OWN)
        _confirmed(name, confirm)
        if old.files:
            raise DaeError("mirror/closed", f"{name} has files", f"delete them first: dae mirror delete {name}")
        records.save(store, name, replace(record, owner="").with_action(_action(clock, caller, "release")))
        store.release(name)


def names(store: Store) -> list[str]:
    """The private projects."""
    return sorted(path.stem for path in (store.root / "private").glob("*.json"))


def owner(store: Store, text: str) -> tuple[Record, Project]:
    """A private project and its record; raises ``mirror/unknown-project``."""
    name = project_name(text)
    project = _listing(store, name)
    if project is None:
        raise DaeError("mirror/unknown-project", f"there is no private project {name}", "see: dae mirror projects")
    return records.load(store, name), project


def _listing(store: Store, name: str) -> Project | None:
    """The private project of that name, None when there is none; raises ``mirror/unavailable`` when it is damaged.

    It must never pass for an empty one: its files' names would be free for other bytes.
    """
    if not store.is_private(name):
        return None
    project = store.load(name)
    if project is None:
        raise DaeError("mirror/unavailable", f"the listing of {name} is damaged", "tell the operator")
    return project


def _own(store: Store, name: str, caller: Caller, action: str) -> tuple[Record, Project]:
    record, project = owner(store, name)
    require(caller, name, record, action)
    return record, project


def _to_delete(project: Project, version: str, record: Record) -> tuple[File, ...]:
    """The files of a version, or all; none when they were deleted before, by who may have been killed amidst it."""
    if not version:
        return project.files
    if any(is_of_version(filename, version) for filename in record.gone):
        return tuple(file for file in project.files if is_of_version(file.filename, version))
    return _of_version(project, version)


def _of_version(project: Project, text: str) -> tuple[File, ...]:
    """The project's files of that version; raises ``mirror/unknown-version`` when it has none."""
    found = tuple(file for file in project.files if is_of_version(file.filename, text))
    if not found:
        cause = f"{project.name} has no version {text[:40]!a}"
        raise DaeError("mirror/unknown-version", cause, f"see: dae mirror projects {project.name}")
    return found


def _remove_files(store: Store, gone: dict[str, str], project: Project) -> None:
    """Take what was deleted off the disk, also what an earlier call was killed before."""
    for filename, sha256 in gone.items():
        if project.file(sha256, filename) is None:
            path = store.file_path(sha256, filename)
            path.unlink(missing_ok=True)
            path.with_name(filename + METADATA_SUFFIX).unlink(missing_ok=True)


def _confirmed(name: str, confirm: str) -> None:
    if confirm != name:
        raise DaeError("mirror/confirm", f"this removes what {name} is", f"type the name: --confirm {name}")


def _reason(text: str) -> str:
    reason = text.strip()
    if len(reason) > records.REASON_LENGTH or not reason.isprintable():
        raise DaeError(
            "input/invalid", f"a reason is one line of at most {records.REASON_LENGTH} letters", "shorten it"
        )
    return reason


def _action(clock: Clock, caller: Caller, what: str, subject: str = "", reason: str = "") -> Action:
    at = clock().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Action(at, caller.name or "the platform", what, subject[:300], reason)
