"""What a view shows of a project: the store's question, answered by the policy; without one everything is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pypi_mirror.model import File, Project, possible_projects, version_of, versions_of
from pypi_mirror.policy import Verdict
from pypi_mirror.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class Known:
    """A file, with its size if that is known from the disk, and the licenses that it names; None when not known."""

    file: File
    licenses: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A project as a view shows it, what it hides, and what people are told. ``until``: when that changes by itself."""

    project: Project
    hidden: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()
    until: float | None = None


class Lens(Protocol):
    """See :class:`PolicyLens`."""

    def clock(self) -> float: ...

    def mark(self, view: str) -> str: ...

    def asks_content(self) -> bool: ...

    def hides(self, view: str, file: File, know: Callable[[], Known]) -> bool: ...

    def shown(self, view: str, project: Project, know: Callable[[File], Known]) -> Shown: ...


class Open:
    """Everything is shown to everybody."""

    def clock(self) -> float:
        return time.time()

    def mark(self, view: str) -> str:  # noqa: ARG002 - the protocol's
        return ""

    def asks_content(self) -> bool:
        return False

    def hides(self, view: str, file: File, know: Callable[[], Known]) -> bool:  # noqa: ARG002
        return False

    def shown(self, view: str, project: Project, know: Callable[[File], Known]) -> Shown:  # noqa: ARG002
        return Shown(project)


OPEN = Open()


class PolicyLens:
    """What the rulebook lets through. Of files that a view does not show no version is named, either."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    def clock(self) -> float:
        return self._rulebook.clock()

    def mark(self, view: str) -> str:
        """A text that changes when what the view shows does; empty when it shows everything."""
        return self._rulebook.mark(view)

    def asks_content(self) -> bool:
        """Whether in some view it depends on what a file holds."""
        return any(self._rulebook.view(view).asks_content for view in self._rulebook.views)

    def hides(self, view: str, file: File, know: Callable[[], Known]) -> bool:
        """Whether the view hides a file, of which only the name says whose it is; ``know``: as of :meth:`shown`."""
        if not self.mark(view):
            return False
        names = possible_projects(file.filename)
        known = know() if self._rulebook.view(view).asks_content else Known(file)
        return not names or any(self._rulebook.judge(view, name, known.file, known.licenses).refused for name in names)

    def shown(self, view: str, project: Project, know: Callable[[File], Known]) -> Shown:
        """Pure but for ``know``, which reads what is here of a file: it is asked only where a rule wants to know."""
        if not self.mark(view):
            return Shown(project)
        asks = self._rulebook.view(view).asks_content
        seen, hidden, notes, times = [], [], [], []
        for file in project.files:
            known = know(file) if asks else Known(file)
            verdict = self._rulebook.judge(view, project.name, known.file, known.licenses)
            if verdict.until is not None:
                times.append(verdict.until)
            if verdict.refused:
                hidden.append(file)
                notes.append(told(file, verdict))
            else:
                seen.append(file)
                notes += [f"{file.filename} has a known vulnerability: {words}" for words in verdict.warnings]
        lost = {version for file in hidden if (version := version_of(file.filename))} - set(versions_of(seen))
        versions = tuple(text for text in project.versions if text not in lost) if seen else ()
        shown = replace(project, files=tuple(seen), versions=versions)
        return Shown(shown, tuple(hidden), tuple(notes), min(times, default=None))


def told(file: File, verdict: Verdict) -> str:
    """Why a file is hidden, in a line."""
    return f"{file.filename} is not let through ({verdict.rule}): {verdict.reason} -- {verdict.advice}"
