"""The program that writes the archive of a slug: ``python -I -m slugs.packing DIR``.

Reads ``DIR/order.json``; leaves ``DIR/archive`` and ``DIR/result.json``, empty. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import program
from core.errors import DaeError
from core.files import reserve
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say
from slugs import archive, bill, signing
from slugs.bundle import FILES_CAP, UNPACKED_BYTES, Bundle, Packed
from slugs.environments import EnvironmentStore
from slugs.layers import Content
from slugs.packages import PackageStore
from slugs.store import SlugStore

ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Order:
    """The slug ``digest`` of ``app`` in ``home`` is to be written."""

    home: str
    app: str
    digest: str

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(data))


def pack(folder: Path, _say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``slug/unknown``, ``slug/damaged``, ``slug/too-large``,
    ``platform/disk-full``."""
    order = Order.from_json((folder / "order.json").read_bytes())
    home = Home(Path(order.home))
    with SlugStore(home).in_use():
        bundle, places = _gather(home, order)
        document = bundle.to_bytes()
        contents = sum(content.size for content in bundle.contents)
        files = sum(len(content.files) for content in bundle.contents)
        if len(document) > archive.DOCUMENT_CAP or contents > UNPACKED_BYTES or files > FILES_CAP:
            raise DaeError("slug/too-large", "no platform would take an archive of this slug", "require less")
        with (folder / ARCHIVE).open("wb") as out:
            reserve(out, archive.most_bytes(bundle.files, document), "writing the archive")
            wrong = archive.write(out, bundle.files, document, signing.sign(home.signing_key, document), places)
            out.truncate()  # what was reserved and not needed
    if wrong:
        cause = f"{places[wrong].name} has other bytes than it had"
        raise DaeError("slug/damaged", cause, f"find all that is: dae slugs verify -a {order.app}")
    return {}


def _gather(home: Home, order: Order) -> tuple[Bundle, dict[str, Path]]:
    """What the archive says, and where its files lie."""
    store, packages = SlugStore(home), PackageStore(home)
    slug = store.load(order.digest)
    store.verify(slug, order.app)
    environment, code = EnvironmentStore(home).environment(slug.environment), store.code_layer(order.app, slug.code)
    places: dict[str, Path] = {}
    packed = []
    for package in environment.packages if environment else ():
        manifest = packages.manifest(package.key)
        if package.origin.sha256 and manifest is not None:
            packed.append(Packed(package.origin, manifest.content))
            _place(manifest.content, packages.tree(package.key), places)
    if environment is None or code is None or len(packed) != len(environment.origins):
        raise DaeError("slug/damaged", f"slug {order.digest[:12]} changed while it was read", "try again")
    _place(code.content, code.place, places)
    told = bill.of(order.app, slug, environment.origins)
    return Bundle(order.app, slug, environment.lock, told, tuple(packed), code.content), places


def _place(content: Content, tree: Path, places: dict[str, Path]) -> None:
    for file in content.files:
        places.setdefault(file.sha256, tree / file.path)


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and takes what time others leave."""
    program.bound()
    os.nice(10)
    return program.run("slugs.packing", arguments, pack)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
