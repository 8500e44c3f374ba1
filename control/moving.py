"""Slugs that travel: exported as one signed file, and imported where their platform's key is trusted."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from buildpacks.interpreters import Interpreter, exact_interpreter
from control import inventory, programs
from control.build import Source, recorded
from control.context import Context
from control.output import Output
from control.trust import keys
from control.unpack import CODE, Order, read_document
from core import events
from core.errors import DaeError, disk_full
from core.files import remove_tree
from core.nouns import App, Slug
from slugs import packing
from slugs.archive import CHUNK, Reader
from slugs.bundle import Bundle
from slugs.environments import EnvironmentStore

PACK_SECONDS = 1800
UNPACK_SECONDS = 1800
_ROOM = 256 << 20  # bytes that an archive never takes from the node: what runs on it needs them


# --- out


def export(context: Context, app: App, digest: str) -> Path:
    """The archive of a slug of the app, in a folder of its own that the caller removes.

    It is written before the first byte is sent, so that what is wrong is told as an error and not as half a file.
    Raises ``slug/unknown``, ``slug/damaged``, ``slug/too-large``, ``platform/disk-full``.
    """
    inventory.require(context, app, digest)
    work = context.home.builds / f"export-{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        order = packing.Order(str(context.home.root), app.name, digest)
        programs.run("slugs.packing", work, order.to_json(), PACK_SECONDS, Output(lambda _line: None))
    except TimeoutError as error:
        remove_tree(work)
        raise DaeError("slug/too-large", f"it was not written within {PACK_SECONDS} s", "try again") from error
    except BaseException:
        remove_tree(work)
        raise
    return work / packing.ARCHIVE


# --- in


def receive(context: Context, stream: IO[bytes]) -> Path:
    """Keep an upload in a folder of its own that the caller removes; raises ``slug/too-large``.

    ``platform/disk-full`` when it would leave no room to unpack it.
    """
    most = context.settings.import_bytes
    work = context.home.builds / f"import-{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        with (work / packing.ARCHIVE).open("xb") as out:
            size = 0
            while data := stream.read(CHUNK):
                size += len(data)
                if size > most:
                    raise DaeError("slug/too-large", f"the archive has more than {most} bytes", "see import_bytes")
                if shutil.disk_usage(work).free < _ROOM:
                    raise disk_full("the archive would fill the node's disk")
                out.write(data)
    except BaseException:
        remove_tree(work)
        raise
    return work / packing.ARCHIVE


def import_slug(context: Context, app: App, archive: Path, who: str, output: Output) -> dict[str, Any]:
    """Have the slug of an ``archive`` as one of the app, as if it had been built here; returns ``{"app", "slug"}``.

    Its record is that of a build whose layers come ready, so that it is listed, kept and tidied up after like one.
    Raises ``slug/untrusted``, ``slug/bad-archive``, ``slug/wrong-interpreter``, and what a build may.
    """
    bundle, key = _read(context, archive)
    slug = bundle.slug
    output.step(f"Importing slug {slug.digest[:12]} of {bundle.app}, commit {slug.commit[:12]}, into {app.name}")
    python = _interpreter(context, slug)
    with context.slugs.in_use(output.check):
        if _is_here(context, app, slug):
            output.done(f"slug {slug.digest[:12]} is here already: nothing to do")
            return {"app": app.name, "slug": slug.digest, "imported": False}
        source = Source(app.name, slug.commit, who)
        bring = partial(_bring, context, app.name, archive, key, python, slug)
        recorded(context, source, output, bring)
    with context.store.write() as session:
        data = {"slug": slug.digest, "commit": slug.commit, "from": bundle.app, "key": key}
        events.append(session, "slug-imported", app=app.name, who=who, data=data)
    output.done(
        f"slug {slug.digest[:12]} is here; release it: dae deploy --slug {slug.digest[:12]} -a {app.name} -s dev"
    )
    return {"app": app.name, "slug": slug.digest, "imported": True}


def _read(context: Context, archive: Path) -> tuple[Bundle, str]:
    """What an archive says of itself, and who signed it. It is not looked at before its signer is trusted."""
    with archive.open("rb") as source:
        document, key = read_document(Reader(source))
    known = keys(context)
    if key not in {known["own"], *(entry["key"] for entry in known["trusted"])}:
        cause = f"the archive is signed by {key}, which is not trusted here"
        raise DaeError("slug/untrusted", cause, f"if that is a platform of yours, type: dae slugs trust NAME {key}")
    return Bundle.from_bytes(document), key


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
        try:
            result = programs.run("control.unpack", work, order.to_json(), UNPACK_SECONDS, output)
        except TimeoutError as error:
            raise DaeError("build/timeout", f"it was not unpacked within {UNPACK_SECONDS} s", "try again") from error
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
