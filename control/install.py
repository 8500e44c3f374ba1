"""The program that makes an environment of a lock: ``python -I -m control.install DIR``. It runs no code of packages.

It works as the platform's own account, beside control because unpacking and linking would hold control up. Reads
``DIR/order.json``; leaves ``DIR/result.json``: ``{"sources": [...]}``, empty when the environment stands, else the
locked releases that have no wheel, which must be built first and named in ``built`` of another order. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from buildpacks import environment, locks, wheels
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
from runner.launch import PR_SET_PDEATHSIG, prctl
from slugs.packages import Installed, Origin, PackageStore, package_key

MEMORY_BYTES = 4 << 30
_AT_ONCE = 8  # downloads
_COMPILERS = 2


@dataclass(frozen=True, slots=True)
class Order:
    """The environment ``digest`` is to be made of ``lock``; ``built``: wheels (paths) by their source's sha256."""

    home: str
    digest: str
    lock: str
    engine: str
    index_url: str
    python: str
    version: tuple[int, int, int]
    interpreter: str
    timeout: int
    built: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        major, minor, patch = fields["version"]
        return cls(**{**fields, "version": (major, minor, patch)})


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
        self.store = PackageStore(Home(Path(order.home)))

    def run(self) -> list[Choice]:
        """The releases that must be built first; none, and the environment is there."""
        releases = locks.releases(self.order.lock)
        with ThreadPoolExecutor(_AT_ONCE) as pool, beating(self.say, "reading the index"):
            tags = wheels.tags_of(self.interpreter)
            pages = pool.map(lambda release: self.index.files(release.name), releases)
            choices = [wheels.choose(release, files, tags) for release, files in zip(releases, pages, strict=True)]
        missing = [choice for choice in choices if self.store.find(self._key(choice)) is None]
        unbuilt = [choice for choice in missing if not choice.is_wheel and choice.file.sha256 not in self.order.built]
        if unbuilt:
            return unbuilt
        self._tell(choices, missing)
        with beating(self.say, "installing"):
            for start in range(0, len(missing), _AT_ONCE):
                self._add(missing[start : start + _AT_ONCE])
            packages = [self._empty(), *(self._package(choice) for choice in choices)]
            self.store.assemble(self.order.digest, packages)
        return []

    def _tell(self, choices: Sequence[Choice], missing: Sequence[Choice]) -> None:
        new = {choice.name for choice in missing}
        here = len(choices) - len(new)
        kept = f", {'all' if not new else here} of them here already" if here else ""
        self.say(f"-----> Installing {len(choices)} packages{kept}")
        for choice in missing:
            self.say(f"       {choice.name} {choice.version}")

    def _add(self, choices: Sequence[Choice]) -> None:
        """Fetch and unpack these packages, compile them in one go, and publish them all."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            paths = list(pool.map(self._fetch, choices))
        with ExitStack() as stack:
            trees = []
            for choice, path in zip(choices, paths, strict=True):
                origin = Origin(choice.name, choice.version, path.name, choice.file.sha256)
                tree = stack.enter_context(self.store.adding(self._key(choice), origin))
                wheels.unpack(path, locks.Release(choice.name, choice.version, ()), tree, self.interpreter)
                trees.append(tree)
                self.deadline.left()
            self._compile(trees)

    def _compile(self, trees: Sequence[Path]) -> None:
        folders = [tree / "lib" / f"python{self.interpreter.series}" / "site-packages" for tree in trees]
        by_size = sorted(folders, key=lambda folder: sum(1 for _ in folder.rglob("*.py")))
        shares = [share for number in range(_COMPILERS) if (share := by_size[number::_COMPILERS])]
        with ThreadPoolExecutor(_COMPILERS) as pool:
            for done in [
                pool.submit(compile_packages, share, self.interpreter.python, self.deadline.left()) for share in shares
            ]:
                done.result()

    def _fetch(self, choice: Choice) -> Path:
        if not choice.is_wheel:
            return Path(self.order.built[choice.file.sha256])
        folder = self.folder / choice.file.sha256
        folder.mkdir()
        self.index.download(choice.file, folder / choice.file.filename)
        return folder / choice.file.filename

    def _key(self, choice: Choice) -> str:
        built_by = "" if choice.is_wheel else self.order.engine
        return package_key(choice.file.sha256, self.order.interpreter, built_by)

    def _package(self, choice: Choice) -> Installed:
        found = self.store.find(self._key(choice))
        if found is None:
            raise DaeError("slug/damaged", f"the package {choice.name} {choice.version} is gone", "push again")
        return found

    def _empty(self) -> Installed:
        """The environment without packages: made once for each interpreter, and kept as if it were a package."""
        origin = Origin("virtualenv", self.order.interpreter, "virtualenv", "")
        key = package_key(f"virtualenv of {self.order.python}", self.order.interpreter)
        found = self.store.find(key)
        if found is None:
            with self.store.adding(key, origin) as tree:
                environment.create(tree, self.interpreter, self.folder / "virtualenv")
                self._compile([tree])
            found = self.store.find(key)
        if found is None:
            raise DaeError("slug/damaged", "the empty environment is gone", "push again")
        return found


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return program.run("control.install", arguments, install)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
