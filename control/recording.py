"""The record of builds: a number, a log and events for each, and what earlier ones of a commit or an app made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from control import history, packs
from control.context import Context
from control.output import Output
from core import events
from core.errors import DaeError, no_room
from core.nouns import Slug, now
from core.store import BuildRow

Fact = tuple[str, dict[str, Any]]  # an event's kind and data


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be built: a commit of an app's repository, whose objects may still be in quarantine."""

    app: str
    commit: str
    who: str
    quarantine: Path | None = None
    #: Whether files may be links to those of the app's last build; not where bytes on this disk are in doubt.
    sharing: bool = True
    #: The stage that it is built for, whose view of the index is asked; empty: the default view.
    stage: str = ""


def find_slug(context: Context, app: str, commit: str) -> Slug | None:
    """The slug that a commit was built into, if its layers are still there."""
    query = (
        sa.select(BuildRow.slug)
        .where(BuildRow.app == app, BuildRow.commit == commit, BuildRow.state == "succeeded")
        .order_by(BuildRow.id.desc())
        .limit(1)
    )
    with context.store.read() as session:
        digest = session.scalar(query)
    if digest is None:
        return None
    try:
        slug = context.slugs.load(digest)
        context.slugs.verify(slug, app)
        if not packs.unchanged(context, slug.buildpack):
            return None  # another version of it built this, and the present one might build it otherwise
    except DaeError:
        return None  # gone or damaged: it is built again
    return slug


def slug_before(context: Context, app: str, number: int) -> Slug | None:
    """What the app's last build that succeeded before build ``number`` made."""
    query = (
        sa.select(BuildRow.slug)
        .where(BuildRow.app == app, BuildRow.id < number, BuildRow.state == "succeeded")
        .order_by(BuildRow.id.desc())
        .limit(1)
    )
    with context.store.read() as session:
        digest = session.scalar(query)
    try:
        return context.slugs.load(digest) if digest else None
    except DaeError:
        return None  # it is kept no more: nothing to compare with, or to take over


def recorded(
    context: Context, source: Source, output: Output, make: Callable[[int, Output], Slug], fact: Fact | None = None
) -> Slug:
    """Have ``make`` bring about the slug of a commit, with the record, number and log of a build; returns that slug.

    ``fact``: an event that comes true with it.
    """
    with _begun(context, source) as number:
        try:
            slug = _logged(context, number, output, make)
        except BaseException as error:
            told = error if isinstance(error, DaeError) else no_room(error)
            _finish(context, source, number, error=told.code if told else "platform/internal")
            raise
        _finish(context, source, number, slug=slug.digest, fact=fact)
    history.forget_logs(context, source.app)
    return slug


def _logged(context: Context, number: int, output: Output, make: Callable[[int, Output], Slug]) -> Slug:
    path = context.home.build_log(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", errors="backslashreplace") as log:
        teed = output.teed(lambda line: print(line, file=log, flush=True))
        try:
            return make(number, teed)
        except BaseException as error:
            with suppress(OSError):  # of a full disk, which may be the error that is told
                print(error.lines() if isinstance(error, DaeError) else f" !     {error}", file=log, flush=True)
            raise


@contextmanager
def _begun(context: Context, source: Source) -> Iterator[int]:
    """The number of a new build, which counts as running for as long as the block does, whatever can be written."""
    number = 0
    try:
        with context.store.write() as session:
            row = BuildRow(
                app=source.app, commit=source.commit, who=source.who, state="running", slug="", error="", created=now()
            )
            session.add(row)
            session.flush()
            number = row.id
            context.building.add(number)  # before anybody else can see the record
            data = {"build": number, "commit": source.commit}
            events.append(session, "build-started", app=source.app, who=source.who, data=data)
        yield number
    finally:
        context.building.discard(number)


def _finish(
    context: Context, source: Source, number: int, slug: str = "", error: str = "", fact: Fact | None = None
) -> None:
    with context.store.write() as session:
        row = session.get_one(BuildRow, number)
        row.state, row.slug, row.error, row.finished = ("failed" if error else "succeeded"), slug, error, now()
        data: dict[str, Any] = {"build": number, "commit": source.commit, "slug": slug, "error": error}
        events.append(session, f"build-{row.state}", app=source.app, who=source.who, data=data)
        if fact is not None:
            kind, data = fact
            events.append(session, kind, app=source.app, who=source.who, data=data)
