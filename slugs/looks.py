"""Whether a tree is what it was when every file of it was looked at, told by another program while this one works.

A large environment has 20,000 files, and each takes 5 microseconds to look at: a tenth of a second in each push. So
find(1) looks at them on another core, and its words are compared as a whole with those of the last time.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from core.argv import CLEAN_ENVIRON
from core.spawn import Child

# Of each file: kind and mode, inode, size, when it was written last (ns), the goal of a link, the path.
_FORMAT = "%y%m %i %s %T@ %l %P\\0"
_SECONDS = 60.0
#: What find said of trees, by their paths, when each of their files was found to be as it was made.
_whole: dict[str, str] = {}


class Look:
    """A look at ``tree``, begun now. One that is not there, or cannot be looked at, counts as changed."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it; a pipe would be full in a moment
        self._digest: str | None = None
        self._child: Child | None = None
        with suppress(FileNotFoundError):
            self._child = Child(["find", str(tree), "-printf", _FORMAT], CLEAN_ENVIRON, stdout=self._said)

    def unchanged(self) -> bool:
        """Whether the tree is what it was when somebody said :meth:`remember`."""
        return self._words() != "" and _whole.get(str(self.tree)) == self._words()

    def remember(self) -> None:
        """Each file was looked at after this look began, and is as it was made."""
        if self._words():
            _whole[str(self.tree)] = self._words()

    def close(self) -> None:
        """Nobody will ask any more."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._said.close()

    def _words(self) -> str:
        """The sha256 of what find said; empty when it failed."""
        if self._digest is None:
            well = self._child is not None and self._child.wait(_SECONDS) == 0
            self._said.seek(0)
            self._digest = hashlib.file_digest(self._said, "sha256").hexdigest() if well else ""
        return self._digest
