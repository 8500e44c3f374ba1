"""The ``uv`` engine: fast, and the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildpacks import locks
from buildpacks.engines.tool import DRAWING, Tool


class UvEngine:
    """Locks with ``uv pip compile`` and builds wheels with ``uv build``."""

    name = "uv"

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def lock(
        self,
        requirements: Sequence[str],
        constraints: Sequence[str] = (),
        options: Sequence[str] = (),
        preferred: Sequence[str] = (),
    ) -> str:
        source, limits = self.tool.listed("requirements.in", requirements), self.tool.listed("limits.in", constraints)
        result = self.tool.listed("uv.lock.txt", preferred)  # the tool keeps to what stands there, where it can
        spelt = ["--prerelease=allow" if option == "--pre" else option for option in options]
        outcome = self.tool.run(
            [
                *self._uv("pip", "compile"),
                *("--generate-hashes", "--no-header", "--no-annotate"),
                *spelt,
                *("--constraints", limits, "--output-file", result, source),
            ]
        )
        if not outcome.ok:
            raise self.tool.failure("build/unresolvable", outcome.output, _because(outcome.output))
        self.tool.tell_extras(outcome.output)
        return locks.canonical(result.read_text(encoding="utf-8"))

    def wheel(self, source: Path, out: Path) -> Path:
        command = self._uv("build")
        outcome = self.tool.run([*command, "--wheel", "--out-dir", out, source])
        return self.tool.built(outcome, source, out, "")

    def _uv(self, *verb: str) -> list[str | Path]:
        from uv import find_uv_bin  # the uv of the platform's own environment, not one of the machine's

        return [
            *(find_uv_bin(), *verb),
            *("--no-config", "--no-progress", "--no-python-downloads", "--no-sources"),
            *("--keyring-provider", "disabled", "--default-index", self.tool.index_url),
            *("--cache-dir", self.tool.cache, "--python", self.tool.python),
        ]


def _because(output: str) -> str:
    """uv's own explanation, joined: it is wrapped to the width of a terminal."""
    text = " ".join(line.strip(DRAWING) for line in output.splitlines())
    start = text.find("Because ")
    return text[start:].split(" hint:")[0].strip() if start >= 0 else ""
