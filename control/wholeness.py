"""Layers that are not what they were made: found before anything serves from them, and made again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from control import programs
from control.build import build
from control.context import Context
from control.output import Output
from control.recording import Source
from core import events
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import Slug
from slugs.verification import Order

VERIFY_SECONDS = 6 * 3600


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
    again = build(context, source, output)
    if again.digest != slug.digest:
        cause = f"slug {slug.digest[:12]} is damaged, and its commit now builds into another one, {again.digest[:12]}"
        raise DaeError("slug/damaged", cause, "push the commit again, and promote what is live in dev then")
    return True


def read(context: Context, slugs: Iterable[tuple[str, Slug]], output: Output, *, patient: bool) -> dict[str, Any]:
    """Read every byte of the layers of these slugs, each with its app; those that are damaged are refused from then on.

    Returns a :class:`slugs.verification.Verdict` as plain data. ``patient``: it takes only time that others leave.
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
        return programs.run("slugs.verification", work, order.to_json(), VERIFY_SECONDS, output)
    finally:
        remove_tree(work)


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
    """Every byte of a slug's layers, read by a program beside this one: an instance may boot meanwhile."""

    def __init__(
        self, context: Context, slug: Slug, source: Source, output: Output, verdict: Future[dict[str, Any]]
    ) -> None:
        self._context, self._slug, self._source, self._output = context, slug, source, output
        self._verdict: Future[dict[str, Any]] | None = verdict

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

    def started(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        """Have ``start`` done with whole layers: it is begun at once, and again when they turn out to be damaged."""
        crash: DaeError | None = None
        try:
            start()
        except DaeError as error:
            crash = error  # perhaps for want of the very bytes
        if self._damaged():
            stop()
        if self.mended():
            start()
        elif crash is not None:
            raise crash

    def _damaged(self) -> bool:
        return self._verdict is not None and bool(self._verdict.result()["damaged"])


@contextmanager
def reading(context: Context, slug: Slug, source: Source, output: Output) -> Iterator[Reading]:
    """Begin to read; it ends with the block, done or not. The caller holds the store (:meth:`SlugStore.in_use`).

    ``source``: what the slug is built of, should it be damaged.
    """
    left = False

    def check() -> None:
        output.check()
        if left:
            raise DaeError("push/cancelled", "nobody waits for the reading any more", "")

    with ThreadPoolExecutor(1) as pool:
        quiet = Output(lambda _line: None, check)  # whoever streams the output shows signs of life
        verdict = pool.submit(read, context, [(source.app, slug)], quiet, patient=False)
        try:
            yield Reading(context, slug, source, output, verdict)
        finally:
            left = True
