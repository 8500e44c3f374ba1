"""What an interpreter says of itself: which wheels it takes, and what it makes of markers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from buildpacks.interpreters import Interpreter
from core import argv
from core.errors import DaeError

# Run in the app's interpreter, with the platform's copy of `packaging` on the path and nothing else.
_SCRIPT = """
import json, sys; sys.path.insert(0, sys.argv[1])
from packaging.markers import default_environment
from packaging.tags import sys_tags
print(json.dumps({"tags": [str(tag) for tag in sys_tags()], "markers": dict(default_environment())}))
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """``tags``: the wheels that it takes, the best first (PEP 425). ``markers``: the variables of PEP 508's markers."""

    tags: tuple[str, ...]
    markers: Mapping[str, str]


@functools.lru_cache(maxsize=16)
def facts_of(interpreter: Interpreter) -> Facts:
    """Ask ``interpreter``, which runs nothing of an app for it; raises ``build/failed``."""
    spec = find_spec("packaging")
    if spec is None or spec.origin is None:
        raise DaeError("platform/missing", "packaging is not installed beside the platform", "run make up")
    folder = Path(spec.origin).parents[1]
    outcome = argv.run([interpreter.python, "-I", "-S", "-c", _SCRIPT, folder], timeout=30, own_session=False)
    try:
        told = json.loads(outcome.output)
        markers = {str(key): str(value) for key, value in told["markers"].items()}
        return Facts(tuple(str(tag) for tag in told["tags"]), MappingProxyType(markers))
    except (ValueError, TypeError, KeyError):
        cause = f"{interpreter.id} does not say which wheels it takes: {outcome.output[-200:].strip()}"
        raise DaeError("build/failed", cause, "choose another 'runtime'") from None
