"""The tools that lock and build wheels, behind one interface; ``installer:`` in app.yaml chooses, ``uv`` is default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from buildpacks.engines.pip import PipEngine
from buildpacks.engines.tool import Tool
from buildpacks.engines.uv import UvEngine

__all__ = ["ENGINES", "Engine", "Tool"]


class Engine(Protocol):
    """Locks and builds with one tool. Made from a :class:`Tool`, which says for what and from where."""

    name: str

    def __init__(self, tool: Tool) -> None: ...

    def lock(
        self,
        requirements: Sequence[str],
        constraints: Sequence[str] = (),
        options: Sequence[str] = (),
        preferred: Sequence[str] = (),
    ) -> str:
        """The hash-locked form of ``requirements`` (PEP 508): see :func:`buildpacks.locks.canonical`.

        ``constraints`` limit what is taken, and require nothing. ``options``: ``--pre`` and ``--only-binary=NAME``.
        ``preferred``: versions (``NAME==VERSION``) that are taken unless all else excludes them.
        Raises ``build/unresolvable``, ``build/install-failed`` (a source distribution that does not build),
        ``build/mirror-unavailable``, ``build/bad-runtime``, ``build/timeout`` and ``build/failed``.
        """
        ...

    def wheel(self, source: Path, out: Path) -> Path:
        """Build the source distribution ``source`` into a wheel in the folder ``out``; returns its path.

        Its build's own requirements come from the index. Raises ``build/install-failed``, ``build/mirror-unavailable``,
        ``build/timeout`` and ``build/failed``.
        """
        ...


ENGINES: dict[str, type[Engine]] = {"uv": UvEngine, "pip": PipEngine}
