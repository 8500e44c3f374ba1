"""The policy in force: read from the operator's files, and kept when a later text of them cannot be read.

====================================  ===========================================================================
mirror/policy.toml                    the last good text of the policy; empty where the operator has none
mirror/approved.json                  {"name": ["version", ...]}: what an administrator approved
mirror/applied                        the mark of what the files on disk were last held against
====================================  ===========================================================================
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from core.config import Settings
from core.errors import DaeError
from core.files import sync_folder, write_atomically
from core.paths import Home
from pypi_mirror import osv, policy, policy_text
from pypi_mirror.calculation import calculated
from pypi_mirror.model import File
from pypi_mirror.policy import DEFAULT, Approvals, Asked, Policy, Verdict, View

DOCUMENT_BYTES = 32 << 20  # of one file of vulnerabilities, unpacked
DOCUMENTS = 200_000
DOCUMENTS_BYTES = 1 << 30

log = logging.getLogger("dae.mirror")


class Rulebook:
    """What holds now. :meth:`load` reads the files anew; everything else answers from memory."""

    def __init__(self, home: Home, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.file = Path(settings.mirror_policy or home.root / "mirror-policy.toml")
        self.advisories_path = Path(settings.mirror_advisories or home.root / "mirror-advisories")
        self.clock = clock
        self.problems: tuple[str, ...] = ()  # what cannot be read, for status and doctor
        self._folder = home.mirror
        self._policy: Policy | None = None  # None: nothing good was ever read, so nothing is let through
        self._approvals: Approvals = {}
        self._advisories = osv.Advisories()
        self._marks: dict[str, str] = {}
        self._documents: dict[Path, tuple[object, list[tuple[str, osv.Advisory]]]] = {}
        self._seen: object = None
        self._loading = threading.Lock()

    # what holds

    @property
    def is_good(self) -> bool:
        return self._policy is not None

    def require(self) -> None:
        """Raise ``mirror/bad-policy`` when no policy could ever be read: then nothing may be let through."""
        if self._policy is None:
            cause = "the index serves nothing, for its policy cannot be read: " + "; ".join(self.problems[:3])
            raise DaeError("mirror/bad-policy", cause, f"the operator mends {self.file}")

    def view(self, name: str = DEFAULT) -> View:
        """Raises ``mirror/unknown-view`` and ``mirror/bad-policy``."""
        self.require()
        found = self._policy.views.get(name) if self._policy else None
        if found is None:
            raise DaeError("mirror/unknown-view", f"the index has no view {name[:40]!a}", "see docs/mirror-policy.md")
        return found

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(self._policy.views) if self._policy else ()

    def mark(self, name: str) -> str:
        """A text that changes when what the view lets through does; empty when it lets everything through."""
        return self._marks.get(name, "broken")

    def reserved(self, name: str, project: str) -> bool:
        """Whether that project never comes from upstream, whoever asks."""
        return policy.matches(self.view(name).private, project)

    def judge(self, name: str, project: str, file: File, licenses: tuple[str, ...] | None) -> Verdict:
        """The verdict on a file of upstream's in that view."""
        asked = Asked(project, file, licenses)
        return policy.judge(self.view(name), asked, self.clock(), self._approvals, self._advisories)

    # reading

    def load(self) -> bool:
        """Read what changed; whether anything did. What cannot be read is a problem, and the last good one holds."""
        with self._loading:
            seen = calculated(self._stamps)
            if seen == self._seen:
                return False
            problems: list[str] = []
            self._read_policy(problems)
            self._read_approvals(problems)
            self._advisories = calculated(self._read_advisories, problems)
            before, self._marks = self._marks, self._marked()
            self._seen = seen
            for problem in problems:
                if problem not in self.problems:
                    log.error("%s", problem)
            self.problems = tuple(problems)
            return before != self._marks

    def look(self) -> list[str]:
        """What cannot be read of the operator's files; nothing is changed, in memory or on the disk."""
        problems: list[str] = []
        try:
            policy_text.parse(_text(self.file) or "")
        except DaeError as error:
            problems.append(f"{self.file}: {error.cause}")
        except OSError as error:
            problems.append(f"{self.file}: {error.strerror}")
        self._read_advisories(problems)
        return problems

    def _read_policy(self, problems: list[str]) -> None:
        kept = self._folder / "policy.toml"
        try:
            text = _text(self.file) or ""
            self._policy = calculated(policy_text.parse, text)
            if _text(kept) != text:
                write_atomically(kept, text.encode(), 0o640)
                sync_folder(self._folder)
            return
        except DaeError as error:
            problems.append(f"{self.file}: {error.cause}")
        except OSError as error:
            problems.append(f"{self.file}: {error.strerror}")
            if self._policy is not None:
                return
        if self._policy is None:
            try:
                before = _text(kept)
                self._policy = None if before is None else calculated(policy_text.parse, before)
            except (DaeError, OSError):
                log.exception("the last good policy cannot be read either")

    def _read_approvals(self, problems: list[str]) -> None:
        try:
            self._approvals = read_approvals(self._folder)
        except (DaeError, OSError) as error:
            problems.append(str(error))

    def _read_advisories(self, problems: list[str]) -> osv.Advisories:
        """Runs aside. A document that cannot be read any more counts as it was when it could."""
        found: dict[Path, tuple[object, list[tuple[str, osv.Advisory]]]] = {}
        for path in _documents(self.advisories_path):
            stamp = _stamp(path)
            known = self._documents.get(path)
            if known is not None and known[0] == stamp:
                found[path] = known
                continue
            try:
                found[path] = stamp, [pair for text in _texts(path) for pair in osv.parse(text, path.name)]
            except (
                DaeError,
                OSError,
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                RuntimeError,
                NotImplementedError,
            ) as bad:
                problems.append(bad.cause if isinstance(bad, DaeError) else f"{path.name} cannot be read: {bad}")
                if known is not None:
                    found[path] = None, known[1]
        self._documents = found
        return osv.Advisories.of(pair for _, pairs in found.values() for pair in pairs)

    def _stamps(self) -> object:
        paths = [self.file, self._folder / "approved.json", *_documents(self.advisories_path)]
        return [(path, _stamp(path)) for path in paths]

    def _marked(self) -> dict[str, str]:
        if self._policy is None:
            return {}
        known = hashlib.sha256(repr([(str(path), stamp) for path, (stamp, _) in self._documents.items()]).encode())
        known.update(repr(sorted((name, sorted(found)) for name, found in self._approvals.items())).encode())
        empty = not self._advisories.by_name
        return {
            name: ""
            if view == View(name) and empty
            else hashlib.sha256(repr(view).encode() + known.digest()).hexdigest()
            for name, view in self._policy.views.items()
        }

    # what the files on disk were held against

    @property
    def applied(self) -> bool:
        """Whether the files on disk were held against what holds now."""
        return (_text(self._folder / "applied") or "") == self.whole_mark

    @property
    def whole_mark(self) -> str:
        """The mark of all views together; empty when there is but the default one, and it lets everything through."""
        if self._marks == {DEFAULT: ""}:
            return ""
        return hashlib.sha256(repr(sorted(self._marks.items())).encode()).hexdigest()

    def remember_applied(self, mark: str) -> None:
        write_atomically(self._folder / "applied", mark.encode(), 0o640)


def read_approvals(folder: Path) -> dict[str, frozenset[str]]:
    """What administrators approved; raises ``mirror/bad-policy``."""
    try:
        data = json.loads(_text(folder / "approved.json") or "{}")
        return {str(name): frozenset(map(str, versions)) for name, versions in data.items()}
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DaeError("mirror/bad-policy", "approved.json cannot be read", "approve again what is needed") from None


def approve(folder: Path, name: str, version: str) -> None:
    """Let a version (or ``*``: all) of a project out of quarantine. One caller at a time."""
    found = {known: sorted(versions) for known, versions in read_approvals(folder).items()}
    found[name] = sorted({*found.get(name, []), version})
    write_atomically(folder / "approved.json", json.dumps(found, indent=1).encode(), 0o640)
    sync_folder(folder)


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(policy_text.TEXT_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DaeError("mirror/bad-policy", f"{path.name} is not UTF-8", "mend it") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _documents(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.is_file() else []
    found = []
    for folder, _folders, names in os.walk(path):
        found += [Path(folder, name) for name in names if name.endswith((".json", ".zip")) and not name.startswith(".")]
        if len(found) > DOCUMENTS:
            break
    return sorted(found)[:DOCUMENTS]


def _texts(path: Path) -> Iterator[bytes]:
    """The documents of a file: it is one, or a zip of many."""
    if path.suffix != ".zip":
        with path.open("rb") as stream:
            yield _bounded(stream.read(DOCUMENT_BYTES + 1), path.name)
        return
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".json")]
        if len(entries) > DOCUMENTS or sum(entry.file_size for entry in entries) > DOCUMENTS_BYTES:
            raise DaeError("mirror/bad-policy", f"{path.name} holds too much", "split it")
        for entry in entries:
            with archive.open(entry) as member:
                yield _bounded(member.read(DOCUMENT_BYTES + 1), path.name)


def _bounded(text: bytes, name: str) -> bytes:
    if len(text) > DOCUMENT_BYTES:
        raise DaeError("mirror/bad-policy", f"{name} holds a document of more than {DOCUMENT_BYTES} bytes", "split it")
    return text
