"""The ``pip`` engine: pip-tools locks, pip builds wheels. For those whose dependencies need pip's own behaviour."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from buildpacks import locks
from buildpacks.engines.tool import Tool
from core.errors import DaeError

# Run by the app's own interpreter; see there.
SCRIPT = Path(__file__).with_name("pip_compile.py")


class PipEngine:
    """Locks with ``pip-compile`` and builds wheels with ``pip wheel``."""

    name = "pip"

    def __init__(self, tool: Tool) -> None:
        self.tool = tool

    def lock(
        self,
        requirements: Sequence[str],
        constraints: Sequence[str] = (),
        options: Sequence[str] = (),
        preferred: Sequence[str] = (),
    ) -> str:
        self._check_series()
        source, limits = self.tool.listed("requirements.in", requirements), self.tool.listed("limits.in", constraints)
        result = self.tool.listed("pip.lock.txt", preferred)  # the tool keeps to what stands there, where it can
        for_pip = ["--isolated", "--retries 1", "--use-pep517", *(one for one in options if one != "--pre")]
        command: list[str | Path] = [self.tool.python, "-I", "-S", SCRIPT, _packages_folder(), "compile"]
        command += ["--no-config", "--generate-hashes", "--no-header", "--no-annotate", "--strip-extras"]
        command += ["--allow-unsafe", "--no-emit-options", "--no-emit-index-url", "--no-emit-trusted-host"]
        command += ["--pip-args", " ".join(for_pip), *self._index()]
        command += [*(["--pre"] if "--pre" in options else []), "--constraint", limits]
        command += ["--output-file", result, source]
        outcome = self.tool.run(command)
        if not outcome.ok:
            raise self.tool.failure("build/unresolvable", outcome.output, _because(outcome.output))
        self.tool.tell_extras(outcome.output)
        return locks.canonical(result.read_text(encoding="utf-8"))

    def wheel(self, source: Path, out: Path) -> Path:
        self._check_series()
        command: list[str | Path] = [sys.executable, "-I", "-m", "pip", "--isolated", "--python", self.tool.python]
        command += ["wheel", "--quiet", "--no-deps", "--use-pep517", "--no-input", "--disable-pip-version-check"]
        command += ["--retries", "1", "--wheel-dir", out, *self._index(), source]
        outcome = self.tool.run(command)
        return self.tool.built(outcome, source, out, _because(outcome.output))

    def _index(self) -> list[str | Path]:
        return ["--index-url", self.tool.index_url, *self._trust(), "--cache-dir", self.tool.cache]

    def _trust(self) -> list[str]:
        """pip takes plain http only from this machine, unless it is told otherwise: the mirror is ours."""
        parts = urlsplit(self.tool.index_url)
        return ["--trusted-host", parts.netloc.rpartition("@")[2]] if parts.scheme == "http" else []

    def _check_series(self) -> None:
        ours = ".".join(map(str, sys.version_info[:2]))
        outcome = self.tool.run(
            [self.tool.python, "-I", "-S", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        )
        if outcome.output.strip() != ours:
            cause = f"the installer 'pip' serves python{ours} here, and the app asks for python{outcome.output.strip()}"
            raise DaeError("build/bad-runtime", cause, "write 'installer: uv' into app.yaml, or change 'runtime'")


def _packages_folder() -> Path:
    spec = importlib.util.find_spec("piptools")
    if spec is None or spec.origin is None:
        raise DaeError("platform/missing", "pip-tools is not installed beside the platform", "run make up")
    return Path(spec.origin).parents[1]


def _because(output: str) -> str:
    """pip's own explanation: the requirements that it could not bring together, or the one it did not find."""
    causes = re.findall(r"ERROR: ((?!the app).* requires .*)", output)
    if causes:
        return ", but ".join(causes)
    broken = re.findall(r"ERROR: (Failed to build .*)|ERROR: (Failed building wheel for .*)", output)
    if broken:
        return "".join(broken[0])
    missing = re.findall(
        r"Could not find a version that satisfies the requirement (.*?)(?: \(from versions: .*)?$", output, re.M
    )
    return f"no version satisfies {missing[0].strip()}" if missing else ""
