"""Which file of a locked release an interpreter takes, noted: an index's page that did not change is not read again.

Pages of projects with many releases have megabytes, and an environment has dozens of projects. What is noted is asked
of the index each time all the same, with the page's ETag (RFC 9110 section 13.1.2): a file that it shows no more is not
taken.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from buildpacks import locks, wheels
from buildpacks.index import Index
from buildpacks.wheels import Choice
from core.errors import DaeError
from core.nouns import canonical_json, digest_of

#: A note that nobody asked for so long goes.
UNUSED_SECONDS = 30 * 24 * 3600
_FORMAT = 1  # raised when the same page would lead to another choice than before


class Chosen:
    """The notes in ``folder`` (made when missing) on choices for an interpreter, of one index.

    ``kind`` tells that interpreter and that index from others; ``tags``: see :func:`buildpacks.wheels.choose`. May be
    used from several threads and programs.
    """

    def __init__(self, folder: Path, index: Index, kind: str, tags: Sequence[str]) -> None:
        self._folder = folder
        self._index = index
        self._kind = digest_of(canonical_json([_FORMAT, kind, *tags]))
        self._tags = tags
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def choose(self, release: locks.Release) -> Choice:
        """The file for a locked release that comes from the index; raises what reading it and choosing raise."""
        path = self._folder / f"{self._name(release)}.json"
        etag, noted = self._read(path, release)
        page = self._index.page(release.name, etag)
        if page is None and noted is not None:
            return noted
        if page is None:
            raise DaeError("build/mirror-unavailable", f"the index sent no page of {release.name}", "push again")
        choice = wheels.choose(release, page.files, self._tags)
        if page.etag:
            self._write(path, canonical_json({"etag": page.etag, "choice": asdict(choice)}))
        return choice

    def _name(self, release: locks.Release) -> str:
        what = [self._kind, release.name, release.version, *sorted(release.hashes)]
        return digest_of(canonical_json(what))

    @staticmethod
    def _read(path: Path, release: locks.Release) -> tuple[str, Choice | None]:
        """What is noted; nothing where that is missing, damaged, or not of this release."""
        try:
            fields = json.loads(path.read_bytes())
            choice = Choice.from_json(fields["choice"])
            if (choice.name, choice.version) == (release.name, release.version) and (
                f"sha256:{choice.file.sha256}" in release.hashes
            ):
                os.utime(path)
                return str(fields["etag"]), choice
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return "", None

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        """Whole or not at all. It is not synced: what a power failure left of it is not read, or asked again."""
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        try:
            fresh.write_bytes(data)
            fresh.replace(path)
        except OSError:  # a full disk: what is not noted is read again
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def forget_unused(folder: Path) -> int:
    """Remove the notes that nobody asked for within UNUSED_SECONDS; returns how many."""
    limit = time.time() - UNUSED_SECONDS
    removed = 0
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
    return removed
