"""What should run on this node, as the last change left it: what a restarted agent brings back without control."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable

from core.errors import DaeError
from core.files import write_atomically
from core.nouns import Instance
from core.paths import Home

log = logging.getLogger("dae.agent")


class Desired:
    """The keys of the wanted instances, in a file."""

    def __init__(self, home: Home) -> None:
        self._path = home.agent_state / "desired.json"
        self._lock = threading.Lock()

    def read(self) -> set[str]:
        """What is wanted; nothing when the file cannot be read, until control says what is."""
        try:
            return {Instance.from_key(key).key for key in json.loads(self._path.read_text())}
        except FileNotFoundError:
            return set()
        except (ValueError, TypeError, DaeError) as error:
            log.error("desired.json cannot be read, nothing is wanted until control says so: %s", error)
            return set()

    def replace(self, keys: Iterable[str]) -> None:
        """Want exactly ``keys``."""
        with self._lock:
            self._write(set(keys))

    def change(self, add: Iterable[str] = (), drop: Iterable[str] = ()) -> None:
        """Want some more, or some no longer."""
        with self._lock:
            self._write((self.read() | set(add)) - set(drop))

    def _write(self, keys: set[str]) -> None:
        """Control says again and again what it wants: a file that says it already is left alone."""
        data = json.dumps(sorted(keys)).encode()
        if not self._path.is_file() or self._path.read_bytes() != data:
            write_atomically(self._path, data)
