"""The program that opens an export of an index: ``python -I -m control.mirror_unpack DIR``. It runs no code of it.

Reads ``DIR/order.json`` and ``DIR/archive``. When the last byte was seen and is what the signed document says, what is
to be entered lies in ``mirror/tmp/NAME`` (see :mod:`pypi_mirror.imports`), and ``DIR/result.json`` is ``{"key",
"left"}``: who signed it, and the private projects in it that were not asked for. Otherwise nothing is left.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from control.mirror_pack import FORM
from core import program
from core.errors import DaeError
from core.files import remove_tree, require_room, sync_folder, write_atomically
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say, beating
from pypi_mirror import archives
from pypi_mirror.bundle import Bundle
from pypi_mirror.imports import DOCUMENT, FILES
from pypi_mirror.model import project_name
from pypi_mirror.writing import FILE_MODE
from slugs.archive import Reader, read_document
from slugs.packing import ARCHIVE


@dataclass(frozen=True, slots=True)
class Order:
    """The archive, if one of the keys ``trusted`` signed it, is to lie in ``mirror/tmp/NAME``.

    ``private``: the private projects that are wanted; None for all.
    """

    home: str
    name: str
    trusted: tuple[str, ...]
    private: tuple[str, ...] | None

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        lists = {key: None if fields[key] is None else tuple(fields[key]) for key in ("trusted", "private")}
        return cls(fields["home"], fields["name"], lists["trusted"] or (), lists["private"])


def unpack(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``mirror/bad-archive``, ``mirror/untrusted``, ``mirror/bad-upload``,
    ``mirror/unknown-project``, ``platform/disk-full``."""
    order = Order.from_json((folder / "order.json").read_bytes())
    staged = Home(Path(order.home)).mirror / "tmp" / order.name
    with (folder / ARCHIVE).open("rb") as source, beating(say, "unpacking"):
        reader = Reader(source, FORM)
        document, key = read_document(reader)
        if key not in order.trusted:
            cause = f"the export is signed by {key}, which is not trusted here"
            hint = f"if that is a platform of yours, type: dae slugs trust NAME {key}"
            raise DaeError("mirror/untrusted", cause, hint)
        whole = Bundle.from_bytes(document)
        wanted = whole.of(_private(whole, order))
        try:
            _unpack(reader, whole, wanted, staged)
            _check(wanted, staged)
            write_atomically(staged / DOCUMENT, wanted.to_bytes(), FILE_MODE)
            sync_folder(staged)
        except BaseException:
            remove_tree(staged)
            raise
    left = sorted({p.name for p in whole.private} - {p.name for p in wanted.private})
    return {"key": key, "left": left}


def _private(whole: Bundle, order: Order) -> frozenset[str] | None:
    if order.private is None:
        return None
    names = frozenset(project_name(name) for name in order.private)
    for name in sorted(names - {project.name for project in whole.private}):
        raise DaeError(
            "mirror/unknown-project", f"the export holds no private project {name}", "see what it was made of"
        )
    return names


def _unpack(reader: Reader, whole: Bundle, wanted: Bundle, staged: Path) -> None:
    files = wanted.files
    require_room(staged.parent, "unpacking the archive", sum(files.values()), 2 * len(files))
    (staged / FILES).mkdir(mode=0o750, parents=True)
    for sha256, size in whole.files.items():
        pieces = reader.file(sha256, size)
        if sha256 in files:
            _keep(staged / FILES / sha256, pieces)
        else:
            for _ in pieces:
                pass  # it is part of what was signed, and read to its end
    reader.end()
    sync_folder(staged / FILES)


def _keep(path: Path, pieces: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, FILE_MODE)
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(descriptor)


def _check(wanted: Bundle, staged: Path) -> None:
    """A private file is held to what an upload is held to."""
    for project in wanted.private:
        for file in project.files:
            archives.check(staged / FILES / file.sha256, file.filename)


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    program.bound()
    os.nice(10)
    return program.run("control.mirror_unpack", arguments, unpack)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
