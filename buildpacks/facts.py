"""What an interpreter says of itself: which wheels it takes, and what it makes of markers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType

from packaging.specifiers import SpecifierSet

from buildpacks.interpreters import Interpreter
from core import argv
from core.errors import DaeError

# Run in the app's interpreter, with a copy of `packaging` on the path and nothing else. What it tells, a library of
# ours would have to repeat for each libc, machine and build of Python; so it is asked there, where that is known.
_SCRIPT = """
import importlib, json, sys; sys.path.insert(0, sys.argv[1])
markers, tags = (importlib.import_module(sys.argv[2] + name) for name in (".markers", ".tags"))
print(json.dumps({"tags": [str(tag) for tag in tags.sys_tags()], "markers": dict(markers.default_environment())}))
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """``tags``: the wheels that it takes, the best first (PEP 425). ``markers``: the variables of PEP 508's markers."""

    tags: tuple[str, ...]
    markers: Mapping[str, str]


@functools.lru_cache(maxsize=16)
def facts_of(interpreter: Interpreter) -> Facts:
    """Ask ``interpreter``, which runs nothing of an app for it; raises ``build/failed`` and ``build/bad-runtime``."""
    place, module = _packaging(interpreter)
    outcome = argv.run([interpreter.python, "-I", "-S", "-c", _SCRIPT, place, module], timeout=30, own_session=False)
    try:
        told = json.loads(outcome.output)
        markers = {str(key): str(value) for key, value in told["markers"].items()}
        return Facts(tuple(str(tag) for tag in told["tags"]), MappingProxyType(markers))
    except (ValueError, TypeError, KeyError):
        cause = f"{interpreter.id} does not say which wheels it takes: {outcome.output[-200:].strip()}"
        raise DaeError("build/failed", cause, "choose another 'runtime'") from None


def _packaging(interpreter: Interpreter) -> tuple[Path, str]:
    """Where there is a `packaging` that runs on ``interpreter``, and what it is called there.

    The platform's own, or, for a Python that has grown too old for that, the one in the pip that virtualenv brings for
    environments of that series.
    """
    try:
        ours = distribution("packaging")
    except PackageNotFoundError:
        raise DaeError("platform/missing", "packaging is not installed beside the platform", "run make up") from None
    version = ".".join(map(str, interpreter.version))
    if SpecifierSet(ours.metadata["Requires-Python"] or "").contains(version, prereleases=True):
        return Path(str(ours.locate_file(""))), "packaging"
    from virtualenv.seed.wheels.embed import get_embed_wheel  # late: few apps are as old

    wheel = get_embed_wheel("pip", interpreter.series)
    if wheel is None:
        raise DaeError("build/bad-runtime", f"virtualenv knows no pip for {interpreter.id}", "choose another 'runtime'")
    return Path(wheel.path), "pip._vendor.packaging"
