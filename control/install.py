"""The program that makes an environment of a lock: ``python -I -m control.install DIR``. It runs no code of packages.

It works as the platform's own account, beside control because unpacking and linking would hold control up. Reads
``DIR/order.json``; leaves ``DIR/result.json``: ``{"sources": [...]}``, empty when the environment stands, else the
locked releases that have no wheel, which must be built first and named in ``built`` of another order. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_version

from buildpacks import environment, locks, wheels
from buildpacks.chosen import Chosen
from buildpacks.compile import compile_packages
from buildpacks.deadline import Deadline
from buildpacks.index import Index
from buildpacks.interpreters import Interpreter
from buildpacks.wheels import Choice
from core import program
from core.errors import DaeError
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say, beating
from pypi_mirror.model import version_of
from slugs.environments import EnvironmentStore
from slugs.packages import Installed, Origin, PackageStore, package_key

UNPACKED_BYTES = 16 << 30  # of all packages that an order brings
_AT_ONCE = 8  # downloads
_COMPILERS = 2


@dataclass(frozen=True, slots=True)
class Order:
    """The environment ``digest`` is to be made of ``lock``.

    ``tags``: the wheels that the interpreter takes (:class:`buildpacks.facts.Facts`). ``label``: what unfinished work
    in the store is called by. ``built``: wheels (paths) by their source's sha256.
    """

    home: str
    digest: str
    lock: str
    label: str
    index_url: str
    python: str
    version: tuple[int, int, int]
    interpreter: str
    tags: tuple[str, ...]
    timeout: int
    built: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        major, minor, patch = fields["version"]
        return cls(**{**fields, "version": (major, minor, patch), "tags": tuple(fields["tags"])})


def install(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``build/*`` and ``slug/*``."""
    work = _Installation(Order.from_json((folder / "order.json").read_bytes()), folder, say)
    return {"sources": [asdict(choice) for choice in work.run()]}


class _Installation:
    def __init__(self, order: Order, folder: Path, say: Say) -> None:
        self.order = order
        self.folder = folder
        self.say = say
        self.interpreter = Interpreter(Path(order.python), order.version, order.interpreter)
        self.deadline = Deadline.after(order.timeout)
        self.index = Index(order.index_url, self.deadline)
        self.home = Home(Path(order.home))
        self.store = PackageStore(self.home, order.label)
        self.unpacked = 0

    def run(self) -> list[Choice]:
        """The releases that must be built first; none, and the environment is there."""
        releases = locks.releases(self.order.lock)
        with ThreadPoolExecutor(_AT_ONCE) as pool, beating(self.say, "reading the index"):
            chosen = self._chosen()
            choices = list(pool.map(lambda release: self._choice(release, chosen), releases))
        missing = [choice for choice in choices if self.store.find(self._key(choice)) is None]
        unbuilt = [choice for choice in missing if not choice.is_wheel and choice.file.sha256 not in self.order.built]
        if unbuilt:
            return unbuilt
        self._tell(choices, missing)
        with beating(self.say, "installing"):
            for start in range(0, len(missing), _AT_ONCE):
                self._add(missing[start : start + _AT_ONCE])
            seconds = self.deadline.left()
            empty = empty_environment(self.store, self.interpreter, self.folder, seconds)
            packages = [empty, *(self._package(choice) for choice in choices)]
            EnvironmentStore(self.home, self.order.label).assemble(self.order.digest, packages, self.order.lock)
        return []

    def _chosen(self) -> Chosen:
        kind = f"{self.order.index_url} {self.order.interpreter} {self.order.python}"
        return Chosen(self.home.chosen, self.index, kind, self.order.tags)

    def _choice(self, release: locks.Release, chosen: Chosen) -> Choice:
        if release.source is not None:
            return wheels.direct(release)
        try:
            return chosen.choose(release)
        except DaeError as error:
            raise self._refused(release) or error from error

    def _refused(self, release: locks.Release) -> DaeError | None:
        """The error for a release that the index hides by its policy; None when it hides none of it."""
        wanted = canonicalize_version(release.version)
        lines = [(version_of(line.split(" ")[0], release.name), line) for line in self.index.reasons(release.name)]
        told = [line for version, line in lines if version and canonicalize_version(version) == wanted]
        if not told:
            return None
        reason, _, advice = told[-1].partition(" -- ")
        return DaeError("build/refused", reason, f"{advice}; or push again: what is locked is then chosen anew")

    def _tell(self, choices: Sequence[Choice], missing: Sequence[Choice]) -> None:
        new = {choice.name for choice in missing}
        here = len(choices) - len(new)
        kept = f", {'all' if not new else here} of them here already" if here else ""
        self.say(f"-----> Installing {len(choices)} packages{kept}")
        for choice in missing:
            self.say(
                f"       {choice.name} {choice.version}{f' from {choice.file.filename}' if choice.is_direct else ''}"
            )

    def _add(self, choices: Sequence[Choice]) -> None:
        """Fetch and unpack these packages, compile them in one go, and publish them all."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            paths = list(pool.map(self._fetch, choices))
        with ExitStack() as stack:
            trees = []
            for choice, path in zip(choices, paths, strict=True):
                tree = stack.enter_context(self.store.adding(self._key(choice), self._origin(choice)))
                wheels.unpack(path, locks.Release(choice.name, choice.version, ()), tree, self.interpreter)
                trees.append(tree)
                self._bound(tree)
            self._compile(trees)
            os.sync()  # what is published must be whole after a power failure, too

    def _bound(self, tree: Path) -> None:
        self.deadline.left()
        self.unpacked += sum(path.lstat().st_size for path in tree.rglob("*"))
        if self.unpacked > UNPACKED_BYTES:
            cause = f"the packages of this app unpack to more than {UNPACKED_BYTES >> 30} GiB"
            raise DaeError("build/install-failed", cause, "require less, or in several apps")

    def _compile(self, trees: Sequence[Path]) -> None:
        folders = [_site_packages(tree, self.interpreter) for tree in trees]
        by_size = sorted(folders, key=lambda folder: sum(1 for _ in folder.rglob("*.py")))
        shares = [share for number in range(_COMPILERS) if (share := by_size[number::_COMPILERS])]
        with ThreadPoolExecutor(_COMPILERS) as pool:
            running = [
                pool.submit(compile_packages, share, self.interpreter.python, self.deadline.left()) for share in shares
            ]
            for left in [folder for done in running for folder in done.result()]:
                names = ", ".join(path.stem for path in sorted(left.glob("*.dist-info")))
                self.say(f" !     {names}: its bytecode could not be made; it is compiled at each import")

    def _fetch(self, choice: Choice) -> Path:
        if not choice.is_wheel:
            return Path(self.order.built[choice.file.sha256])
        folder = self.folder / choice.file.sha256
        folder.mkdir(exist_ok=True)
        self.index.download(choice.file, folder / choice.file.filename)
        return folder / choice.file.filename

    @staticmethod
    def _origin(choice: Choice) -> Origin:
        return Origin(choice.name, choice.version, choice.file.filename, choice.file.sha256)

    def _key(self, choice: Choice) -> str:
        return package_key(self._origin(choice), self.order.interpreter)

    def _package(self, choice: Choice) -> Installed:
        found = self.store.find(self._key(choice))
        if found is None:
            raise DaeError("slug/damaged", f"the package {choice.name} {choice.version} is gone", "push again")
        return found


def empty_environment(store: PackageStore, interpreter: Interpreter, work: Path, seconds: float) -> Installed:
    """The environment without packages: made once for each interpreter, and kept as if it were a package.

    ``work`` is a folder for what is not finished. Raises ``build/failed``, and ``slug/damaged`` when it went meanwhile.
    """
    origin = Origin("virtualenv", interpreter.id, str(interpreter.python), "")
    key = package_key(origin, interpreter.id)
    found = store.find(key)
    if found is None:
        with store.adding(key, origin) as tree:
            environment.create(tree, interpreter, work / "virtualenv")
            compile_packages([_site_packages(tree, interpreter)], interpreter.python, seconds)
        found = store.find(key)
    if found is None:
        raise DaeError("slug/damaged", "the empty environment is gone", "push again")
    return found


def _site_packages(tree: Path, interpreter: Interpreter) -> Path:
    return tree / "lib" / f"python{interpreter.series}" / "site-packages"


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    program.bound()
    return program.run("control.install", arguments, install)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
