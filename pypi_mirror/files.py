"""Files and their metadata on their way here: one fetch for all who ask, verified before it is published."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

from core.errors import DaeError, no_room
from pypi_mirror.arrivals import Arrival, Incoming
from pypi_mirror.client import unavailable
from pypi_mirror.downloading import Download
from pypi_mirror.flights import Flight, Flights
from pypi_mirror.model import METADATA_SUFFIX, File
from pypi_mirror.remote import read_metadata
from pypi_mirror.store import Store
from pypi_mirror.upstream import Upstream
from pypi_mirror.upstreams import Upstreams

FIRST_BYTE_WAIT = 2.7  # seconds that the asker of a file waits for its first byte
LIMIT = 60.0  # seconds that a fetch may take,
METADATA_LIMIT = 20.0
SLOWEST_LINE = 16 << 10  # plus one for each so many bytes, whoever still waits for it
AT_ONCE = 64  # fetches of files

log = logging.getLogger("dae.mirror")


class Files:
    """What fetches files into the store."""

    def __init__(self, store: Store, upstreams: Upstreams) -> None:
        self._store = store
        self._upstreams = upstreams
        self._arrivals = Flights(Arrival)
        self._sidecars = Flights(Flight[Path])
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def get(self, name: str, file: File, whole: bool) -> Path | Incoming:
        """A file that a project's page names: where it is, or, unless ``whole`` is asked for, what there is of it.

        Raises ``mirror/unavailable``, ``mirror/unknown-file``, ``mirror/hash-mismatch`` or ``platform/disk-full``.
        """
        arrival = self._arriving(name, file)
        if not arrival.await_start(FIRST_BYTE_WAIT):
            self._upstreams.of(name).files.suspect()
            raise unavailable(f"upstream did not answer in time for {file.filename}")
        incoming = None if whole else arrival.open()
        return incoming or _result(arrival)

    def metadata(self, name: str, file: File) -> Path:
        """Where the metadata of a wheel is, which is fetched if it is not here; the wheel itself only if need be.

        Raises as :meth:`get`, and ``mirror/unknown-file`` when the wheel has none that can be read.
        """
        if self._store.has_metadata(file):
            return self._store.metadata_path(file)
        if not self.is_here(file) and not self.glean(name, file, render=True):
            _result(self._arriving(name, file))
        path = self._store.metadata_path(file)  # where it came to depends on what it says
        if not path.is_file():
            raise DaeError("mirror/unknown-file", f"{file.filename} holds no metadata that can be read")
        return path

    def glean(self, name: str, file: File, render: bool) -> bool:
        """Have the metadata of a wheel here that is not here itself; False when that takes the whole wheel.

        ``render``: let the project's page tell of it, if it does not yet. Raises ``mirror/unavailable``, or
        ``mirror/hash-mismatch`` when it is not what upstream's page names.
        """
        path = self._store.file_path(file.sha256, file.filename + METADATA_SUFFIX)
        flight = self._sidecars.join(path, lambda flight: self._glean(name, file, render, flight))
        if not flight.wait(FIRST_BYTE_WAIT, SLOWEST_LINE):
            self._upstreams.of(name).files.suspect()
            raise unavailable(f"upstream did not answer in time for the metadata of {file.filename}")
        flight.result()
        return self._store.has_metadata(file)

    def is_here(self, file: File) -> bool:
        """Whether the file is here, or on its way."""
        path = self._store.file_path(file.sha256, file.filename)
        return path.is_file() or self._arrivals.under_way(path) is not None

    def _arriving(self, name: str, file: File) -> Arrival:
        path = self._store.file_path(file.sha256, file.filename)
        if self._arrivals.under_way(path) is None and not self._upstreams.of(name).files.admits():
            raise unavailable("upstream failed several times, and is left alone for a moment")
        return self._arrivals.join(path, lambda arrival: self._fetch(name, file, arrival))

    def _fetch(self, name: str, file: File, arrival: Arrival) -> Path:
        """Fetch a file, verify it, publish it, and let its project's page tell of its metadata."""
        path = self._store.file_path(file.sha256, file.filename)
        if path.is_file():
            return path  # it came while this one was on its way here
        digest = hashlib.sha256()
        with self._places, self._store.new_file() as (stream, temporary):
            arrival.begin(temporary)

            def take(chunk: bytes) -> None:
                digest.update(chunk)
                stream.write(chunk)
                stream.flush()
                arrival.grow(len(chunk))

            self._download(self._upstreams.of(name), Download(file, arrival.expect, take), arrival)
            if digest.hexdigest() != file.sha256:
                log.error("upstream sent another file than its index names: %s", file.filename)
                raise DaeError(
                    "mirror/hash-mismatch",
                    f"upstream's {file.filename} has sha256 {digest.hexdigest()}, its index says {file.sha256}",
                    "nothing was stored; try again later, and tell whoever runs the upstream index if it lasts",
                )
            arrival.verify()
            path = self._store.publish_file(stream, temporary, file)
        if file.is_wheel or self._store.lens.asks_content():
            self._store.render(name)
        return path

    @staticmethod
    def _download(upstream: Upstream, download: Download, arrival: Arrival) -> None:
        try:
            download.run(upstream, arrival, LIMIT, SLOWEST_LINE)
        except DaeError as error:
            if error.code == "mirror/unavailable":
                log.warning("%s", error.line())
                if not download.taken:  # upstream sends other files, if it sent some of this
                    upstream.files.fail()
            raise
        upstream.files.succeed()

    def _glean(self, name: str, file: File, render: bool, flight: Flight[Path]) -> None:
        upstream = self._upstreams.of(name)
        if self._store.has_metadata(file):
            return
        if not upstream.files.admits():
            raise unavailable("upstream failed several times, and is left alone for a moment")

        def advance(count: int) -> None:
            flight.advance(count, METADATA_LIMIT, SLOWEST_LINE)

        try:
            text = upstream.metadata(file, advance) if file.core_metadata else read_metadata(upstream, file, advance)
        except DaeError as error:
            if error.code == "mirror/unavailable":
                upstream.files.fail()
            raise
        upstream.files.succeed()
        if text is not None and not self._store.has_metadata(file):
            self._store.publish_metadata(file, text)
            if render and not file.core_metadata:
                self._store.render(name)


def _result(arrival: Arrival) -> Path:
    try:
        return arrival.result()
    except OSError as error:
        raise no_room(error) or error from error
