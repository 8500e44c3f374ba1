"""What control does when it starts: half-done work is taken back or completed, and the node made to match the store."""

from __future__ import annotations

import json
import logging
import shutil
import threading

import sqlalchemy as sa

from control import apps, releases
from control.context import Context
from core import events
from core.errors import DaeError
from core.nouns import ReleaseState, now
from core.store import AppRow, BuildRow, ReleaseRow

log = logging.getLogger("dae.control")

SECONDS_BETWEEN_TRIES = 0.5
SECONDS_BETWEEN_CHECKS = 30


def settle_interrupted(context: Context) -> None:
    """Before anything is served: whoever ran these builds and releases is dead, for control is one process."""
    with context.store.write() as session:
        for build in session.scalars(sa.select(BuildRow).where(BuildRow.state == "running")):
            build.state, build.error, build.finished = "failed", "push/interrupted", now()
            data = {"build": build.id, "commit": build.commit, "slug": "", "error": build.error}
            events.append(session, "build-failed", app=build.app, who=build.who, data=data)
        for row in session.scalars(sa.select(ReleaseRow).where(ReleaseRow.state == ReleaseState.STARTING)).all():
            releases.settle(session, releases.as_release(row), ReleaseState.FAILED, "push/interrupted")


def start(context: Context, stopping: threading.Event) -> None:
    """Keep the node matched to the store, in the background, until ``stopping`` is set."""
    threading.Thread(target=_keep_matched, args=(context, stopping), daemon=True).start()


def _keep_matched(context: Context, stopping: threading.Event) -> None:
    matched = False
    while not stopping.wait(SECONDS_BETWEEN_CHECKS if matched else SECONDS_BETWEEN_TRIES):
        try:
            if not matched:
                _finish(context)
                context.node.route()
            outcome = context.node.reconcile()
            matched = True
            if any(outcome.values()):
                log.warning("reconciled: %s", json.dumps(outcome))
        except DaeError as error:
            matched = False
            log.warning("the node does not match the store yet: %s", error.line())
        except Exception:
            matched = False
            log.exception("reconciling failed in a way it should not")


def _finish(context: Context) -> None:
    """Complete what was committed but not tidied up, and remove the work folders of dead builds."""
    for entry in context.coord.list(apps.DESTROYING):
        name = entry.key.removeprefix(apps.DESTROYING)
        with context.store.read() as session:
            row = session.get(AppRow, name)
        if row is not None and row.destroyed:
            apps.finish_destroying(context, name)
        else:
            context.coord.delete(entry.key)
    for entry in context.coord.list(apps.RENAMING):
        name = entry.key.removeprefix(apps.RENAMING)
        with context.store.read() as session:
            renamed = session.get(AppRow, name) is not None
        if renamed:
            apps.finish_renaming(context, entry.value, name)
        else:
            context.coord.delete(entry.key)
    with context.store.read() as session:
        running = {str(n) for n in session.scalars(sa.select(BuildRow.id).where(BuildRow.state == "running"))}
    for folder in context.home.builds.iterdir():
        if folder.name.split("-")[0] not in running:
            shutil.rmtree(folder)
