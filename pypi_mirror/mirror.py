"""Fresh, stale, absent or unavailable: what the mirror answers with, and when it asks upstream."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from pypi_mirror.arrivals import Incoming
from pypi_mirror.calculation import calculated
from pypi_mirror.expiry import Expiry
from pypi_mirror.files import Files
from pypi_mirror.flights import Flight, Flights
from pypi_mirror.model import METADATA_SUFFIX, File, possible_projects, project_name
from pypi_mirror.pages import Format
from pypi_mirror.prefetch import Prefetch, candidates, own_platforms
from pypi_mirror.shelves import VIEW
from pypi_mirror.store import Store
from pypi_mirror.upstreams import Limits, Upstreams

FIRST_WAIT = 2.7  # seconds that the asker of a page that is not here waits for upstream, plus what a slow line needs
FIRST_RETRIES = 1.5  # seconds in which a page that is not here is asked for again when that fails at once
REFRESH_WAIT = 0.03  # seconds for a page that is here, but old: its asker gets the old one after that
OLD_WAIT = 0.5  # the same for one that is older than VERY_OLD, when nothing is known of trouble
VERY_OLD = 86400.0
SLOW_LINE = 256 << 10  # bytes a second that upstream must deliver to be waited for longer
SLOWEST_LINE = 16 << 10  # bytes a second below which a page is given up, whoever still waits for it,
PAGE_LIMIT = 5.0  # after that many seconds
ABSENT = 60.0  # seconds that upstream's "there is no such project" is believed
ABSENT_NAMES = 1024
LEFT_BEHIND = 3600.0  # age in seconds at which a temporary file is nobody's

log = logging.getLogger("dae.mirror")


class Mirror:
    """The decisions over the store and upstream. Every method may be called from many threads or greenlets."""

    def __init__(self, store: Store, upstreams: Upstreams, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._upstreams = upstreams
        self._ttl = ttl
        self._clock = clock
        #: Whether upstream is never to be asked for a project.
        self.reserved: Callable[[str], bool] = lambda _name: False
        self._page_flights = Flights(Flight[None])
        self._files = Files(store, upstreams)
        self._prefetch = Prefetch(self._get_metadata)
        self._platforms = own_platforms()
        self._absent: dict[str, float] = {}
        self._absent_lock = threading.Lock()
        self._expiry = Expiry(store.expire, clock)
        store.sweep(clock() - LEFT_BEHIND)
        for name in store.served():
            self._let_serve(name)

    def page(self, name: str, kind: Format, zipped: bool, view: str = VIEW) -> BinaryIO:
        """The rendered page of the project with that normalised name, as a view shows it, open.

        Raises ``mirror/unknown-project``, ``mirror/unavailable`` or ``mirror/bad-upstream``; the last two only when
        the project is not here.
        """
        self._refresh(name)
        if not self.store.is_whole(name, view) and not self.store.is_private(name):
            self.store.forget(name)  # damaged, or forgotten by somebody else just now
            self._first(name)
        stream = self.store.open_page(name, kind, zipped, view)
        self._let_serve(name)
        if stream is None:
            raise DaeError("mirror/unavailable", f"the mirror's record of {name} is damaged", "publish it again")
        return stream

    def trouble(self) -> bool:
        """Whether the last that was heard of upstream is a failure."""
        return self._upstreams.in_trouble

    def health(self) -> list[dict[str, object]]:
        """How each upstream is (:meth:`Upstreams.health`)."""
        return self._upstreams.health()

    def find(self, sha256: str, filename: str) -> tuple[str, File]:
        """The project and entry of a file; raises as :meth:`file`."""
        return self._find(sha256, filename)

    def _let_serve(self, name: str) -> None:
        """Have nginx serve the project's page for as long as nobody needs to ask for it again."""
        if self.store.is_private(name):
            self.store.renew(name)
            return
        fetched, now = self.store.fetched(name), self._clock()
        if fetched is None:
            return
        until = fetched + self._ttl if 0 <= now - fetched < self._ttl else now + self._upstreams.pause_left(name)
        until = min(until, self.store.until(name))
        if until > now:
            self.store.renew(name)
            self._expiry.at(name, until)
        else:
            self.store.expire(name)

    def file(self, sha256: str, filename: str, whole: bool = False) -> Path | Incoming:
        """A file of the index, or its metadata; fetched if it is not here, and then to be read while it comes.

        ``whole``: only the whole file will do. Raises ``mirror/unknown-file``, ``mirror/unavailable``,
        ``mirror/hash-mismatch`` or ``platform/disk-full``.
        """
        path = self.store.file_path(sha256, filename)
        if path.is_file():
            return path
        name, file = self._find(sha256, filename.removesuffix(METADATA_SUFFIX))
        if not file.url or self.store.is_private(name):
            raise DaeError("mirror/unknown-file", f"the mirror has no {filename}, and nobody else may have it")
        if not filename.endswith(METADATA_SUFFIX):
            return self._files.get(name, file, whole)
        if not file.is_wheel:
            raise DaeError("mirror/unknown-file", f"the mirror has no metadata of {file.filename}")
        return self._files.metadata(name, file)

    def upstream_has(self, name: str) -> bool:
        """Whether upstream has a project of that name, or we do; raises ``mirror/unavailable`` if nobody can tell."""
        try:
            self._refresh(name)
        except DaeError as error:
            if error.code == "mirror/unknown-project":
                return False
            raise
        return True

    def _refresh(self, name: str) -> None:
        """Return when the store's page of the project may be served; raise when there is none to serve."""
        if self.store.is_private(name):
            return
        if self.reserved(name):
            hint = "publish it to this index, or require another name"
            raise DaeError("mirror/refused", f"{name} is a private name, which never comes from upstream", hint)
        fetched = self.store.fetched(name)
        if fetched is None:
            self._first(name)
        elif not 0 <= (age := self._clock() - fetched) < self._ttl:
            self._again(name, age)

    def _first(self, name: str) -> None:
        if self._is_absent(name):
            raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
        flight = self._page_flights.join(name, lambda flight: self._fetch_page(name, flight, FIRST_RETRIES))
        if not flight.wait(FIRST_WAIT, SLOW_LINE) and not flight.answered:
            self._upstreams.late(name)
            raise DaeError("mirror/unavailable", f"upstream did not answer in time for {name}", "try again")
        flight.result()

    def _again(self, name: str, age: float) -> None:
        """Renew what is here; who asked waits for a moment, in which upstream mostly answers."""
        patience = OLD_WAIT if age > VERY_OLD and not self._upstreams.trouble(name) else REFRESH_WAIT
        flight = self._page_flights.under_way(name)
        if flight is None:
            if not self._upstreams.may_ask(name):
                return
            flight = self._page_flights.join(name, lambda flight: self._fetch_page(name, flight, 0.0))
        if not flight.wait(patience, SLOW_LINE):
            return
        try:
            flight.result()
        except DaeError as error:
            if error.code == "mirror/unknown-project":
                raise
        except OSError:  # a full disk, for one: what is here can still be served
            log.exception("the page of %s could not be kept", name)

    def _fetch_page(self, name: str, flight: Flight[None], retries: float) -> None:
        try:
            limits = Limits(retries, PAGE_LIMIT, SLOWEST_LINE)
            project = self._upstreams.project(name, flight, limits, self.store.fetched_record(name))
        except DaeError as error:
            if error.code == "mirror/unknown-project":
                self._remember_absent(name)
                self.store.forget(name)
            raise
        self.store.save(project, int(self._clock() * 1e9))
        self._let_serve(name)  # whoever asked may have had the old one, and have gone
        self._prefetch.after(name)

    def _get_metadata(self, name: str) -> None:
        """Have the metadata of the wheels here that are likely to be asked about, as far as pages cannot tell of it."""
        wanted = [] if self.store.is_private(name) else calculated(self._candidates, name)
        missing = [file for file in wanted if not file.core_metadata and not self._files.is_here(file)]
        missing = [file for file in missing if not self.store.has_metadata(file)]
        found = [file for file in missing if self._files.glean(name, file, render=False)]
        if found:
            self.store.render(name)

    def _candidates(self, name: str) -> list[File]:
        project = self.store.load(name)
        return candidates(project, self._platforms) if project else []

    def _find(self, sha256: str, filename: str) -> tuple[str, File]:
        """The project and entry of a file; upstream's page is asked for when no page that is here names it."""
        candidates = possible_projects(filename)
        for name in candidates:
            if file := self._named(name, sha256, filename):
                return name, file
        trouble: DaeError | None = None
        for name in candidates[:2]:
            try:
                self._refresh(name)
            except DaeError as error:
                trouble = trouble or (error if error.code != "mirror/unknown-project" else None)
                continue
            if file := self._named(name, sha256, filename):
                return name, file
        raise trouble or DaeError("mirror/unknown-file", f"no index has {filename} with sha256 {sha256}", "lock again")

    def _named(self, name: str, sha256: str, filename: str) -> File | None:
        project = self.store.load(project_name(name))
        return project.file(sha256, filename) if project else None

    def _is_absent(self, name: str) -> bool:
        with self._absent_lock:
            return self._clock() < self._absent.get(name, 0) and not self._upstreams.trouble(name)

    def _remember_absent(self, name: str) -> None:
        with self._absent_lock:
            self._absent.pop(name, None)
            self._absent[name] = self._clock() + ABSENT
            while len(self._absent) > ABSENT_NAMES:
                del self._absent[next(iter(self._absent))]
