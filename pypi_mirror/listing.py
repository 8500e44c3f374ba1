"""The list of projects as files that nginx serves: written when it is asked for, dropped before it would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from pypi_mirror import pages
from pypi_mirror.calculation import calculated

#: Writes bytes to a path, whole or not at all, with an mtime (ns).
Write = Callable[[Path, bytes, int], None]


class Listing:
    """``folder``/index.{html,json}[.gz]. Every method wants the store's lock held: the names must not change meanwhile.

    A change drops it first: whoever is killed between the two leaves no list, never a wrong one.
    """

    def __init__(self, folder: Path, write: Write) -> None:
        self._folder = folder
        self._write = write

    def drop(self) -> None:
        for kind in pages.Format:
            for suffix in ("", ".gz"):
                (self._folder / (kind.value + suffix)).unlink(missing_ok=True)

    def open(self, names: Callable[[], Iterable[str]], kind: pages.Format, zipped: bool) -> BinaryIO:
        """The list in that form, open; made of ``names()`` when it is not there."""
        path = self._folder / (kind.value + (".gz" if zipped else ""))
        try:
            return path.open("rb")
        except FileNotFoundError:
            for name, body in calculated(_rendered, list(names())).items():
                self._write(self._folder / name, body, pages.stamp(body))
            return path.open("rb")


def _rendered(names: list[str]) -> dict[str, bytes]:
    return pages.with_twins({kind.value: body for kind, body in pages.render_list(names).items()})
