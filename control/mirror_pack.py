"""The program that writes an export of the index: ``python -I -m control.mirror_pack DIR``.

Reads ``DIR/order.json``; leaves ``DIR/archive``, unless only the weight is wanted, and ``DIR/result.json``:
``{"projects", "files", "bytes", "missing", "damaged"}``. Exit status: see :func:`core.program.run`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from control.mirror_sync import choose, lines_of
from control.output import Output
from core import program
from core.errors import DaeError
from core.files import reserve
from core.nouns import canonical_json
from core.paths import Home
from core.program import Say, beating
from pypi_mirror.bundle import FILE_BYTES, FILES_CAP, Bundle, bad_archive, travelling
from pypi_mirror.model import File, Project, project_name
from pypi_mirror.selection import Wanted
from pypi_mirror.store import Store
from slugs import archive, signing
from slugs.archive import Form
from slugs.packing import ARCHIVE

#: An export of the index.
FORM = Form("index.json", b"dae index export 1\n", bad_archive)


@dataclass(frozen=True, slots=True)
class Order:
    """``listed``: the text of a list, None for all that is here of upstream. ``private``: projects, None for all.

    ``dry``: only weigh it.
    """

    home: str
    listed: str | None
    private: tuple[str, ...] | None
    dry: bool

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        private = fields["private"]
        return cls(fields["home"], fields["listed"], None if private is None else tuple(private), fields["dry"])


def pack(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; projects whose record is damaged are left out, and named.

    Raises ``mirror/unknown-project``, ``mirror/too-large``, ``mirror/hash-mismatch``, ``platform/disk-full``, and what
    the list may.
    """
    order = Order.from_json((folder / "order.json").read_bytes())
    home = Home(Path(order.home))
    store = Store(home)
    gathered = _Gathered(store, Output(say))
    with beating(say, "gathering"):
        _upstream(gathered, order)
        for name in _private_names(store, order):
            gathered.take(name)
    bundle = Bundle(tuple(p for p in gathered.upstream if p.files), tuple(gathered.private))
    document, files = bundle.to_bytes(), bundle.files
    told = {"projects": len(bundle.upstream) + len(bundle.private), "files": len(files), "bytes": sum(files.values())}
    if len(document) > archive.DOCUMENT_CAP or len(files) > FILES_CAP or max(files.values(), default=0) > FILE_BYTES:
        raise DaeError(
            "mirror/too-large", "no platform would take an archive of all that", "export a part: name a LIST"
        )
    say(f"-----> {told['projects']} projects, {told['files']} files, {told['bytes'] / 1e6:.1f} MB")
    if not order.dry:
        with beating(say, "writing"):
            _write(folder / ARCHIVE, home, bundle, document, store)
    return {**told, "missing": gathered.missing, "damaged": gathered.damaged}


def _write(path: Path, home: Home, bundle: Bundle, document: bytes, store: Store) -> None:
    places = {
        file.sha256: store.file_path(file.sha256, file.filename)
        for project in (*bundle.upstream, *bundle.private)
        for file in project.files
    }
    signature = signing.sign(home.signing_key, document, FORM.says)
    with path.open("wb") as out:
        reserve(out, archive.most_bytes(bundle.files, document), "writing the archive")
        try:
            wrong = archive.write(out, bundle.files, document, signature, places, FORM)
        except FileNotFoundError as error:
            raise DaeError("mirror/unknown-file", "a file went away while it was read", "export again") from error
        out.truncate()  # what was reserved and not needed
    if wrong:
        cause = f"{places[wrong].name} on the disk is not what the index says"
        raise DaeError("mirror/hash-mismatch", cause, "type: dae mirror verify")


class _Gathered:
    """What travels; the names of the list that cannot, and of projects whose record is damaged."""

    def __init__(self, store: Store, out: Output) -> None:
        self.store, self.out = store, out
        self.upstream: list[Project] = []
        self.private: list[Project] = []
        self.missing: list[str] = []
        self.damaged: list[str] = []

    def take(self, name: str, chosen: Callable[[list[File]], list[File]] = list) -> None:
        """Have a project travel that is here, with those of its files, or all, that are here for everybody: not those
        that the policy hides."""
        project, private = self.store.load(name), self.store.is_private(name)
        if project is None:
            self.damaged.append(name)
            self.out.warn(f"the record of {name} is damaged: it is left out")
            return
        files = {}
        for file in chosen(list(project.files)):
            with contextlib.suppress(FileNotFoundError):
                files[file] = self.store.file_path(file.sha256, file.filename).stat().st_size
        (self.private if private else self.upstream).append(travelling(project, files, private=private))


def _upstream(gathered: _Gathered, order: Order) -> None:
    """Gather the projects of upstream that travel."""
    store, out = gathered.store, gathered.out
    lines = None if order.listed is None else lines_of(order.listed, out)
    for name in store.names() if lines is None else sorted(lines):
        if store.is_private(name):
            if lines is not None and order.private is not None and name not in order.private:
                out.warn(f"{name} is private, and stays here; if it is to travel: --private {name}")
        elif lines is None:
            gathered.take(name)
        elif store.fetched(name) is not None:
            gathered.take(name, lambda files, lines=lines[name]: choose(files, lines, Wanted()))  # type: ignore[misc]
    here = {project.name for project in gathered.upstream if project.files}
    for name in sorted(lines or {}):
        if name not in here and name not in gathered.damaged and not store.is_private(name):
            gathered.missing.append(name)
            out.warn(f"nothing of {name} that the list names is here; first, type: dae mirror sync LIST")


def _private_names(store: Store, order: Order) -> list[str]:
    known = [name for name in store.names() if store.is_private(name)]
    if order.private is None:
        return known
    wanted = sorted({project_name(name) for name in order.private})
    for name in wanted:
        if name not in known:
            raise DaeError("mirror/unknown-project", f"there is no private project {name}", "see: dae mirror projects")
    return wanted


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and takes what time others leave."""
    program.bound()
    os.nice(10)
    return program.run("control.mirror_pack", arguments, pack)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
