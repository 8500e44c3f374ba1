"""Layers that are not what they were made: found before anything serves from them, and made again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from control import programs
from control.build import build
from control.context import Context
from control.output import Output
from control.reads import code_key
from control.recording import Source
from core import events
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import Slug
from runner.client import Check, OnLine
from slugs.looks import Look
from slugs.verification import Order, Verdict

VERIFY_SECONDS = 6 * 3600
#: A slug up to this size is read faster than an instance of it boots.
SMALL_BYTES = 64 << 20
#: Starts something: gets what its failure says, and is told to end by what the second one raises.
Start = Callable[[OnLine, Check], None]


def require_whole(context: Context, slug: Slug, source: Source, output: Output) -> bool:
    """Have the layers of ``slug`` as they were made; one that is damaged is built again from ``source``, its commit.

    No byte is read: see :func:`reading`. Returns whether it was built. What runs in a layer that is replaced goes on.
    Raises ``slug/damaged`` when the build gives another slug, or whatever keeps it from being built.
    """
    try:
        context.slugs.verify(slug, source.app)
        return False
    except DaeError as error:
        if error.code != "slug/damaged":
            raise
        output.warn(f"{error.cause}; building it again")
    try:
        again = build(context, source, output)
    except DaeError as error:
        if error.code != "push/bad-ref":
            raise
        hint = f"import it again: dae slugs import FILE -a {source.app}; or push that commit"
        cause = f"slug {slug.digest[:12]} is damaged, and its commit {slug.commit[:12]} was never pushed here"
        raise DaeError("slug/damaged", cause, hint) from error
    if again.digest != slug.digest:
        cause = f"slug {slug.digest[:12]} is damaged, and its commit now builds into another one, {again.digest[:12]}"
        raise DaeError("slug/damaged", cause, "push the commit again, and promote what is live in dev then")
    return True


def read(context: Context, slugs: Iterable[tuple[str, Slug]], output: Output, *, patient: bool) -> dict[str, Any]:
    """Read every byte of the layers of these slugs, each with its app; those that are damaged are refused from then on.

    Returns a :class:`slugs.verification.Verdict` as plain data. ``patient``: it takes only time that others leave.
    Raises ``platform/internal`` where the program that reads was killed or failed, and ``platform/disk-full``.
    """
    chosen = list(slugs)
    order = Order(
        home=str(context.home.root),
        environments=sorted({slug.environment for _app, slug in chosen}),
        codes=sorted({(app, slug.code) for app, slug in chosen}),
        patient=patient,
    )
    work = context.home.builds / f"verification-{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        verdict = programs.run("slugs.verification", work, order.to_json(), VERIFY_SECONDS, output)
    except DaeError as error:
        if error.code != "build/failed":
            raise
        cause = f"the layers could not be read to their end, so nobody knows whether they are whole: {error.cause}"
        hint = "type the command again; if it stays, the operator looks at the machine: dae doctor"
        raise DaeError("platform/internal", cause, hint) from error
    finally:
        remove_tree(work)
    if verdict["bytes"] > SMALL_BYTES and not verdict["damaged"]:
        for app, slug in chosen:
            for layer in _layers(app, slug):
                context.reads.note(layer)
    return verdict


def _looked_at(context: Context, app: str, slug: Slug, look: Look) -> dict[str, Any]:
    """The same of one slug whose bytes were read lately: who wrote to a file since is seen without reading it."""
    verdict = Verdict()
    try:
        verdict.add("environment", slug.environment, context.slugs.environment_faults(slug.environment, look))
        verdict.add("code", slug.code, context.slugs.code_faults(app, slug.code), app)
    finally:
        look.close()
    return asdict(verdict)


def _layers(app: str, slug: Slug) -> tuple[str, str]:
    return slug.environment, code_key(app, slug.code)


def tell(context: Context, who: str, damaged: Iterable[dict[str, Any]], output: Output) -> None:
    """Show and record what was found to be damaged."""
    for entry in damaged:
        name = entry["name"] if entry["layer"] == "package" else entry["name"][:12]
        more = f", and {len(entry['faults']) - 1} more" if len(entry["faults"]) > 1 else ""
        output.warn(f"{entry['layer']} {name} is damaged: {ascii(entry['faults'][0])[1:-1]}{more}")
        with context.store.write() as session:
            data = {"layer": entry["layer"], "name": entry["name"], "faults": entry["faults"][:3]}
            events.append(session, "layer-damaged", app=entry["app"], who=who, data=data)


class Reading:
    """A slug's layers, read or looked at by a program beside this one: an instance may boot meanwhile."""

    def __init__(
        self, context: Context, slug: Slug, source: Source, output: Output, verdict: Future[dict[str, Any]]
    ) -> None:
        self._context, self._slug, self._source, self._output = context, slug, source, output
        self._verdict: Future[dict[str, Any]] | None = verdict  # None: there is nothing to wait for any more

    def mended(self) -> bool:
        """Wait until all is read, and have what is damaged built again; returns whether anything was.

        Raises what :func:`require_whole` does; then nothing is to be started from that slug.
        """
        verdict, self._verdict = self._verdict, None
        damaged = verdict.result()["damaged"] if verdict else []
        if not damaged:
            return False
        tell(self._context, self._source.who, damaged, self._output)
        return require_whole(self._context, self._slug, self._source, self._output)

    def started(self, start: Start, stop: Callable[[], None]) -> None:
        """Have ``start`` done with whole layers: it is begun at once, and again when they turn out to be damaged.

        What it says of a failure is shown unless that is so: then it was begun for nothing.
        """
        crash: DaeError | None = None
        held = list[str]()
        try:
            start(held.append, self._require_undamaged)
        except DaeError as error:
            crash = error
        if self._damaged():
            stop()
            self.mended()
            start(self._output.detail, _nothing)
            return
        for line in held:
            self._output.detail(line)
        if crash is not None:
            raise crash

    def _require_undamaged(self) -> None:
        if self._verdict is not None and self._verdict.done() and self._damaged():
            raise DaeError("slug/damaged", f"slug {self._slug.digest[:12]} is damaged", "push the commit again")

    def _damaged(self) -> bool:
        """Waits until all is read."""
        return self._verdict is not None and bool(self._verdict.result()["damaged"])


def _nothing() -> None:
    """What is whole is started to its end."""


@contextmanager
def reading(context: Context, slug: Slug, source: Source, output: Output, *, again: bool = True) -> Iterator[Reading]:
    """Begin to read; it ends with the block, done or not. The caller holds the store (:meth:`SlugStore.in_use`).

    ``source``: what the slug is built of, should it be damaged. ``again``: also when it is large and was read lately:
    otherwise each file of such a one is only looked at.
    """
    recent = not again and context.reads.recent(_layers(source.app, slug))
    left = False

    def check() -> None:
        output.check()
        if left:
            raise DaeError("push/cancelled", "nobody waits for the reading any more", "")

    with ThreadPoolExecutor(1) as pool:
        if recent:
            look = Look(context.home.environment(slug.environment))
            verdict = pool.submit(_looked_at, context, source.app, slug, look)
        else:
            quiet = Output(lambda _line: None, check)  # whoever streams the output shows signs of life
            verdict = pool.submit(read, context, [(source.app, slug)], quiet, patient=False)
        try:
            yield Reading(context, slug, source, output, verdict)
        finally:
            left = True
