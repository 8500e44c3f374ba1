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
    """Which layers of ``home`` to read: digests of environments, and code layers as pairs of app and name."""

    home: str
    environments: list[str]
    codes: list[tuple[str, str]]

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        return cls(fields["home"], fields["environments"], [(app, code) for app, code in fields["codes"]])


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
    # The store is held here, too: whoever asked may die first, and what is read must not be collected then.
    with beating(say, "reading"), SlugStore(home).in_use():
        _packages(home, order, verdict)
        _environments(home, order, verdict)
        _codes(home, order, verdict)
    return asdict(verdict)


def _packages(home: Home, order: Order, verdict: Verdict) -> None:
    """Each package once, however many environments have it."""
    environments, packages = EnvironmentStore(home), PackageStore(home)
    found = [environments.environment(digest) for digest in order.environments]
    wanted = {package.key: package.origin for made in found if made for package in made.packages}
    for key, origin in sorted(wanted.items()):
        verdict.packages += 1
        manifest = packages.manifest(key)
        verdict.bytes += manifest.content.size if manifest else 0
        verdict.add("package", origin.filename, packages.damage(key))


def _environments(home: Home, order: Order, verdict: Verdict) -> None:
    store = EnvironmentStore(home)
    for digest in order.environments:
        verdict.environments += 1
        if faults := store.damage(digest):
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
    """The program; ``arguments`` is the folder of the order. It ends with control, and takes what time others leave."""
    program.bound()
    os.nice(19)
    return program.run("slugs.verification", arguments, verify)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
