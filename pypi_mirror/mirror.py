"""Fresh, stale, absent or unavailable: what the mirror answers with, and when it asks upstream."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from pypi_mirror.expiry import Expiry
from pypi_mirror.flights import Flight, Flights
from pypi_mirror.model import METADATA_SUFFIX, File, possible_projects, project_name
from pypi_mirror.pages import Format
from pypi_mirror.shelves import VIEW
from pypi_mirror.store import Store
from pypi_mirror.upstream import Breaker, Upstream

FIRST_WAIT = 2.7  # seconds that the asker of a page that is not here waits for upstream, plus what a slow line needs
REFRESH_WAIT = 0.5  # the same for a page that is here, but old: its asker gets the old one after that
TROUBLE_WAIT = 0.04  # the same when upstream was in trouble the last time that it was asked
SLOW_LINE = 256 << 10  # bytes a second that upstream must deliver to be waited for longer
SLOWEST_LINE = 16 << 10  # bytes a second below which a fetch is given up, whoever still waits for it,
PAGE_LIMIT, FILE_LIMIT = 5.0, 60.0  # after that many seconds
BREAK = 5.0  # seconds that upstream is left alone after a failure, by those who have something to answer with
ABSENT = 60.0  # seconds that upstream's "there is no such project" is believed
ABSENT_NAMES = 1024
LEFT_BEHIND = 3600.0  # age in seconds at which a temporary file is nobody's

log = logging.getLogger("dae.mirror")


class Mirror:
    """The decisions over the store and upstream. Every method may be called from many threads or greenlets."""

    def __init__(self, store: Store, upstream: Upstream, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._upstream = upstream
        self._ttl = ttl
        self._clock = clock
        #: Whether upstream is never to be asked for a project.
        self.reserved: Callable[[str], bool] = lambda _name: False
        self._breaker = Breaker(BREAK)
        self._page_flights: Flights[None] = Flights()
        self._file_flights: Flights[Path] = Flights()
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
        return self._breaker.trouble

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
        until = fetched + self._ttl if 0 <= now - fetched < self._ttl else now + self._breaker.pause_left()
        until = min(until, self.store.until(name))
        if until > now:
            self.store.renew(name)
            self._expiry.at(name, until)
        else:
            self.store.expire(name)

    def file(self, sha256: str, filename: str) -> Path:
        """A file of the index, or its metadata, fetched if it is not here.

        Raises ``mirror/unknown-file``, ``mirror/unavailable`` or ``mirror/hash-mismatch``.
        """
        path = self.store.file_path(sha256, filename)
        if path.is_file():
            return path
        if filename.endswith(METADATA_SUFFIX):
            # Pages promise the metadata of files that are here, so nobody but a guesser comes by.
            raise DaeError(
                "mirror/unknown-file", f"the mirror has no metadata of {filename.removesuffix(METADATA_SUFFIX)}"
            )
        name, file = self._find(sha256, filename)
        return self._file_flights.join(path, lambda flight: self._fetch(name, file, flight)).result()

    def upstream_has(self, name: str) -> bool:
        """Whether upstream has a project of that name; raises ``mirror/unavailable`` when that cannot be told now."""
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
        elif not 0 <= self._clock() - fetched < self._ttl:
            self._again(name)

    def _first(self, name: str) -> None:
        if self._is_absent(name):
            raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
        flight = self._page_flights.join(name, lambda flight: self._fetch_page(name, flight))
        if not flight.wait(FIRST_WAIT, SLOW_LINE):
            self._breaker.fail()
            raise DaeError("mirror/unavailable", f"upstream did not answer in time for {name}", "try again")
        flight.result()

    def _again(self, name: str) -> None:
        patience = TROUBLE_WAIT if self._breaker.trouble else REFRESH_WAIT
        if not self._breaker.may_ask():
            return
        flight = self._page_flights.join(name, lambda flight: self._fetch_page(name, flight))
        if not flight.wait(patience, SLOW_LINE):
            self._breaker.fail()  # until it has answered; then the flight itself says that all is well again
            return
        try:
            flight.result()
        except DaeError as error:
            if error.code == "mirror/unknown-project":
                raise
        except OSError:  # a full disk, for one: what is here can still be served
            log.exception("the page of %s could not be kept", name)

    def _fetch_page(self, name: str, flight: Flight[None]) -> None:
        try:
            project = self._upstream.project(name, lambda count: flight.advance(count, PAGE_LIMIT, SLOWEST_LINE))
        except DaeError as error:
            if error.code == "mirror/unknown-project":
                self._remember_absent(name)
                self.store.forget(name)
                self._breaker.succeed()
            else:
                log.warning("%s", error.line())
                self._breaker.fail()
            raise
        self._breaker.succeed()
        self.store.save(project, int(self._clock() * 1e9))
        self._let_serve(name)  # whoever asked may have had the old one, and have gone

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

    def _fetch(self, name: str, file: File, flight: Flight[Path]) -> Path:
        """Fetch a file, verify it, publish it, and let its project's page tell of its metadata."""
        path = self.store.file_path(file.sha256, file.filename)
        if path.is_file():
            return path  # it came while this one was on its way here
        digest = hashlib.sha256()

        def advance(count: int) -> None:
            flight.advance(count, FILE_LIMIT, SLOWEST_LINE)

        with self.store.new_file() as (stream, temporary):
            with self._upstream.file(file, advance) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    stream.write(chunk)
            if digest.hexdigest() != file.sha256 or file.size not in (None, flight.received):
                log.error("upstream sent another file than its index names: %s", file.filename)
                raise DaeError(
                    "mirror/hash-mismatch",
                    f"upstream's {file.filename} has sha256 {digest.hexdigest()}, its index says {file.sha256}",
                    "nothing was stored; try again later, and tell whoever runs the upstream index if it lasts",
                )
            path = self.store.publish_file(stream, temporary, file)
        if file.is_wheel:
            self.store.render(name)
        return path

    def _is_absent(self, name: str) -> bool:
        with self._absent_lock:
            return self._clock() < self._absent.get(name, 0) and not self._breaker.trouble

    def _remember_absent(self, name: str) -> None:
        with self._absent_lock:
            self._absent.pop(name, None)
            self._absent[name] = self._clock() + ABSENT
            while len(self._absent) > ABSENT_NAMES:
                del self._absent[next(iter(self._absent))]
