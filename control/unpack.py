"""The program that brings in the layers of an archive: ``python -I -m control.unpack DIR``. It runs no code of them.

Reads ``DIR/order.json`` and the archive that it names. Everything is written aside; when the last byte was seen and is
what the signed document says, packages and the environment are published, as ``control.install`` publishes what it
made. Leaves ``DIR/code``, unless that layer is here, and ``DIR/result.json``: ``{"slug", "packages", "kept"}``, the
slug's digest, how many packages it has and how many of them were here. Exit status: see :func:`core.program.run`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from buildpacks import locks
from buildpacks.interpreters import Interpreter
from buildpacks.keys import environment_digest
from control.install import empty_environment
from core import program
from core.errors import DaeError
from core.files import require_room
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say, beating
from receiver.tree import check_links
from slugs.archive import Reader, read_document
from slugs.bundle import Bundle, Packed, bad_archive
from slugs.environments import EnvironmentStore
from slugs.layers import Content, File
from slugs.packages import Installed, PackageStore, package_key
from slugs.store import SlugStore

CODE = "code"
_COMPILE_SECONDS = 60.0
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """The ``archive`` (a path), signed by ``key``, is to be brought in as a slug of ``app`` for this interpreter.

    ``label``: what unfinished work in the store is called by.
    """

    home: str
    app: str
    archive: str
    key: str
    label: str
    python: str
    version: tuple[int, int, int]
    interpreter: str

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        major, minor, patch = fields["version"]
        return cls(**{**fields, "version": (major, minor, patch)})


def unpack(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``slug/bad-archive``, ``slug/damaged``, ``platform/disk-full``,
    ``build/*``."""
    return _Unpacking(Order.from_json((folder / "order.json").read_bytes()), folder, say).run()


class _Unpacking:
    def __init__(self, order: Order, folder: Path, say: Say) -> None:
        self.order = order
        self.folder = folder
        self.say = say
        self.interpreter = Interpreter(Path(order.python), order.version, order.interpreter)
        self.home = Home(Path(order.home))
        self.packages = PackageStore(self.home, order.label)
        self.environments = EnvironmentStore(self.home, order.label)

    def run(self) -> dict[str, Any]:
        with Path(self.order.archive).open("rb") as source, beating(self.say, "unpacking"):
            reader = Reader(source)
            document, key = read_document(reader)
            if key != self.order.key:
                raise bad_archive("the archive changed while it was read")
            bundle = Bundle.from_bytes(document)
            self._check(bundle)
            missing = [packed for packed in bundle.packages if self.packages.find(self._key(packed)) is None]
            code = bundle.code if SlugStore(self.home).code_faults(self.order.app, bundle.slug.code) else None
            self._weigh([*(packed.content for packed in missing), *([code] if code else [])])
            self._unpack(reader, bundle, missing, code)
        self._assemble(bundle, missing)
        slug = bundle.slug
        return {"slug": slug.digest, "packages": len(bundle.packages), "kept": len(bundle.packages) - len(missing)}

    def _check(self, bundle: Bundle) -> None:
        """The environment is the one of its lock, and its packages are what the lock names."""
        slug = bundle.slug
        if slug.interpreter != self.interpreter.id:
            raise bad_archive("the archive changed while it was read")
        if environment_digest(bundle.lock, slug.interpreter) != slug.environment:
            raise bad_archive("the archive's environment is not the one of its lock")
        try:
            locked = [(r.name, r.version, frozenset(r.hashes)) for r in locks.releases(bundle.lock)]
        except (ValueError, DaeError) as error:
            raise bad_archive("the archive's lock cannot be read") from error
        origins = [packed.origin for packed in bundle.packages]
        fits = len(locked) == len(origins) and all(
            (origin.name, origin.version) == (name, version) and f"sha256:{origin.sha256}" in hashes
            for origin, (name, version, hashes) in zip(origins, locked, strict=True)
        )
        if not fits:
            raise bad_archive("the archive's packages are not those of its lock")
        try:
            check_links({os.fsencode(path): os.fsencode(goal) for path, goal in bundle.code.links})
        except DaeError as error:
            raise bad_archive(f"the archive's code {error.cause}") from error

    def _weigh(self, contents: list[Content]) -> None:
        """Nothing is begun that would not fit: each file takes whole blocks, and one of the file system's files."""
        sizes = [file.size for content in contents for file in content.files]
        total = sum(size + -size % _BLOCK for size in sizes)
        require_room(self.folder, "unpacking the archive", total, len(sizes))

    def _unpack(self, reader: Reader, bundle: Bundle, missing: list[Packed], code: Content | None) -> None:
        """Write the layers that are missing aside; published are packages, and only after the archive's last byte."""
        with ExitStack() as stack:
            wanted: dict[str, list[tuple[Path, File]]] = {}
            for packed in missing:
                tree = stack.enter_context(self.packages.adding(self._key(packed), packed.origin))
                _want(packed.content, tree, wanted)
            if code is not None:
                (self.folder / CODE).mkdir()
                _want(code, self.folder / CODE, wanted)
            for sha256, size in bundle.files.items():
                _write(reader, sha256, size, wanted.get(sha256, []))
            reader.end()
            for path, goal in code.links if code is not None else ():  # last: nothing is written through one
                place = self.folder / CODE / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(goal)
            os.sync()  # what is published must be whole after a power failure, too

    def _assemble(self, bundle: Bundle, brought: list[Packed]) -> None:
        for packed in brought:
            manifest = self.packages.manifest(self._key(packed))
            if manifest is None or manifest.content != packed.content:
                raise DaeError(
                    "slug/damaged", f"{packed.origin.filename} was not written as it came", "import it again"
                )
        if not self.environments.faults(bundle.slug.environment):
            return
        empty = empty_environment(self.packages, self.interpreter, self.folder, _COMPILE_SECONDS)
        packages = [empty, *(self._package(packed) for packed in bundle.packages)]
        self.environments.assemble(bundle.slug.environment, packages, bundle.lock)

    def _package(self, packed: Packed) -> Installed:
        found = self.packages.find(self._key(packed))
        if found is None:
            raise DaeError("slug/damaged", f"the package {packed.origin.filename} is gone", "import it again")
        return found

    def _key(self, packed: Packed) -> str:
        return package_key(packed.origin, self.interpreter.id)


def _want(content: Content, tree: Path, wanted: dict[str, list[tuple[Path, File]]]) -> None:
    for file in content.files:
        wanted.setdefault(file.sha256, []).append((tree / file.path, file))


def _write(reader: Reader, sha256: str, size: int, places: list[tuple[Path, File]]) -> None:
    """Read the next file to its end, and have it at ``places``: each a file of its own, with a time of its own."""
    if not places:
        for _data in reader.file(sha256, size):
            pass
        return
    first, file = places[0]
    first.parent.mkdir(parents=True, exist_ok=True)
    with first.open("xb") as out:
        for data in reader.file(sha256, size):
            out.write(data)
    first.chmod(0o555 if file.program else 0o444)
    for place, other in places[1:]:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first, place, follow_symlinks=False)
        place.chmod(0o555 if other.program else 0o444)


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    program.bound()
    return program.run("control.unpack", arguments, unpack)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
