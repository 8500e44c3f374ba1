"""An archive as a platform writes it, and ones that say or hold something else."""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from buildpacks import locks
from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.keys import environment_digest
from control.install import empty_environment
from control.unpack import Order, unpack
from core.nouns import Process, ProcessType, Slug
from core.paths import Home
from slugs import SlugStore, packing, signing
from slugs.archive import Writer
from slugs.bundle import Bundle
from slugs.environments import EnvironmentStore
from slugs.packages import Origin, PackageStore, package_key

TREE, COMMIT = "a" * 40, "b" * 40
BIG = secrets.token_bytes(24 << 20)  # takes a while to unpack


@functools.cache
def interpreter() -> Interpreter:
    return find_interpreter()


def origin(name: str) -> Origin:
    return Origin(name, "1.0", f"{name}-1.0-py3-none-any.whl", sha256(name.encode()).hexdigest())


@dataclass
class Exported:
    """An archive of a slug of two packages, what it says, and the bytes of its files by sha256."""

    home: Home
    archive: Path
    bundle: Bundle
    blobs: dict[str, bytes]

    def forged(self, path: Path, bundle: Bundle | None = None, **changes: Any) -> Path:
        """An archive that is signed as the true one is, and says and holds something else."""
        bundle = bundle or self.bundle
        document = changes.get("document", bundle.to_bytes())
        names = changes.get("names", list(bundle.files.items()))
        blobs = {**self.blobs, **changes.get("blobs", {})}
        with path.open("wb") as out:
            writer = Writer(out)
            writer.document(document, changes.get("signature", signing.sign(self.home.signing_key, document)))
            for name, size in names:
                writer.file(name, size, file_of(path.with_name("blob"), blobs.get(name, b"other")))
            writer.end()
        return path


def file_of(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def export(tmp: Path) -> Exported:
    """A home below ``tmp`` with the app blog, which has one slug, and its archive."""
    home = Home(tmp / "h")
    for folder in (home.state, home.builds, home.slugs):
        folder.mkdir(parents=True)
    python, store, made = interpreter(), PackageStore(home), []
    made.append(empty_environment(store, python, tmp, 60))
    pins = {}
    for name in ("alpha", "beta"):
        key = package_key(origin(name), python.id)
        with store.adding(key, origin(name)) as tree:
            site = tree / "lib" / f"python{python.series}" / "site-packages"
            (site / name).mkdir(parents=True)
            (site / name / "__init__.py").write_text(f"name = {name!r}\n")
            (site / name / "same.py").write_text("same = True\n")
            (site / name / "big").write_bytes(BIG if name == "beta" else b"")
            (tree / "bin").mkdir()
            (tree / "bin" / name).write_text("#!/bin/sh\n")
            (tree / "bin" / name).chmod(0o755)
        found = store.find(key)
        assert found is not None
        made.append(found)
        pins[name] = locks.Pin("1.0", (f"sha256:{origin(name).sha256}",))
    lock = locks.render(pins)
    digest = environment_digest(lock, python.id)
    EnvironmentStore(home).assemble(digest, made, lock)
    code = tmp / "code"
    (code / "sub").mkdir(parents=True)
    (code / "app.py").write_text("same = True\n")
    (code / "sub" / "link").symlink_to("../app.py")
    SlugStore(home).add_code("blog", TREE, code)
    slug = Slug(COMMIT, TREE, digest, python.id, "python/1", (Process("web", ProcessType.WEB, "run"),))
    SlugStore(home).save(slug)
    work = tmp / "work"
    work.mkdir()
    (work / "order.json").write_bytes(packing.Order(str(home.root), "blog", slug.digest).to_json())
    packing.pack(work, lambda _line: None)
    document, places = packing._gather(home, packing.Order(str(home.root), "blog", slug.digest))
    blobs = {name: place.read_bytes() for name, place in places.items()}
    return Exported(home, work / packing.ARCHIVE, document, blobs)


@dataclass
class There:
    """A home that has nothing yet."""

    home: Home
    key: str

    def order(self, archive: Path, number: int = 7) -> Path:
        python = interpreter()
        work = self.home.builds / f"{number}-import"
        work.mkdir()
        order = Order(
            home=str(self.home.root),
            app="blog",
            archive=str(archive),
            key=self.key,
            label=f"build{number}",
            python=str(python.python),
            version=python.version,
            interpreter=python.id,
        )
        (work / "order.json").write_bytes(order.to_json())
        return work

    def unpack(self, archive: Path) -> dict[str, Any]:
        return unpack(self.order(archive), lambda _line: None)

    def layers(self) -> list[str]:
        folders = (self.home.packages, self.home.environments)
        return [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]


def elsewhere(bundle: Bundle, interpreter: str, lock: str) -> Bundle:
    """The same for another interpreter and lock, the environment being called after them."""
    slug = replace(bundle.slug, interpreter=interpreter, environment=environment_digest(lock, interpreter))
    return replace(bundle, slug=slug, lock=lock)
