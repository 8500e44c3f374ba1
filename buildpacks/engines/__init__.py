"""The tools that lock and install, behind one interface. Which one: ``installer:`` in app.yaml, ``uv`` by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from buildpacks.engines.pip import PipEngine
from buildpacks.engines.tool import Tool
from buildpacks.engines.uv import UvEngine

__all__ = ["ENGINES", "Engine", "Tool"]


class Engine(Protocol):
    """Locks and installs with one tool. Made from a :class:`Tool`, which says for what and from where."""

    name: str

    def __init__(self, tool: Tool) -> None: ...

    def lock(self, requirements: Sequence[str]) -> str:
        """The hash-locked form of ``requirements`` (PEP 508): see :func:`buildpacks.locks.canonical`.

        Raises ``build/unresolvable``, ``build/install-failed`` (a source distribution that does not build),
        ``build/mirror-unavailable``, ``build/bad-runtime``, ``build/timeout`` and ``build/failed``.
        """
        ...

    def install(self, lock: str, env: Path) -> None:
        """Install what ``lock`` names, with its hashes checked, into the virtual environment ``env``.

        Raises ``build/install-failed``, ``build/mirror-unavailable``, ``build/timeout`` and ``build/failed``.
        """
        ...


ENGINES: dict[str, type[Engine]] = {"uv": UvEngine, "pip": PipEngine}
