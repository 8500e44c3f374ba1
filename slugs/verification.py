"""The program that reads every byte of layers: ``python -I -m slugs.verification DIR``.

Reads ``DIR/order.json``; leaves ``DIR/result.json``, a :class:`Verdict`. What is damaged is refused from then on: it
loses its manifest, so that nothing is started from it before it was made again. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core import program
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say, beating
from slugs.environments import EnvironmentStore
from slugs.packages import PackageStore
from slugs.store import SlugStore

_FAULTS_CAP = 20


@dataclass(frozen=True, slots=True)
class Order:
    """Which layers of ``home`` to read: digests of environments, and code layers as pairs of app and name.

    ``patient``: nobody waits for it, and it takes only the time that others leave.
    """

    home: str
    environments: list[str]
    codes: list[tuple[str, str]]
    patient: bool = True

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        codes = [(app, code) for app, code in fields["codes"]]
        return cls(fields["home"], fields["environments"], codes, fields["patient"])


@dataclass(slots=True)
class Verdict:
    """How much was read, and what of it is not as it was made: ``{"layer", "name", "app", "faults"}`` each."""

    packages: int = 0
    environments: int = 0
    codes: int = 0
    bytes: int = 0
    damaged: list[dict[str, Any]] = field(default_factory=list)

    def add(self, layer: str, name: str, faults: list[str], app: str = "") -> None:
        """Note the faults of a layer, if there are any."""
        if faults:
            self.damaged.append({"layer": layer, "name": name, "app": app, "faults": faults[:_FAULTS_CAP]})


def verify(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``."""
    order, verdict = Order.from_json((folder / "order.json").read_bytes()), Verdict()
    home = Home(Path(order.home))
    os.nice(19 if order.patient else 0)
    # The store is held here, too: whoever asked may die first, and what is read must not be collected then.
    with beating(say, "reading"), SlugStore(home).in_use():
        _environments(home, order, verdict, _packages(home, order, verdict))
        _codes(home, order, verdict)
    return asdict(verdict)


def _packages(home: Home, order: Order, verdict: Verdict) -> set[str]:
    """Each package once, however many environments have it; returns the keys of the damaged ones."""
    environments, packages = EnvironmentStore(home), PackageStore(home)
    found = [environments.environment(digest) for digest in order.environments]
    wanted = {package.key: package.origin for made in found if made for package in made.packages}
    damaged = set()
    for key, origin in sorted(wanted.items()):
        verdict.packages += 1
        manifest = packages.manifest(key)
        verdict.bytes += manifest.content.size if manifest else 0
        if faults := packages.damage(key):
            damaged.add(key)
            verdict.add("package", origin.filename, faults)
    return damaged


def _environments(home: Home, order: Order, verdict: Verdict, damaged: set[str]) -> None:
    """``damaged``: the packages whose faults were told already; an environment of one is refused without words."""
    store = EnvironmentStore(home)
    for digest in order.environments:
        verdict.environments += 1
        made = store.environment(digest)
        if made and any(package.key in damaged for package in made.packages):
            store.refuse(digest)
        elif faults := store.damage(digest):
            store.refuse(digest)
            verdict.add("environment", digest, faults)


def _codes(home: Home, order: Order, verdict: Verdict) -> None:
    store = SlugStore(home)
    for app, code in order.codes:
        verdict.codes += 1
        verdict.bytes += store.code_size(app, code)
        if faults := store.code_damage(app, code):
            store.refuse_code(app, code)
            verdict.add("code", code, faults, app)


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control."""
    program.bound()
    return program.run("slugs.verification", arguments, verify)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
