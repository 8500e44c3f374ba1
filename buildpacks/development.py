"""What an app's tests need beside what the app requires: a recipe whose environment has both."""

from __future__ import annotations

from pathlib import Path

from buildpacks import manifests
from buildpacks.detect import Recipe
from buildpacks.lockfile import OWN
from buildpacks.locks import Pins, render
from buildpacks.policy import Policy
from buildpacks.project import Project
from core.errors import DaeError

#: Where development dependencies stand when app.yaml does not say; the first that is there counts.
FILES = ("dev-req.txt", "requirements-dev.txt")


def file_of(source: Path, named: str) -> str:
    """The file of development dependencies, empty when there is none; ``named``: what app.yaml says.

    Raises ``build/bad-requirements`` when what it says is not there.
    """
    if named and not (source / named).is_file():
        cause = f"'ci' in app.yaml requires {named}, which is not in the commit"
        raise DaeError("build/bad-requirements", cause, "commit it, or take 'requires' out")
    return named or next((name for name in FILES if (source / name).is_file()), "")


def beside(pins: Pins, source: Path, name: str, policy: Policy, installer: str = "") -> Recipe:
    """A recipe of the ``pins`` and of what the file ``name`` in the folder ``source`` requires.

    ``pins``: the lock of the app's own environment. It is required to the letter: what is tested is what runs, but for
    the platform's own library, of which the index has no earlier version. Raises ``build/bad-requirements`` and
    ``build/unsupported-requirement``.
    """
    more = manifests.from_file(source, name, Project.load(source), policy)
    return Recipe(
        processes=(),
        requirements=_required({project: pin for project, pin in pins.items() if project != OWN}) + more.text,
        constraints=more.constraints,
        options=more.options,
        requirements_file=name,
        installer=installer,
    )


def _required(pins: Pins) -> str:
    """The pins as requirements, one in a line."""
    indexed = {project: pin for project, pin in pins.items() if pin.source is None}
    direct = [f"{project} @ {pin.source.address}\n" for project, pin in sorted(pins.items()) if pin.source]
    return render(indexed).replace(" \\\n    ", " ") + "".join(direct)
