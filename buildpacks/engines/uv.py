"""The ``uv`` engine: fast, and the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpacks import locks
from buildpacks.engines.tool import DRAWING, Tool


class UvEngine:
    """Locks with ``uv pip compile`` and installs with ``uv pip sync``."""

    name = "uv"

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def lock(self, requirements: Sequence[str]) -> str:
        source, result = self.tool.workdir / "requirements.in", self.tool.workdir / "uv.lock.txt"
        source.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        outcome = self.tool.run(
            [
                *self._uv("compile", self.tool.python),
                *("--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
                *("--output-file", result, source),
            ]
        )
        if not outcome.ok:
            raise self.tool.failure("build/unresolvable", outcome.output, _because(outcome.output))
        return locks.canonical(result.read_text(encoding="utf-8"))

    def install(self, lock: str, env: Path) -> None:
        source = self.tool.workdir / "lock.txt"
        source.write_text(lock, encoding="utf-8")
        command = [*self._uv("sync", env / "bin" / "python"), "--require-hashes", "--allow-empty-requirements", source]
        outcome = self.tool.run(command)
        if not outcome.ok:
            raise self.tool.failure("build/install-failed", outcome.output, "")

    def _uv(self, verb: str, python: Path) -> list[str | Path]:
        from uv import find_uv_bin  # the uv of the platform's own environment, not one of the machine's

        return [
            *(find_uv_bin(), "pip", verb),
            *("--no-config", "--no-progress", "--no-python-downloads", "--no-sources"),
            *("--keyring-provider", "disabled", "--default-index", self.tool.index_url),
            *("--cache-dir", self.tool.cache, "--python", python),
        ]


def _because(output: str) -> str:
    """uv's own explanation, joined: it is wrapped to the width of a terminal."""
    text = " ".join(line.strip(DRAWING) for line in output.splitlines())
    start = text.find("Because ")
    return text[start:].split(" hint:")[0].strip() if start >= 0 else ""
