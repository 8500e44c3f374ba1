"""The program that reads what an archive says of itself: ``python -I -m slugs.opening DIR``. It unpacks nothing.

The document of a large slug takes seconds to read and check, for which control would stand still. Reads
``DIR/order.json``; leaves ``DIR/result.json``: ``{"app", "slug", "key"}``, the app that it was exported from, the
slug's manifest, and who signed it. Exit status: see :func:`core.program.run`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import program
from core.errors import DaeError
from core.nouns import canonical_json
from core.program import Say, beating
from slugs.archive import Reader, read_document
from slugs.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Order:
    """The ``archive`` (a path) is to be read, if one of the keys ``trusted`` signed it; ``whole``: to its last byte."""

    archive: str
    trusted: tuple[str, ...]
    whole: bool = False

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        return cls(fields["archive"], tuple(fields["trusted"]), fields["whole"])


def read(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``slug/bad-archive``, ``slug/untrusted``.

    The document is not looked at before its signer is trusted.
    """
    order = Order.from_json((folder / "order.json").read_bytes())
    with Path(order.archive).open("rb") as source, beating(say, "reading"):
        reader = Reader(source)
        document, key = read_document(reader)
        if key not in order.trusted:
            cause = f"the archive is signed by {key}, which is not trusted here"
            raise DaeError("slug/untrusted", cause, f"if that is a platform of yours, type: dae slugs trust NAME {key}")
        bundle = Bundle.from_bytes(document)
        if order.whole:
            for sha256, size in bundle.files.items():
                for _data in reader.file(sha256, size):
                    pass
            reader.end()
    return {"app": bundle.app, "slug": bundle.slug.to_json(), "key": key}


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    program.bound()
    return program.run("slugs.opening", arguments, read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
