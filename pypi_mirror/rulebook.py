"""The policy in force: read from the operator's files, and kept when a later text of them cannot be read.

====================================  ===========================================================================
mirror/policy.toml                    the last good text of the policy, below a line with its sha256
mirror/advisories.json                what the documents of vulnerabilities said last (advisories.py)
mirror/approved.json                  what administrators approved (approvals.py)
mirror/applied                        the mark of what the files on disk were last held against
====================================  ===========================================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from packaging.version import Version

from core.config import Settings
from core.errors import DaeError
from core.files import sync_folder, write_atomically
from core.paths import Home
from pypi_mirror import osv, policy, policy_text
from pypi_mirror.advisories import Documents, why
from pypi_mirror.approvals import read_approvals
from pypi_mirror.calculation import calculated
from pypi_mirror.model import File
from pypi_mirror.policy import DEFAULT, Approvals, Asked, Policy, Verdict, View
from pypi_mirror.watching import stamp

KEPT, APPLIED = "policy.toml", "applied"

log = logging.getLogger("dae.mirror")


class Rulebook:
    """What holds now. :meth:`load` reads the files anew; everything else answers from memory."""

    def __init__(self, home: Home, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.file = Path(settings.mirror_policy or home.root / "mirror-policy.toml")
        self.clock = clock
        self.problems: tuple[str, ...] = ()  # what cannot be read, for status and doctor
        self._folder = home.mirror
        self._required = bool(settings.mirror_policy)
        self._documents = Documents(
            Path(settings.mirror_advisories or home.root / "mirror-advisories"),
            home.mirror / "advisories.json",
            required=bool(settings.mirror_advisories),
        )
        self._policy: Policy | None = None  # None: nothing good was ever read, so nothing is let through
        self._text = ""  # of that policy
        self._approvals: Approvals = {}
        self._advisories = osv.Advisories()
        self._marks: dict[str, str] = {}
        self._seen: object = None
        self._loading = threading.Lock()

    # what holds

    @property
    def is_good(self) -> bool:
        return self._policy is not None

    def require(self) -> None:
        """Raise ``mirror/bad-policy`` when no policy could ever be read: then nothing may be let through.

        Whoever asks is told of the file by its name: where it is, and what is in it, the operator alone is told.
        """
        if self._policy is None:
            cause = f"the index serves nothing, for its policy, {self.file.name}, cannot be read"
            raise DaeError("mirror/bad-policy", cause, "the operator mends it; what is wrong says: dae mirror status")

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

    def known_of(self, name: str, project: str, version: Version) -> list[str]:
        """The vulnerabilities of a version that count in that view, in words."""
        return [hit.words() for hit in policy.known_of(self.view(name), project, version, self._advisories)]

    # reading

    def load(self) -> bool:
        """Read what changed; whether anything did. What cannot be read is a problem, and the last good one holds."""
        with self._loading:
            seen = calculated(self._stamps)
            if seen == self._seen:
                return False
            problems: list[str] = []
            found = self._chosen(problems)
            if found is not None:
                self._policy, self._text = found
                self._keep(problems)
            self._read_approvals(problems)
            self._advisories = calculated(self._documents.read, problems)
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
        self._chosen(problems)
        self._read_approvals(problems)
        self._documents.read(problems, keep=False)
        return problems

    def _chosen(self, problems: list[str]) -> tuple[Policy, str] | None:
        """The policy and its text: of the operator's file, else the last good one; None when there is none.

        Before the first one everything may come. A file that goes away is no such beginning.
        """
        fault = ""
        try:
            text = _text(self.file)
            if text is not None:
                return calculated(policy_text.parse, text), text
        except (DaeError, OSError) as error:
            fault = f"{self.file}: {why(error)}"
        try:
            last = self._text if self._policy is not None else kept_text(self._folder)
            found = None if last is None else (calculated(policy_text.parse, last), last)
        except (DaeError, OSError) as error:
            problems += [
                *([fault] if fault else []),
                f"the copy of the policy in force: {why(error)}; write {self.file}",
            ]
            return None
        if not fault and not last:
            if self._required:
                problems.append(f"{self.file} is not there")
                return found if self._policy is not None else None
            return Policy(), ""
        problems.append(fault or f"{self.file} is gone; an empty file there would let everything through")
        return found

    def _keep(self, problems: list[str]) -> None:
        """Write the policy in force where it is found at a start when the operator's file cannot be read."""
        try:
            with contextlib.suppress(DaeError):
                if kept_text(self._folder) == self._text:
                    return
            write_atomically(self._folder / KEPT, _sealed(self._text).encode(), 0o640)
            sync_folder(self._folder)
        except OSError as error:
            problems.append(f"the policy in force cannot be kept for the next start: {why(error)}")

    def _read_approvals(self, problems: list[str]) -> None:
        try:
            self._approvals = {name: frozenset(found) for name, found in read_approvals(self._folder).items()}
        except (DaeError, OSError) as error:
            problems.append(f"approved.json: {why(error)}")

    def _stamps(self) -> object:
        paths = [self.file, self._folder / KEPT, self._folder / "approved.json"]
        return [*((path, stamp(path)) for path in paths), self._documents.changes()]

    def _marked(self) -> dict[str, str]:
        if self._policy is None:
            return {}
        known = hashlib.sha256(self._documents.digest())
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
        return (_text(self._folder / APPLIED) or "") == self.whole_mark

    @property
    def whole_mark(self) -> str:
        """The mark of all views together; empty when there is but the default one, and it lets everything through."""
        if self._marks == {DEFAULT: ""}:
            return ""
        return hashlib.sha256(repr(sorted(self._marks.items())).encode()).hexdigest()

    def remember_applied(self, mark: str) -> None:
        write_atomically(self._folder / APPLIED, mark.encode(), 0o640)


def kept_text(folder: Path) -> str | None:
    """The text of the policy in force, as it was kept; None before the first. Raises ``mirror/bad-policy``, OSError.

    Its first line seals it: half of a policy is a policy, too, and lets more through.
    """
    text = _text(folder / KEPT)
    if text is None or (not text and not _text(folder / APPLIED)):  # empty: of a mirror that sealed none
        if text is None and _text(folder / APPLIED):
            raise DaeError("mirror/bad-policy", "it is gone", "write the policy again")
        return text
    _seal, _, rest = text.partition("\n")
    if _sealed(rest) != text:
        raise DaeError("mirror/bad-policy", "it is damaged", "write the policy again")
    return rest


def _sealed(text: str) -> str:
    return f"# kept by the mirror: sha256 {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(policy_text.TEXT_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DaeError("mirror/bad-policy", f"{path.name} is not UTF-8", "mend it") from None
