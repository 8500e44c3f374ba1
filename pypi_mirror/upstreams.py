"""Several indexes in order of priority: a project is the first one's that has it, and is never put together from two.

The order must hold in trouble, too: an outage of an index says nothing of what it has, so nobody below it is asked.
Which index a project came from is on disk. If that index has it no more, the ones below still do not get to offer
another one under its name, until the operator removes the record (``mirror/origins/NAME``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DaeError
from core.files import sync_folder
from pypi_mirror.breaker import Breaker
from pypi_mirror.client import unavailable
from pypi_mirror.flights import Flight
from pypi_mirror.model import Project, project_name
from pypi_mirror.retrying import pause
from pypi_mirror.upstream import Upstream

ATTEMPTS = 3

log = logging.getLogger("dae.mirror")


@dataclass(frozen=True, slots=True)
class Limits:
    """For how many seconds a page is asked for again, and for how many it may come, and one for each ``rate`` bytes."""

    retries: float
    patience: float
    rate: float


class Origins:
    """From which index each project came, by name; kept when the project goes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / project_name(name)).read_text("utf-8", "replace")
        return None

    def set(self, name: str, base: str) -> None:
        if self.get(name) == base:
            return
        self._folder.mkdir(mode=0o750, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".write-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(base)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).rename(self._folder / project_name(name))
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync_folder(self._folder)


class Upstreams:
    """The indexes behind the mirror; asks them, and minds how each of them is."""

    def __init__(self, upstreams: Sequence[Upstream], origins: Origins | None = None) -> None:
        """``origins`` may be left out for a single index: there is nobody whom its place could fall to."""
        self._all = tuple(upstreams)
        self._origins = origins if len(self._all) > 1 else None
        self._asked: dict[str, Breaker] = {}

    def project(self, name: str, flight: Flight[Any], limits: Limits, at_hand: bytes | None = None) -> Project:
        """The project as the first index that has it tells it; ``at_hand`` is the record of what is here of it.

        Raises as :meth:`Upstream.project`; ``mirror/unavailable`` also when an index that comes before does not answer.
        """
        try:
            for upstream in self._before_and(name):
                if not upstream.pages.admits():
                    raise unavailable("upstream failed several times, and is left alone for a moment")
                self._asked[name] = upstream.pages
                with contextlib.suppress(Unknown):
                    project = self._ask(upstream, name, flight, limits, at_hand)
                    if self._origins:
                        self._origins.set(name, upstream.base)
                    return project
        finally:
            self._asked.pop(name, None)
        raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")

    def of(self, name: str) -> Upstream:
        """The index that a project's files are fetched from."""
        origin = self._origins.get(name) if self._origins else None
        return next((upstream for upstream in self._all if upstream.base == origin), self._all[-1])

    def late(self, name: str) -> None:
        """Somebody waited in vain for the project's page."""
        if breaker := self._asked.get(name):
            breaker.suspect()

    def trouble(self, name: str) -> bool:
        """Whether an index that would have to be asked for the project failed the last time."""
        return any(breaker.trouble for breaker in self._breakers(name))

    @property
    def in_trouble(self) -> bool:
        """Whether one of them failed when it was asked last."""
        return any(upstream.pages.trouble for upstream in self._all)

    def health(self) -> list[dict[str, object]]:
        """How each of them is: its address without credentials, and its pages and files (:class:`Health`)."""
        return [
            {"index": each.base, "pages": each.pages.health.to_json(), "files": each.files.health.to_json()}
            for each in self._all
        ]

    def may_ask(self, name: str) -> bool:
        """Whether who has the project at hand should ask for it."""
        return all(breaker.may_ask() for breaker in self._breakers(name))

    def pause_left(self, name: str) -> float:
        return max(breaker.pause_left() for breaker in self._breakers(name))

    def _breakers(self, name: str) -> Iterable[Breaker]:
        return [upstream.pages for upstream in self._before_and(name)]

    def _before_and(self, name: str) -> tuple[Upstream, ...]:
        """The indexes to ask: down to the one that the project came from, if that is known and still among them."""
        origin = self._origins.get(name) if self._origins else None
        bases = [upstream.base for upstream in self._all]
        return self._all[: bases.index(origin) + 1] if origin in bases else self._all

    def _ask(
        self, upstream: Upstream, name: str, flight: Flight[Any], limits: Limits, at_hand: bytes | None
    ) -> Project:
        for failures in range(1, ATTEMPTS + 1):
            try:
                project = upstream.project(
                    name, lambda count: flight.advance(count, limits.patience, limits.rate), flight.answer, at_hand
                )
            except DaeError as error:
                if error.code == "mirror/unknown-project":
                    upstream.pages.succeed()
                    raise Unknown from None
                if error.code != "mirror/unavailable" or failures == ATTEMPTS or flight.is_late(limits.retries, 1e9):
                    log.warning("%s", error.line())
                    # Who refuses one page, or sends nonsense for it, is there: others are not kept from asking.
                    (upstream.pages.fail if error.code == "mirror/unavailable" else upstream.pages.suspect)(error.cause)
                    raise
                time.sleep(pause(failures))
                continue
            upstream.pages.succeed()
            return project
        raise AssertionError("the last attempt returns or raises")


class Unknown(Exception):  # noqa: N818 - it is an answer
    """An index says that it has no such project."""
