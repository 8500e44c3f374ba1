"""What a build is named by: the key of a lock, and the digest of an environment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.requirements import Requirement

from buildpacks.detect import Recipe
from buildpacks.locks import releases
from buildpacks.requirements import Line, parse
from core.nouns import canonical_json, digest_of

#: What every environment gets, unless the app itself names it.
# gunicorn's gevent worker needs packaging, which gunicorn alone does not require, and refuses an older gevent.
RUNTIME = ("gunicorn>=22", "gevent>=24.10.1", "packaging", "dae")

# Raised when the same input would give another lock or another environment than before.
_FORMAT = 2


def lock_key(recipe: Recipe, interpreter: str, engine: str, foreign: str | None = None, view: str = "") -> str:
    """The name (64 hex digits) under which the lock of these requirements is kept.

    ``interpreter`` is an :attr:`Interpreter.id`, ``engine`` a name of an engine, ``foreign`` what the lock of another
    manager says for that interpreter, ``view`` the index's if it is not the default one. Comments and blank lines don't
    count.
    """
    wanted, limits = (
        [[line.text, sorted(line.hashes)] for line in parse(text, recipe.requirements_file)]
        for text in (recipe.requirements, recipe.constraints)
    )
    asked = [wanted, limits, list(recipe.options), foreign, *([view] if view else [])]
    return digest_of(canonical_json(["lock", _FORMAT, asked, list(RUNTIME), interpreter, engine]))


def environment_digest(lock_text: str, interpreter: str) -> str:
    """The name (64 hex digits) of the environment that this lock gives with this interpreter."""
    return digest_of(canonical_json(["environment", _FORMAT, lock_text, interpreter]))


def with_runtime(lines: Sequence[Line], interpreter: str, constraints: Sequence[Line] = ()) -> tuple[str, ...]:
    """What is locked: the app's requirements, then those of RUNTIME that none of them names.

    A requirement whose marker is false for ``interpreter`` names nothing. Of what ``constraints`` limit, any version
    will do: the app has said which.
    """
    named, limited = ({one.name for one in some if _applies(one.text, interpreter)} for some in (lines, constraints))
    others = [requirement for requirement in map(Requirement, RUNTIME) if requirement.name not in named]
    return tuple(line.text for line in lines) + tuple(r.name if r.name in limited else str(r) for r in others)


def lacks_runtime(lock: str) -> bool:
    """Whether something of RUNTIME is not in the ``lock``."""
    return not {Requirement(text).name for text in RUNTIME} <= {release.name for release in releases(lock)}


def _applies(text: str, interpreter: str) -> bool:
    marker = Requirement(text).marker
    if marker is None:
        return True
    full = re.match(r"[a-z]+-([0-9.]+)", interpreter)
    version = full[1] if full else ""
    short = ".".join(version.split(".")[:2])
    return marker.evaluate({"python_full_version": version, "python_version": short} if version else None)
