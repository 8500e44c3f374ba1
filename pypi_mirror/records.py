"""Whose a private name is, and what was done to it: a file for each name, ``records/<name>.json``.

A record is never removed: that a file's name was used stays known for good, also when the name is free again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from core.errors import DaeError
from core.files import sync_folder
from pypi_mirror.model import ACTIVE, QUARANTINED, File, is_of_version, normalize, project_name
from pypi_mirror.store import Store
from pypi_mirror.writing import FOLDER_MODE

ACTIONS_KEPT = 500
REASON_LENGTH = 500
ALL = "all"  # the subject of deleting a whole project


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done: ``what`` is upload, import, yank, unyank, delete, status, claim or release."""

    at: str
    who: str
    what: str
    subject: str = ""  # a file, a version, a status, or an owner
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """``owner``: a user, or empty: the platform's, so administrators'. ``gone``: deleted files, their sha256.

    ``untold``: of how many actions, the last ones, no event tells yet.
    """

    owner: str = ""
    actions: tuple[Action, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)
    untold: int = 0

    def with_action(self, action: Action) -> Record:
        """The record with one more action; the oldest go where there are too many."""
        untold = min(self.untold + 1, ACTIONS_KEPT)
        return replace(self, actions=(*self.actions, action)[-ACTIONS_KEPT:], untold=untold)

    def with_true(self, listed: Collection[str]) -> Record:
        """The record without untold uploads of files that are neither ``listed`` nor deleted since."""
        told = len(self.actions) - self.untold
        true = tuple(
            action
            for action in self.actions[told:]
            if action.what != "upload" or action.subject in listed or action.subject in self.gone
        )
        return replace(self, actions=(*self.actions[:told], *true), untold=len(true))

    def is_gone(self, file: File) -> bool:
        """Whether a file was deleted, and not uploaded again since: the same bytes may be."""
        if self.gone.get(file.filename) != file.sha256:
            return False
        for action in reversed(self.actions):
            if action.what == "upload" and action.subject == file.filename:
                return False
            if action.what == "delete" and (action.subject == ALL or is_of_version(file.filename, action.subject)):
                return True
        return True

    @property
    def is_free(self) -> bool:
        """Whether nobody ever took the name, or it was given back."""
        return not self.actions or self.actions[-1].what == "release"

    @property
    def status(self) -> tuple[str, str]:
        """The state that the project was put into last, and the reason."""
        for action in reversed(self.actions):
            if action.what == "status":
                return action.subject, action.reason
            if action.what == "delete" and action.subject == ALL:
                return QUARANTINED, f"deleted: {action.reason}"
        return ACTIVE, ""


def load(store: Store, name: str) -> Record:
    """The record of a name; an empty one when nobody ever had it.

    Raises ``mirror/unavailable`` when it is damaged: nobody may do anything with the name then.
    """
    try:
        fields = json.loads(_path(store, name).read_bytes())
        actions = tuple(Action(**action) for action in fields["actions"])
        gone = {str(key): str(value) for key, value in fields["gone"].items()}
        return Record(str(fields["owner"]), actions, gone, int(fields.get("untold", 0)))
    except FileNotFoundError:
        return Record()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DaeError("mirror/unavailable", f"the record of {name} is damaged", "tell the operator") from error


def names(store: Store) -> list[str]:
    """The names that have a record."""
    return sorted(path.stem for path in (store.root / "records").glob("*.json") if normalize(path.stem) == path.stem)


def save(store: Store, name: str, record: Record) -> None:
    """Keep the record of a name; hold ``store.locked()``."""
    path = _path(store, name)
    if not path.parent.is_dir():
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(FOLDER_MODE)
    with store.new_file() as (stream, temporary):
        stream.write(json.dumps(asdict(record), separators=(",", ":")).encode())
        stream.flush()
        os.fsync(stream.fileno())
        temporary.rename(path)
    sync_folder(path.parent)


def _path(store: Store, name: str) -> Path:
    return store.root / "records" / f"{project_name(name)}.json"
