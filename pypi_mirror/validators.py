"""Whether a page changed upstream since it was fetched, asked by upstream's own validators (RFC 9110, 13.1)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping

from pypi_mirror import record
from pypi_mirror.calculation import calculated
from pypi_mirror.model import Project

NAMES = 4096
LENGTH = 256


class Validators:
    """What one index said of its pages. It is bound to what came with it: of other content nobody is asked this way.

    Kept in memory alone: after a restart each page comes whole once.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, dict[str, str]]] = {}
        self._lock = threading.Lock()

    def headers(self, name: str, at_hand: bytes | None) -> dict[str, str]:
        """What to ask with when ``at_hand`` is the page that is here, as its record; nothing if that is another one."""
        with self._lock:
            digest, headers = self._known.get(name, ("", {}))
        return headers if at_hand is not None and hashlib.sha256(at_hand).hexdigest() == digest else {}

    def keep(self, name: str, answer: Mapping[str, str], project: Project) -> None:
        """Remember how to ask whether this page is still the same."""
        tag, date = answer.get("ETag", ""), answer.get("Last-Modified", "")
        headers = {"If-None-Match": tag} if tag else {"If-Modified-Since": date} if date else {}
        usable = all(len(value) <= LENGTH and value.isascii() and value.isprintable() for value in headers.values())
        known = (calculated(_digest, project), headers) if headers and usable else None
        with self._lock:
            self._known.pop(name, None)
            if known:
                self._known[name] = known
            while len(self._known) > NAMES:
                del self._known[next(iter(self._known))]


def _digest(project: Project) -> str:
    return hashlib.sha256(record.dump(project)).hexdigest()
