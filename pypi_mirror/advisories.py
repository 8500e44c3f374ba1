"""The operator's documents of vulnerabilities: read when they change, and kept as they were when they could be read.

====================================  ===========================================================================
mirror/advisories.json                what the documents said last, by file and by entry of an archive
====================================  ===========================================================================
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.version import Version

from core.errors import DaeError
from core.files import write_atomically
from pypi_mirror import osv
from pypi_mirror.osv import Advisories, Advisory, Span
from pypi_mirror.watching import Stamp, Watched, stamp, walk

DOCUMENT_BYTES = 32 << 20  # of one document, unpacked
DOCUMENTS = 200_000
ENDINGS = (".json", ".zip")
DOCUMENTS_BYTES = 1 << 30
SAID = 20  # what is wrong in one archive

Pair = tuple[str, Advisory]
Parts = dict[str, list[Pair]]  # of a file, by the name of an archive's entry; "" where it is none
Known = dict[str, tuple[Stamp | None, Parts]]  # by path
_DAMAGE = (
    DaeError, OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip


class Documents:
    """The file or folder at ``path``; what was read of it last is kept at ``kept``.

    ``required``: that there is nothing at ``path`` is a problem, as somebody named it.
    """

    def __init__(self, path: Path, kept: Path, *, required: bool = False) -> None:
        self.path = path
        self._kept = kept
        self._required = required
        self._watched = Watched(path, ENDINGS, DOCUMENTS)
        self._known: Known | None = None  # None: not asked for yet

    def changes(self) -> int:
        """A number that grows when something is to be read anew."""
        return self._watched.changes()

    def digest(self) -> bytes:
        """What changes when what holds does."""
        found = [(path, stamp) for path, (stamp, _) in (self._known or {}).items()]
        return hashlib.sha256(repr(found).encode()).digest()

    def read(self, problems: list[str], *, keep: bool = True) -> Advisories:
        """What holds now. What cannot be read any more counts as it was, and is told to ``problems``.

        Without ``keep`` nothing is changed on the disk.
        """
        try:
            paths = _listed(self.path)
        except OSError as error:
            problems.append(f"{self.path}: {why(error)}{self._holding(problems)}")
            return self._all()
        if paths is None:
            holding = self._holding(problems)
            if holding:
                problems.append(f"{self.path} is gone{holding}; an empty folder there takes that back")
            elif self._required:
                problems.append(f"{self.path} is not there")
            return self._all()
        changed = self._take(paths, problems)
        if keep and changed:
            self._keep(problems)
        return self._all()

    def _take(self, paths: list[Path], problems: list[str]) -> bool:
        """Read these files, as far as they changed; whether what is known is another thing then."""
        before = self._known
        found: Known = {}
        for path in paths:
            now, known = stamp(path), (self._known or {}).get(str(path))
            if known is not None and known[0] == now:
                found[str(path)] = known
                continue
            faults: list[str] = []
            parts = _parts(path, faults)
            if not faults:
                found[str(path)] = now, parts
                continue
            problems += faults[:SAID]
            self._known = self._last(problems)
            last = self._known.get(str(path), (None, {}))[1]
            if path == self.path and not last:  # what was a folder is a file of something else
                found.update(self._known)
            found[str(path)] = None, {**last, **parts}  # without a stamp: it is read, and told of, again next time
        self._known = found
        return found != before

    def _all(self) -> Advisories:
        return Advisories.of(
            pair for _, parts in (self._known or {}).values() for pairs in parts.values() for pair in pairs
        )

    def _holding(self, problems: list[str]) -> str:
        """Have what was known hold; says so, if there is anything."""
        self._known = self._last(problems)
        return "; what it said before holds" if any(parts for _, parts in self._known.values()) else ""

    def _last(self, problems: list[str]) -> Known:
        """What was known last: in memory, else what an earlier process kept."""
        if self._known is not None:
            return self._known
        try:
            data = json.loads(self._kept.read_bytes())
            return {str(path): (None, _loaded(parts)) for path, parts in data.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            problems.append("what was known of vulnerabilities before cannot be read either")
            return {}

    def _keep(self, problems: list[str]) -> None:
        data = {path: _dumped(parts) for path, (_, parts) in (self._known or {}).items()}
        if not data and not self._kept.exists():
            return
        try:
            write_atomically(self._kept, json.dumps(data, separators=(",", ":")).encode(), 0o640)
        except OSError as error:
            problems.append(f"what is known of vulnerabilities cannot be kept: {why(error)}")


def why(error: BaseException) -> str:
    """What is wrong with a file, in words for a person."""
    if isinstance(error, DaeError):
        return error.cause
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be read: {error.strerror.lower()}"
    return "it is damaged"


def _listed(path: Path) -> list[Path] | None:
    """The documents of a folder, or the one that there is; None for nothing. Raises OSError."""
    try:
        path.stat()
    except FileNotFoundError:
        return None
    return [Path(file) for file in walk(path, ENDINGS, DOCUMENTS)[1]]


def _parts(path: Path, faults: list[str]) -> Parts:
    """What can be read of a file, and what cannot."""
    found: Parts = {}
    try:
        with _entries(path) as entries:
            for name, read in entries:
                where = f"{path.name}: {name}" if name else path.name
                try:
                    found[name] = osv.parse(_bounded(read(), where), where)
                except _DAMAGE as error:
                    faults.append(why(error) if isinstance(error, DaeError) else f"{where}: {why(error)}")
    except _DAMAGE as error:
        faults.append(why(error) if isinstance(error, DaeError) else f"{path.name}: {why(error)}")
    return found


@contextmanager
def _entries(path: Path) -> Iterator[Iterator[tuple[str, Callable[[], bytes]]]]:
    """The documents of a file: it is one, or a zip of many."""
    if path.suffix != ".zip":
        with path.open("rb") as stream:
            yield iter([("", lambda: stream.read(DOCUMENT_BYTES + 1))])
        return
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".json")]
        if len(entries) > DOCUMENTS or sum(entry.file_size for entry in entries) > DOCUMENTS_BYTES:
            raise DaeError("mirror/bad-policy", f"{path.name} holds too much", "split it")

        def read(entry: zipfile.ZipInfo) -> bytes:
            with archive.open(entry) as member:
                return member.read(DOCUMENT_BYTES + 1)

        yield ((entry.filename, lambda entry=entry: read(entry)) for entry in entries)  # type: ignore[misc]


def _bounded(text: bytes, name: str) -> bytes:
    if len(text) > DOCUMENT_BYTES:
        raise DaeError("mirror/bad-policy", f"{name} is a document of more than {DOCUMENT_BYTES} bytes", "split it")
    return text


def _dumped(parts: Parts) -> dict[str, list[Any]]:
    return {name: [[project, *_fields(one)] for project, one in pairs] for name, pairs in parts.items()}


def _fields(one: Advisory) -> list[Any]:
    spans = [[None if end is None else str(end) for end in (s.introduced, s.fixed, s.last, s.limit)] for s in one.spans]
    return [one.id, one.summary, one.aliases, sorted(map(str, one.versions)), spans]


def _loaded(parts: dict[str, list[Any]]) -> Parts:
    return {name: [_pair(*fields) for fields in pairs] for name, pairs in parts.items()}


def _pair(
    project: str, key: str, summary: str, aliases: list[str], versions: list[str], spans: list[list[Any]]
) -> Pair:
    ranges = tuple(Span(*(None if end is None else Version(end) for end in ends)) for ends in spans)
    return project, Advisory(key, summary, tuple(aliases), frozenset(map(Version, versions)), ranges)
