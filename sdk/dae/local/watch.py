"""Noticing that the app's files changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

IGNORED_FOLDERS = frozenset(
    {".git", ".hg", ".venv", "venv", ".dae", "__pycache__", "node_modules", ".tox", ".idea"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
)
# What editors, Python and the app itself write while it runs.
IGNORED_SUFFIXES = (".pyc", ".swp", ".swx", "~", ".log", ".tmp", ".db", ".sqlite3", "-journal", "-wal", "-shm")
# Reading a file is an event, too, and the server reads all of them.
CHANGES = frozenset({"created", "modified", "moved", "deleted"})


def matters(path: str, folder: Path) -> bool:
    """Whether a change of ``path`` is one of the app's own files below ``folder``."""
    parts = Path(os.path.relpath(path, folder)).parts
    if not parts or parts[0] == "..":
        return False  # the folder itself, or somewhere else
    return not any(part in IGNORED_FOLDERS for part in parts) and not parts[-1].endswith(IGNORED_SUFFIXES)


class Watcher:
    """Watches ``folder``; calls ``on_change`` with each changed path that matters, from a thread of its own."""

    def __init__(self, folder: Path, on_change: Callable[[str], None]) -> None:
        from watchdog.events import FileSystemEventHandler
        from watchdog.observers import Observer

        self.folder = folder
        self._on_change = on_change
        self._observer = Observer()
        self._watched: set[str] = set()
        watcher = self

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: Any) -> None:
                watcher._event(event)

        self._handler = Handler()

    def start(self) -> None:
        """Watch the top alone and each of its folders as a whole: .venv would cost thousands of watches."""
        self._observer.schedule(self._handler, str(self.folder), recursive=False)
        for entry in sorted(self.folder.iterdir()):
            self._watch_folder(entry)
        self._observer.start()

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def _watch_folder(self, path: Path) -> None:
        if (
            path.is_dir()
            and not path.is_symlink()
            and path.name not in IGNORED_FOLDERS
            and str(path) not in self._watched
        ):
            self._watched.add(str(path))
            self._observer.schedule(self._handler, str(path), recursive=True)

    def _event(self, event: Any) -> None:
        if event.event_type not in CHANGES:
            return
        # Of a rename the new name first: editors write aside, and rename that onto the file.
        for path in (event.dest_path, event.src_path):
            text = os.fsdecode(path) if path else ""
            if not text or not matters(text, self.folder):
                continue
            if event.is_directory:
                if event.event_type == "modified":
                    continue  # one of its files changed, which is an event of its own
                if Path(text).parent == self.folder:
                    self._watch_folder(Path(text))
            self._on_change(text)
