"""Parts of the index that travel: exported as one signed file, and imported where their platform's key is trusted."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control import mirror_pack, mirror_unpack, moving, programs
from control.archives import SEND_SECONDS
from control.context import Context
from control.mirror_door import answer
from control.output import Output
from control.trust import keys
from core import events
from core.errors import DaeError
from core.files import remove_tree
from slugs.packing import ARCHIVE

PACK_SECONDS = UNPACK_SECONDS = 6 * 3600
_NUMBER = re.compile(r"[0-9a-f]{32}\Z")


def export(
    context: Context, listed: str | None, private: Sequence[str] | None, out: Output, *, dry: bool
) -> dict[str, Any]:
    """Write an archive, to be fetched within the hour: what :func:`control.mirror_pack.pack` returns, and ``export``.

    ``dry``: only weigh it; ``export`` is empty then. ``problem`` is the error where projects were left out, as their
    record is damaged. Raises what that function does.
    """
    if len(context.exporting) >= moving.EXPORTS:
        raise DaeError("mirror/busy", f"{moving.EXPORTS} exports are being written or fetched", "try again in a minute")
    number = uuid.uuid4().hex
    work = context.home.builds / f"export-{number}"
    context.exporting.add(work.name)
    try:
        work.mkdir(mode=0o700)
        order = mirror_pack.Order(str(context.home.root), listed, None if private is None else tuple(private), dry)
        result = _run("control.mirror_pack", work, order.to_json(), PACK_SECONDS, out)
        if result["damaged"]:
            result["problem"] = _damaged(result["damaged"]).to_json()
    except BaseException:
        moving.remove(context, work / ARCHIVE)
        raise
    if dry:
        moving.remove(context, work / ARCHIVE)
        return {"export": "", **result}
    late = threading.Timer(SEND_SECONDS, moving.remove, (context, work / ARCHIVE))
    late.daemon = True
    late.start()
    return {"export": number, **result}


def _damaged(names: list[str]) -> DaeError:
    others = f" and {len(names) - 10} more" if len(names) > 10 else ""
    cause = f"all was exported but what has a damaged record: {', '.join(names[:10])}{others}"
    hint = "records of our own are made anew when the mirror starts, others when they are fetched: dae mirror sync LIST"
    return DaeError("mirror/damaged", cause, hint)


def exported(context: Context, number: str) -> Path:
    """The archive that was written; the caller removes it (:func:`control.moving.remove`) when it was sent."""
    archive = context.home.builds / f"export-{number}" / ARCHIVE
    if not _NUMBER.match(number) or not archive.is_file():
        raise DaeError("input/unknown-path", "there is no such export any more", "type: dae mirror export FILE")
    return archive


def bring(context: Context, archive: Path, private: Sequence[str] | None, who: str, out: Output) -> dict[str, Any]:
    """Enter what is in an archive: ``{"projects", "files", "kept", "left"}``.

    ``kept``: projects that stay as they are, with the reason; ``left``: private ones that were not asked for. Raises
    what :func:`control.mirror_unpack.unpack` and :meth:`pypi_mirror.imports.Imports.take` do.
    """
    out.step("Reading the archive to its end")
    known = keys(context)
    name = f"import-{uuid.uuid4().hex}"
    order = mirror_unpack.Order(
        str(context.home.root),
        name,
        (known["own"], *(entry["key"] for entry in known["trusted"])),
        None if private is None else tuple(private),
    )
    try:
        told = _run("control.mirror_unpack", archive.parent, order.to_json(), UNPACK_SECONDS, out)
        out.step("It is whole: entering it")
        came = answer(context.home.socket("mirror"), "POST", f"/mirror/imports/{name}", UNPACK_SECONDS)
    finally:
        remove_tree(context.home.mirror / "tmp" / name)
    for project, reason in came["kept"].items():
        out.warn(f"{project} stays as it is: {reason}")
    for project in told["left"]:
        out.warn(f"{project} is private, and was left out; if it is to come: --private {project}")
    with context.store.write() as session:
        data = {"projects": came["projects"], "files": came["files"], "key": told["key"]}
        events.append(session, "packages-imported", who=who, data=data)
    out.done(f"{came['projects']} projects with {came['files']} files are here")
    return {**came, "left": told["left"]}


def sweep(context: Context) -> None:
    """Remove what imports left that control's end cut off. Only for when none is under way: at the start."""
    for folder in (context.home.mirror / "tmp").glob("import-*"):
        remove_tree(folder)


def _run(module: str, work: Path, order: bytes, seconds: int, out: Output) -> dict[str, Any]:
    try:
        return programs.run(module, work, order, seconds, out)
    except TimeoutError as error:
        raise DaeError("mirror/busy", f"{module} was not done within {seconds} s", "try again, or less") from error
