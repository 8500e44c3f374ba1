"""Slugs that travel: exported as one signed file, and imported where their platform's key is trusted."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from buildpacks.interpreters import Interpreter, exact_interpreter
from control import accounts, inventory, programs
from control.accounts import Identity
from control.context import Context
from control.locks import app_lock
from control.output import Output
from control.recording import Source, recorded
from control.trust import keys
from control.unpack import CODE, Order
from core.errors import DaeError
from core.files import remove_tree, require_room
from core.nouns import App, Slug
from slugs import opening, packing
from slugs.archive import CHUNK
from slugs.environments import EnvironmentStore

OPEN_SECONDS = 300
PACK_SECONDS = 1800
UNPACK_SECONDS = 1800
#: How many archives may be written or sent at once: each takes its room on the disk until it is sent.
EXPORTS = 2
_BUSY = "the node has too much to do (see: dae status); try again when it has less"


# --- out


def export(context: Context, app: App, digest: str, check: Callable[[], None]) -> Path:
    """The archive of a slug of the app, in a folder of its own; the caller gives it back (:func:`remove`).

    It is written before the first byte is sent, so that what is wrong is told as an error and not as half a file.
    ``check`` is called meanwhile; what it raises ends the work. Raises ``slug/unknown``, ``slug/damaged``,
    ``slug/too-large``, ``slug/busy``, ``slug/timeout`` and ``platform/disk-full``.
    """
    inventory.require(context, app, digest)
    if len(context.exporting) >= EXPORTS:
        again = f"try again in a minute: dae slugs export {digest[:12]} -a {app.name}"
        raise DaeError("slug/busy", f"{EXPORTS} slugs are being exported just now", again)
    work = context.home.builds / f"export-{uuid.uuid4().hex}"
    archive = work / packing.ARCHIVE
    context.exporting.add(work.name)
    try:
        work.mkdir(mode=0o700)
        order = packing.Order(str(context.home.root), app.name, digest)
        _run("slugs.packing", work, order.to_json(), PACK_SECONDS, Output(lambda _line: None, check))
    except BaseException:
        remove(context, archive)
        raise
    return archive


def remove(context: Context, archive: Path) -> None:
    """Remove the archive of an export, whoever still reads it: another may begin. Doing it again does nothing."""
    try:
        with suppress(FileNotFoundError):
            os.truncate(archive, 0)  # its room is free at once, also while somebody has it open
        remove_tree(archive.parent)
    finally:
        context.exporting.discard(archive.parent.name)


# --- in


def receive(context: Context, stream: IO[bytes]) -> Path:
    """Keep an upload in a folder of its own that the caller removes; raises ``slug/too-large``.

    ``platform/disk-full`` when it would take what the node needs; what it unpacks to is weighed when it is opened.
    """
    work = context.home.builds / f"import-{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        with (work / packing.ARCHIVE).open("xb") as out:
            size = 0
            while data := stream.read(CHUNK):
                size += len(data)
                require_small(context, size)
                require_room(work, "receiving the archive", len(data))
                out.write(data)
    except BaseException:
        remove_tree(work)
        raise
    return work / packing.ARCHIVE


def require_small(context: Context, size: int) -> None:
    """Raise ``slug/too-large`` for an archive of more bytes than are taken."""
    most = context.settings.import_bytes
    if size > most:
        hint = "the operator can allow more: import_bytes = BYTES in dae.toml, then: dae up"
        raise DaeError("slug/too-large", f"the archive has more than {most} bytes", hint)


def import_slug(context: Context, app: App, archive: Path, identity: Identity, output: Output) -> dict[str, Any]:
    """Have the slug of an ``archive`` as one of the app, as if it had been built here; returns ``{"app", "slug"}``.

    Its record is that of a build whose layers come ready, so that it is listed, kept and tidied up after like one; also
    when all of it is here already, so that it is kept for as long from now on. Raises ``slug/untrusted``,
    ``slug/bad-archive``, ``slug/wrong-interpreter``, ``app/unknown`` when the app goes meanwhile, and what a build may.
    """
    told = _opened(context, archive, output)
    slug = Slug.from_json(told["slug"])
    output.step(f"Importing slug {slug.digest[:12]} of {told['app']}, commit {slug.commit[:12]}, into {app.name}")
    python = _interpreter(context, slug)
    source = Source(app.name, slug.commit, identity.name)
    with (
        app_lock(context, app.name, f"an import by {identity.name}", output) as output,
        context.slugs.in_use(output.check),
    ):
        app = accounts.require_app(context.store, identity, app.name)
        if _is_here(context, app, slug):
            _opened(context, archive, output, whole=True)  # a damaged archive is one, whatever is here already
            recorded(context, source, output, lambda _number, _output: slug)
            output.done(f"slug {slug.digest[:12]} is here already: nothing to do")
            return {"app": app.name, "slug": slug.digest, "imported": False}
        bring = partial(_bring, context, app.name, archive, told["key"], python, slug)
        data = {"slug": slug.digest, "commit": slug.commit, "from": told["app"], "key": told["key"]}
        recorded(context, source, output, bring, ("slug-imported", data))
    output.done(
        f"slug {slug.digest[:12]} is here; release it: dae deploy --slug {slug.digest[:12]} -a {app.name} -s dev"
    )
    return {"app": app.name, "slug": slug.digest, "imported": True}


def _opened(context: Context, archive: Path, output: Output, *, whole: bool = False) -> dict[str, Any]:
    """What an archive says of itself, and who signed it; ``whole``: every byte of it is read, too."""
    known = keys(context)
    order = opening.Order(str(archive), (known["own"], *(entry["key"] for entry in known["trusted"])), whole)
    return _run("slugs.opening", archive.parent, order.to_json(), OPEN_SECONDS, output)


def _run(module: str, work: Path, order: bytes, seconds: int, output: Output) -> dict[str, Any]:
    try:
        return programs.run(module, work, order, seconds, output)
    except TimeoutError as error:
        raise DaeError("slug/timeout", f"{module} was not done within {seconds} s", _BUSY) from error


def _interpreter(context: Context, slug: Slug) -> Interpreter:
    folder = Path(context.settings.pythons or context.home.pythons)
    found = exact_interpreter(slug.interpreter, context.accounts, folder)
    if found is None:
        hint = f"put that Python into a folder of its own below {folder} (docs/python.md), or push the commit here"
        raise DaeError("slug/wrong-interpreter", f"the slug needs {slug.interpreter}, which is not here", hint)
    return found


def _is_here(context: Context, app: App, slug: Slug) -> bool:
    try:
        context.slugs.verify(inventory.require(context, app, slug.digest), app.name)
    except DaeError:
        return False
    return True


def _bring(
    context: Context, app: str, archive: Path, key: str, python: Interpreter, slug: Slug, number: int, output: Output
) -> Slug:
    """Put the layers in their places and the manifest last; raises what :func:`import_slug` does."""
    with _work(context, number) as work:
        order = Order(
            home=str(context.home.root),
            app=app,
            archive=str(archive),
            key=key,
            label=f"build{number}",
            python=str(python.python),
            version=python.version,
            interpreter=python.id,
        )
        result = _run("control.unpack", work, order.to_json(), UNPACK_SECONDS, output)
        if result["slug"] != slug.digest:
            raise DaeError("slug/bad-archive", "the archive changed while it was read", "import it again")
        output.detail(f"{result['packages']} packages, {result['kept']} of them were here already")
        if (work / CODE).exists():
            group = context.node.agent.ensure_app(app)
            context.slugs.add_code(app, slug.code, work / CODE, group)
    context.slugs.save(slug)
    context.slugs.verify(slug, app)
    return slug


@contextmanager
def _work(context: Context, number: int) -> Iterator[Path]:
    """The work folder of the import ``number``; recovery knows it by that number."""
    work = context.home.builds / f"{number}-import"
    remove_tree(work)
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        remove_tree(work)
        EnvironmentStore(context.home, f"build{number}").remove_unfinished()
