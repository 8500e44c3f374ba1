"""Rendered pages on the disk: below ``pages``, where nginx serves them unasked, and ``old``, which it does not know.

Each method wants the store's lock held, but those that only look.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pypi_mirror import pages
from pypi_mirror.calculation import calculated
from pypi_mirror.lens import Shown
from pypi_mirror.model import Project, project_name
from pypi_mirror.shelves import VIEW, Shelves, read, sha256
from pypi_mirror.writing import make_folder

OF = "of"


@dataclass(frozen=True, slots=True)
class Kept:
    """The record of a project as it is on the disk; ``data`` is None when it is not here."""

    name: str
    private: bool
    data: bytes | None


class Rendering:
    """The pages of the projects whose files are in ``shelves``, as its lens shows them."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._root = shelves.root
        for state in ("pages", "old"):
            make_folder(self._root / state)
            make_folder(self._root / state / VIEW)

    # where

    def views(self) -> list[str]:
        """The views that have pages here, or had them."""
        return sorted({path.name for state in ("pages", "old") for path in (self._root / state).iterdir()})

    def folder(self, state: str, name: str, view: str = VIEW) -> Path:
        return self._root / state / view / project_name(name)

    def place(self, name: str, view: str = VIEW) -> Path:
        """Where the rendered pages of a project are, or will be."""
        served = self.folder("pages", name, view)
        return served if served.is_dir() else self.folder("old", name, view)

    # what

    def served(self) -> Iterator[str]:
        """The projects whose pages nginx serves without asking, once for each view."""
        for view in self.views():
            yield from (path.name for path in (self._root / "pages" / view).glob("*") if path.is_dir())

    def until(self, name: str) -> float:
        """When the first of a project's pages changes by itself (seconds since 1970)."""
        return min((self._of(name, view)[1] for view in self.views()), default=math.inf)

    def is_current(self, kept: Kept, view: str) -> bool:
        """Whether the page was rendered from what is known of the project, and may still be served."""
        of, until = self._of(kept.name, view)
        return kept.data is not None and of == self._source(kept, view) and self._shelves.lens.clock() < until

    def _of(self, name: str, view: str) -> tuple[str, float]:
        """What a page was rendered from, and until when it may be served; the text is empty when there is none."""
        text = (read(self.place(name, view) / OF) or b"").decode("ascii", "replace")
        of, _, until = text.partition(" ")
        try:
            return of, float(until) if until else math.inf
        except ValueError:
            return "", math.inf

    def _source(self, kept: Kept, view: str) -> str:
        """What a page is rendered from."""
        return sha256(kept.data or b"") + ("" if kept.private else self._shelves.lens.mark(view))

    # changes

    def drop(self, name: str, but: str = "") -> None:
        for view in self.views():
            if view != but:
                for state in ("pages", "old"):
                    shutil.rmtree(self.folder(state, name, view), ignore_errors=True)

    def renew(self, kept: Kept) -> None:
        """Let nginx serve the pages unasked that are right as they are."""
        for view in self.views():
            served, aside = self.folder("pages", kept.name, view), self.folder("old", kept.name, view)
            if aside.is_dir():
                shutil.rmtree(served, ignore_errors=True)  # of a writer that was killed between two renames
                if self.is_current(kept, view):
                    make_folder(served.parent)
                    aside.rename(served)
                else:
                    shutil.rmtree(aside, ignore_errors=True)
            elif served.is_dir() and not self.is_current(kept, view):
                shutil.rmtree(served, ignore_errors=True)

    def expire(self, name: str) -> None:
        """Have the pages asked for again."""
        for view in self.views():
            served, aside = self.folder("pages", name, view), self.folder("old", name, view)
            if served.is_dir():
                shutil.rmtree(aside, ignore_errors=True)  # as above
                make_folder(aside.parent)
                served.rename(aside)

    def render(self, project: Project, kept: Kept, view: str) -> None:
        """Render a page, and put the files that it hides where nginx does not find them, if it is the default one."""
        shelves, judged = self._shelves, not kept.private and self._shelves.lens.mark(view)
        shown = calculated(shelves.lens.shown, view, project, shelves.known) if judged else Shown(project)
        if view == VIEW and not kept.private:
            shelves.hold(shown.hidden, shown.project.files if judged or any(shelves.put_aside()) else ())
        place = self.place(project.name, view)
        make_folder(place.parent)
        with shelves.new_folder() as folder, shelves.new_folder() as before:
            self.write(folder, shown, self._source(kept, view))
            if place.is_dir():
                place.rename(before)
            folder.rename(place)  # whoever is killed before that leaves no page: it is rendered when it is asked for

    def write(self, folder: Path, shown: Shown, source: str) -> None:
        """Write a page in every form, and what it was rendered from."""
        files = calculated(_rendered, shown.project, self._metadata(shown.project), shown.notes)
        for name, content in files.items():
            self._shelves.write(folder / name, content, pages.stamp(content))
        until = "" if shown.until is None else f" {shown.until!r}"
        self._shelves.write(folder / OF, f"{source}{until}".encode())

    def _metadata(self, project: Project) -> dict[str, str]:
        found = {}
        for file in project.files:
            if file.is_wheel:
                text = read(self._shelves.metadata_path(file))
                if text is not None:
                    found[file.sha256] = sha256(text)
                elif file.core_metadata:
                    found[file.sha256] = file.core_metadata
        return found


def _rendered(project: Project, metadata: dict[str, str], notes: tuple[str, ...] = ()) -> dict[str, bytes]:
    """A project's page in every form, by the name of its file."""
    return pages.with_twins({kind.value: body for kind, body in pages.render(project, metadata, notes).items()})
