"""Who asks for what the policy hides is told why; and what lies on the disk is held against a policy that changed."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

from core.cooperative import aside
from core.errors import DaeError
from pypi_mirror.arrivals import Incoming
from pypi_mirror.lens import Known, told
from pypi_mirror.mirror import Mirror
from pypi_mirror.model import METADATA_SUFFIX, File, Project, possible_projects, project_name
from pypi_mirror.policy import Verdict
from pypi_mirror.rulebook import Rulebook
from pypi_mirror.shelves import VIEW
from pypi_mirror.stock import Own, Stocked, sidecars, stock
from pypi_mirror.store import Store

LOOK_SECONDS = 1.0  # between two looks at the operator's files
WHY_LINES = 1000

log = logging.getLogger("dae.mirror")


class Gate:
    """Between the door and the mirror. ``chores`` are done now and then by the thread that watches the files."""

    def __init__(self, rulebook: Rulebook, mirror: Mirror, chores: Callable[[], None] = lambda: None) -> None:
        self.rulebook = rulebook
        self._mirror = mirror
        self._store = mirror.store
        self._chores = chores
        mirror.reserved = lambda name: rulebook.reserved(VIEW, name)
        self._pending = False  # whether the disk is still to be held against a policy that changed
        self.apply()

    def watch(self) -> None:
        """Look at the operator's files from now on."""
        threading.Thread(target=self._watch, daemon=True).start()

    def page(self, view: str, name: str) -> None:
        """Raise ``mirror/refused`` for a private name that has no files here: upstream is not even asked."""
        if self.rulebook.reserved(view, name) and not self._store.is_private(name):
            hint = "publish it to this index, or require another name"
            raise DaeError("mirror/refused", f"{name} is a private name, which never comes from upstream", hint)

    def why(self, view: str, name: str) -> str:
        """What a person is told of a project's files that the view hides or warns of, a line for each."""
        self.rulebook.view(view)
        shown = self._store.shown(name, view)
        return "".join(f"{note}\n" for note in shown.notes[-WHY_LINES:]) if shown else ""

    def warnings(self, view: str, releases: Iterable[str]) -> dict[str, list[str]]:
        """What vulnerabilities are known of releases (``name==version``) of upstream's, of those that have some."""
        found = {}
        for release in releases:
            name, _, version = release.partition("==")
            try:
                words = [] if self._store.is_private(name) else self.rulebook.known_of(view, name, Version(version))
            except (InvalidVersion, DaeError):
                continue
            if words:
                found[release] = words
        return found

    def refusals(self, view: str, files: Iterable[Sequence[str]]) -> list[dict[str, str]]:
        """What the view lets through no more of files that were installed: ``cause`` and ``advice`` for each of those.

        ``files``: the project, the file's name, its sha256. One that no index names any more is judged by its name.
        Raises ``mirror/unknown-view`` and ``mirror/bad-policy``.
        """
        self.rulebook.view(view)
        found = []
        for project, filename, sha256 in files if self.rulebook.mark(view) else ():
            time.sleep(0)  # a project's record may be large: others are served meanwhile
            try:
                name, file = self._named(sha256, filename)
            except DaeError:
                name, file = project_name(project), File(filename, sha256, url="unknown:")
            verdict = Verdict() if self._store.is_private(name) else self._verdict(view, name, file)
            if verdict.refused:
                found.append({"cause": told(file, verdict).partition(" -- ")[0], "advice": verdict.advice})
        return found

    def file(self, view: str, sha256: str, filename: str, *, whole: bool = False) -> Path | Incoming:
        """A file, or its metadata, for who asks in that view, maybe while it comes (but not ``whole``).

        Raises ``mirror/refused``, and as :meth:`Mirror.file`.
        """
        self.rulebook.view(view)
        path = self._store.held_path(sha256, filename)
        if not self.rulebook.mark(view):
            return path if path.is_file() else self._mirror.file(sha256, filename, whole)
        name, file = self._named(sha256, filename.removesuffix(METADATA_SUFFIX))
        if self._store.is_private(name):
            return self._mirror.file(sha256, filename, whole)
        self._require(view, name, file)
        if not path.is_file():
            # A rule that wants to know what a file holds is asked once that is here, and nothing of it is sent before.
            came = self._mirror.file(sha256, filename, whole or self.rulebook.view(view).asks_content)
            if isinstance(came, Incoming):
                return came
            if self._verdict(VIEW, name, file).refused:  # as of a policy that changed while it was on its way
                with self._store.locked():
                    self._store.hold([file], [])
            self._require(view, name, file)  # of what its content says, and what its name and page did not
            path = path if path.is_file() else came  # it may have been put aside as soon as it came
        return path

    def _require(self, view: str, name: str, file: File) -> None:
        verdict = self._verdict(view, name, file)
        if verdict.refused:
            cause = told(file, verdict).partition(" -- ")[0]
            raise DaeError("mirror/refused", cause, verdict.advice)

    def _verdict(self, view: str, name: str, file: File) -> Verdict:
        known = self._store.known(file) if self.rulebook.view(view).asks_content else Known(file)
        return self.rulebook.judge(view, name, known.file, known.licenses)

    def _named(self, sha256: str, filename: str) -> tuple[str, File]:
        """The project and entry of a file; for one on the disk that no page names any more, what the disk says."""
        return self._here(sha256, filename, self._store.load) or self._mirror.find(sha256, filename)

    def _here(self, sha256: str, filename: str, load: Callable[[str], Project | None]) -> tuple[str, File] | None:
        names = possible_projects(filename)
        for name in names:
            project = load(name)
            if project is not None and (file := project.file(sha256, filename)):
                return name, file
        for beside in ("", METADATA_SUFFIX):
            path = self._store.place(sha256, filename + beside)
            if names and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # it went away just now
                    return names[0], self._unnamed(sha256, filename, path)
        return None

    @staticmethod
    def _unnamed(sha256: str, filename: str, path: Path) -> File:
        """A file that no page names, of which the file, or its metadata, is at ``path``: it is as old as that."""
        found = path.stat()
        since = datetime.fromtimestamp(found.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        size = found.st_size if path.name == filename else None
        return File(filename, sha256, url="unknown:", size=size, upload_time=since)

    # the policy changed

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                if self.rulebook.load():
                    log.info("the policy has changed")
                    self._pending = True
                if self._pending:  # also of a time before, when it could not be done to its end
                    self.apply()
                    self._pending = False
                self._chores()
            except Exception:
                log.exception("the mirror's files could not be looked after")

    def apply(self) -> None:
        """Hold what is on the disk against the policy: pages are asked for again, hidden files are put aside."""
        if self.rulebook.is_good and self.rulebook.applied:
            return
        mark = self.rulebook.whole_mark
        for name in self._store.served():
            self._store.expire(name)
        load = functools.lru_cache(maxsize=4)(self._store.load)  # the files of a project come one after the other
        own = Own(self._store)
        for item in aside(_by_project, self._store):
            hidden = aside(self._hidden, item, load, own)
            if hidden == item.held:
                continue
            file = File(item.filename, item.sha256)
            with self._store.locked():
                self._store.hold([file] if hidden else [], [] if hidden else [file])
        if self.rulebook.is_good:
            try:
                self.rulebook.remember_applied(mark)
            except OSError:  # of a full disk: the next start holds the files against it once more
                log.exception("it cannot be remembered that the policy was applied")

    def _hidden(self, item: Stocked, load: Callable[[str], Project | None], own: Own) -> bool:
        if item in own:
            return item.held
        if not self.rulebook.is_good:
            return True
        if not self.rulebook.mark(VIEW):
            return False
        found = self._here(item.sha256, item.filename, load)
        return found is None or self._verdict(VIEW, *found).refused  # None: it went away meanwhile


def _by_project(store: Store) -> list[Stocked]:
    """All files and metadata that are here, those of a project one after the other."""
    return sorted((*stock(store), *sidecars(store)), key=lambda item: possible_projects(item.filename))
