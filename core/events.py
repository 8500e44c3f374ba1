"""Events: past-tense facts, appended in the very transaction that makes them true.

The same transaction makes a delivery row for each webhook that wants the event, so that none is forgotten and none is
told of what did not happen. ``docs/events.md`` explains each kind.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from core.nouns import Event, now
from core.store import DeliveryRow, EventRow, HookRow

EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "platform-started": "the platform was started and is healthy",
        "user-created": "a user was created",
        "app-created": "an app was created",
        "app-renamed": "an app was given another name",
        "app-destroyed": "an app was destroyed",
        "push-received": "a push was received, and its branch deploys",
        "push-refused": "a push was refused, and its branch did not move",
        "build-started": "a build was started",
        "build-succeeded": "a build ended with a slug",
        "build-failed": "a build ended without a slug",
        "cache-emptied": "what an app's buildpacks kept for its next build was removed",
        "release-started": "the instances of a new release were started",
        "release-live": "a release passed its health check and took over its stage",
        "release-failed": "a release did not come up; what was live before stayed live",
        "release-superseded": "a release gave its stage to a newer one",
        "ci-started": "the tests of a slug were started",
        "ci-succeeded": "the tests of a slug passed",
        "ci-failed": "the tests of a slug did not pass",
        "gate-changed": "it was changed which stages of an app take only what has passed its tests",
        "slug-imported": "a slug was imported that another platform built",
        "package-uploaded": "a file of a private project of the index was uploaded",
        "package-yanked": "a version of a private project was yanked",
        "package-unyanked": "a version's yank was taken back",
        "package-deleted": "the files of a version of a private project, or all of them, were deleted",
        "package-marked": "a private project was given a status",
        "package-claimed": "a name of the index became private, or was given another owner",
        "package-released": "a private name of the index was given back",
        "packages-imported": "packages were imported that another platform exported",
        "key-trusted": "a platform's key was trusted: slugs and packages that it exported may be imported",
        "key-distrusted": "a platform's key was trusted no more",
        "layers-collected": "slugs, layers, packages and locks that nothing needed were removed",
        "layer-damaged": "a layer was found not to be as it was made, and is not run any more",
        "config-changed": "config variables of an app's stage were set or removed",
        "instance-restarted": "the instances of a release were replaced by fresh ones",
        "hook-created": "a webhook was created",
        "hook-removed": "a webhook was removed",
    }
)
NOTHING: Mapping[str, Any] = MappingProxyType({})


def append(
    session: orm.Session,
    kind: str,
    app: str = "",
    stage: str = "",
    who: str = "",
    data: Mapping[str, Any] = NOTHING,
    clock: Callable[[], datetime.datetime] = now,
) -> Event:
    """Append an event inside a ``Store.write`` session, with a delivery to each webhook for all apps or for this one.

    ``data`` is JSON without secrets: everybody who may see the app, and each webhook, gets it. Raises KeyError for a
    kind that is not in EVENTS: that is a defect of the caller.
    """
    EVENTS[kind]
    row = EventRow(kind=kind, app=app, stage=stage, who=who, data=dict(data), created=clock())
    session.add(row)
    session.flush()
    wanted = sa.select(HookRow.id).where(~HookRow.retired, sa.or_(HookRow.app == "", HookRow.app == app))
    for hook in session.scalars(wanted.order_by(HookRow.id)):
        session.add(DeliveryRow(hook=hook, event=row.id, state="waiting", due=row.created))
    session.flush()
    return event(row)


def list_events(session: orm.Session, app: str = "", after: int = 0, limit: int = 100) -> list[Event]:
    """The first ``limit`` events with an id above ``after``, oldest first; ``app`` empty: of all apps."""
    wanted = sa.select(EventRow).where(EventRow.id > after)
    if app:
        wanted = wanted.where(EventRow.app == app)
    return [event(row) for row in session.scalars(wanted.order_by(EventRow.id).limit(limit))]


def event(row: EventRow) -> Event:
    """The noun of a row."""
    return Event(row.id, row.kind, row.app, row.stage, row.who, row.data, row.created)
