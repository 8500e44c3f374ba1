"""The program that writes an export of the index: ``python -I -m control.mirror_pack DIR``.

Reads ``DIR/order.json``; leaves ``DIR/archive``, unless only the weight is wanted, and ``DIR/result.json``:
``{"projects", "files", "bytes", "missing"}``. Exit status: see :func:`core.program.run`.
"""

from __future__ import annotations

import json
import os
import sys
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
    """Carry out the order of ``folder``; raises ``mirror/unknown-project``, ``mirror/too-large``,
    ``mirror/hash-mismatch``, ``platform/disk-full``, and what the list may."""
    order = Order.from_json((folder / "order.json").read_bytes())
    home = Home(Path(order.home))
    store = Store(home)
    with beating(say, "gathering"):
        upstream, missing = _upstream(store, order, Output(say))
        private = [_project(store, name, None, private=True) for name in _private_names(store, order)]
    bundle = Bundle(tuple(p for p in upstream if p.files), tuple(private))
    document, files = bundle.to_bytes(), bundle.files
    told = {"projects": len(bundle.upstream) + len(private), "files": len(files), "bytes": sum(files.values())}
    if len(document) > archive.DOCUMENT_CAP or len(files) > FILES_CAP or max(files.values(), default=0) > FILE_BYTES:
        raise DaeError(
            "mirror/too-large", "no platform would take an archive of all that", "export a part: name a LIST"
        )
    say(f"-----> {told['projects']} projects, {told['files']} files, {told['bytes'] / 1e6:.1f} MB")
    if not order.dry:
        with beating(say, "writing"):
            _write(folder / ARCHIVE, home, bundle, document, store)
    return {**told, "missing": missing}


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


def _upstream(store: Store, order: Order, out: Output) -> tuple[list[Project], list[str]]:
    """The projects of upstream that travel, and those of the list that cannot."""
    lines = None if order.listed is None else lines_of(order.listed, out)
    names = store.names() if lines is None else sorted(lines)
    found, missing = [], []
    for name in names:
        if store.is_private(name):
            if lines is not None and order.private is not None and name not in order.private:
                out.warn(f"{name} is private, and stays here; if it is to travel: --private {name}")
            continue
        if lines is None:
            found.append(_project(store, name, None, private=False))
            continue
        project = store.load(name)
        files = choose(list(project.files), lines[name], Wanted()) if project else []
        chosen = _project(store, name, files, private=False) if files else None
        if chosen is None or not chosen.files:
            missing.append(name)
            out.warn(f"nothing of {name} that the list names is here; first, type: dae mirror sync LIST")
        else:
            found.append(chosen)
    return found, missing


def _private_names(store: Store, order: Order) -> list[str]:
    known = [name for name in store.names() if store.is_private(name)]
    if order.private is None:
        return known
    wanted = sorted({project_name(name) for name in order.private})
    for name in wanted:
        if name not in known:
            raise DaeError("mirror/unknown-project", f"there is no private project {name}", "see: dae mirror projects")
    return wanted


def _project(store: Store, name: str, chosen: list[File] | None, *, private: bool) -> Project:
    """The project with those of its files, or all, that are here for everybody: not those that the policy hides."""
    project = store.load(name)
    if project is None:
        raise DaeError("mirror/unavailable", f"the record of {name} is damaged", "tell the operator")
    files = {}
    for file in project.files if chosen is None else chosen:
        path = store.file_path(file.sha256, file.filename)
        if path.is_file():
            files[file] = path.stat().st_size
    return travelling(project, files, private=private)


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and takes what time others leave."""
    program.bound()
    os.nice(10)
    return program.run("control.mirror_pack", arguments, pack)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
