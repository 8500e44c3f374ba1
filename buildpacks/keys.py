"""What a build is named by: the key of a lock, and the digest of an environment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.requirements import Requirement

from buildpacks.detect import Recipe
from buildpacks.requirements import Line, parse
from core.nouns import canonical_json, digest_of

#: What every environment gets, unless the app itself names it.
# gunicorn's gevent worker needs packaging, which gunicorn alone does not require.
RUNTIME = ("gunicorn>=22", "gevent>=24.2", "packaging", "dae")

# Raised when the same input would give another lock or another environment than before.
_FORMAT = 2


def lock_key(recipe: Recipe, interpreter: str, engine: str) -> str:
    """The name (64 hex digits) under which the lock of these requirements is kept.

    ``interpreter`` is an :attr:`Interpreter.id`, ``engine`` a name of an engine. Comments and blank lines don't count.
    """
    lines = parse(recipe.requirements, recipe.requirements_file)
    wanted = [[line.text, sorted(line.hashes)] for line in lines]
    return digest_of(canonical_json(["lock", _FORMAT, wanted, list(RUNTIME), interpreter, engine]))


def environment_digest(lock_text: str, interpreter: str) -> str:
    """The name (64 hex digits) of the environment that this lock gives with this interpreter."""
    return digest_of(canonical_json(["environment", _FORMAT, lock_text, interpreter]))


def with_runtime(lines: Sequence[Line], interpreter: str) -> tuple[str, ...]:
    """What is locked: the app's requirements, then those of RUNTIME that none of them names.

    A requirement whose marker is false for ``interpreter`` names nothing.
    """
    named = {line.name for line in lines if _applies(line.text, interpreter)}
    return tuple(line.text for line in lines) + tuple(r for r in RUNTIME if Requirement(r).name not in named)


def _applies(text: str, interpreter: str) -> bool:
    marker = Requirement(text).marker
    if marker is None:
        return True
    full = re.match(r"[a-z]+-([0-9.]+)", interpreter)
    version = full[1] if full else ""
    short = ".".join(version.split(".")[:2])
    return marker.evaluate({"python_full_version": version, "python_version": short} if version else None)
