"""What control does when it starts: half-done work is taken back or completed, and the node made to match the store."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from control import apps, index_events, mirror_moving, releases
from control.context import Context
from control.locks import lock_name
from core import events
from core.errors import DaeError, no_room
from core.files import remove_tree
from core.nouns import ReleaseState, now
from core.store import AppRow, BuildRow, ReleaseRow
from pypi_mirror.store import Store as MirrorStore
from slugs import signing

log = logging.getLogger("dae.control")

SECONDS_BETWEEN_TRIES = 0.5
SECONDS_BETWEEN_CHECKS = 30
SECONDS_OF_A_FULL_DISK = 3


def settle_interrupted(context: Context) -> None:
    """Before anything is served: whoever ran these builds and releases is dead, for control is one process."""
    context.slugs.sweep()
    signing.sweep(context.home.signing_key)
    for kind in ("verification", "export", "import"):
        for folder in context.home.builds.glob(f"{kind}-*"):
            remove_tree(folder)
    mirror_moving.sweep(context)
    index_events.tell_all(context.store, MirrorStore(context.home))
    settle_left(context, lambda _app: True)


def settle_left(context: Context, is_idle: Callable[[str], bool]) -> None:
    """Say of builds and releases that nobody is at work on that they failed.

    A dead predecessor left them, or a workflow whose last word found no room in the database.
    """
    running = sa.select(BuildRow).where(BuildRow.state == "running")
    starting = sa.select(ReleaseRow).where(ReleaseRow.state == ReleaseState.STARTING)
    with context.store.read() as session:
        numbers = {build.id for build in session.scalars(running)} - context.building
        rows = [(row.app, row.number) for row in session.scalars(starting)]
    # Whoever makes a release holds the app's lock until it is settled, and these were there before the lock was free.
    left = [(app, number) for app, number in rows if is_idle(app)]
    if not numbers and not left:
        return
    with context.store.write() as session:
        session.execute(sa.delete(BuildRow).where(BuildRow.commit == "", BuildRow.id.in_(numbers)))  # control.account
        for build in session.scalars(running.where(BuildRow.id.in_(numbers))):
            build.state, build.error, build.finished = "failed", "push/interrupted", now()
            data = {"build": build.id, "commit": build.commit, "slug": "", "error": build.error}
            events.append(session, "build-failed", app=build.app, who=build.who, data=data)
        for row in session.scalars(starting).all():
            if (row.app, row.number) in left:
                releases.settle(session, releases.as_release(row), ReleaseState.FAILED, "push/interrupted")


def start(context: Context) -> None:
    """Keep the node matched to the store, in the background."""
    threading.Thread(target=_keep_matched, args=(context,), daemon=True).start()


def _keep_matched(context: Context) -> None:
    """At once, then now and then, and soon after the agent went away in the middle of something."""
    told = False
    while True:
        context.node.disturbed.clear()
        pause = SECONDS_BETWEEN_CHECKS
        try:
            _finish(context)
            context.node.route()
            outcome = context.node.reconcile()
            if not told:
                with context.store.write() as session:
                    events.append(session, "platform-started")
                told = True
            if any(outcome.values()):
                log.warning("reconciled: %s", json.dumps(outcome))
        except Exception as error:
            full = no_room(error)
            if full is not None:
                log.warning("the node does not match the store yet: %s", full.line())
                pause = SECONDS_OF_A_FULL_DISK
            elif isinstance(error, DaeError):
                log.warning("the node does not match the store yet: %s", error.line())
                context.node.disturbed.set()
            else:
                log.exception("reconciling failed in a way it should not")
        context.node.disturbed.wait(pause)
        time.sleep(SECONDS_BETWEEN_TRIES)


def _finish(context: Context) -> None:
    """Complete what was committed but not tidied up, and remove the work folders of dead builds."""
    settle_left(context, partial(_is_idle, context))
    for entry in context.coord.list(apps.DESTROYING):
        name = entry.key.removeprefix(apps.DESTROYING + "/")
        if _is_idle(context, name):
            row = _app(context, name)
            if row is not None and row.destroyed:
                _complete(entry.key, partial(apps.finish_destroying, context, name))
            else:
                context.coord.delete(entry.key)
    for entry in context.coord.list(apps.RENAMING):
        name = entry.key.removeprefix(apps.RENAMING + "/")
        if _is_idle(context, name):
            if _app(context, name) is not None:
                with context.slugs.in_use():
                    _complete(entry.key, partial(apps.finish_renaming, context, entry.value, name))
            else:
                context.coord.delete(entry.key)
    with context.store.read() as session:
        running = {str(n) for n in session.scalars(sa.select(BuildRow.id).where(BuildRow.state == "running"))}
    for folder in context.home.builds.iterdir():
        number = folder.name.split("-")[0]
        if number.isdigit() and number not in running:
            _remove(folder)


def _complete(what: str, do: Callable[[], None]) -> None:
    """Try it; what cannot be completed stays in the journal, and keeps no other app from being started or routed."""
    try:
        do()
    except (DaeError, OSError):
        log.exception("%s is not complete yet", what)


def _is_idle(context: Context, app: str) -> bool:
    """Whether no workflow is at work on the app: it would finish by itself."""
    return context.coord.holder(lock_name(app)) is None


def _app(context: Context, name: str) -> AppRow | None:
    with context.store.read() as session:
        return session.get(AppRow, name)


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except PermissionError as error:
        # Still in the hands of a build's account: the agent takes it back when that build ends, or when it starts.
        log.warning("a dead build's folder stays for now: %s", error)
