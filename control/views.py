"""Nouns as the API tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from control import ci, history
from control.context import Context
from core.errors import DaeError
from core.nouns import App, Event, Instance, ProcessType, Release, ReleaseState, Slug, Stage
from core.store import BuildRow, DeliveryRow, HookRow, ReleaseRow

LOG_BYTES = 1 << 20


def live_line(context: Context, app: str, name: str, stage: str, slug: Slug) -> str:
    """What a person is told of a release that went live: its address, if there is something to answer at it."""
    if slug.process(ProcessType.WEB) is None:
        return f"{app} {name} is live in {stage}, without a web process"
    return f"{app} {name} is live in {stage}: {context.settings.app_url(app, stage)}"


def release(item: Release) -> dict[str, Any]:
    return {
        "app": item.app,
        "release": item.name,
        "number": item.number,
        "stage": str(item.stage),
        "slug": item.slug,
        "commit": item.commit,
        "action": str(item.action),
        "source": f"v{item.source}" if item.source else None,
        "who": item.who,
        "state": str(item.state),
        "created": item.created.isoformat(),
        "error": item.error,
    }


def _build(row: BuildRow, tests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "app": row.app,
        "commit": row.commit,
        "who": row.who,
        "state": row.state,
        "slug": row.slug,
        "error": row.error,
        "tests": tests.get(row.slug, ""),
        "created": row.created.isoformat(),
        "finished": row.finished.isoformat() if row.finished else None,
    }


def builds(context: Context, app: App) -> list[dict[str, Any]]:
    """An app's builds, newest first."""
    query = sa.select(BuildRow).where(BuildRow.app == app.name, BuildRow.created >= app.created, BuildRow.commit != "")
    with context.store.read() as session:
        tests = ci.states(session, app.name)
        return [_build(row, tests) for row in session.scalars(query.order_by(BuildRow.id.desc()).limit(history.PAGE))]


def build(context: Context, app: App, number: int) -> dict[str, Any]:
    """One build with the end of its log; raises ``input/unknown-path`` when the app has no such build."""
    with context.store.read() as session:
        row, tests = session.get(BuildRow, number), ci.states(session, app.name)
    if row is None or row.app != app.name or row.created < app.created or not row.commit:
        raise DaeError("input/unknown-path", f"{app.name} has no build {number}", f"see: dae builds -a {app.name}")
    path = context.home.build_log(number)
    text = path.read_bytes()[-LOG_BYTES:].decode(errors="replace") if path.exists() else ""
    return {**_build(row, tests), "log": text}


def instances(context: Context, app: App, stage: Stage | None) -> list[dict[str, Any]]:
    """The running instances of an app, as the node's agent sees them."""
    rows = []
    for found in context.node.agent.instances():
        instance = Instance.from_key(found["key"])
        if instance.app == app.name and stage in (None, instance.stage):
            rows.append(
                {
                    "instance": instance.key,
                    "app": instance.app,
                    "stage": str(instance.stage),
                    "release": f"v{instance.release}",
                    "process": instance.process,
                    "pid": found["pid"],
                    "state": found["state"],
                    "since": datetime.fromtimestamp(found["since"], UTC).isoformat(),
                }
            )
    return sorted(rows, key=lambda row: str(row["instance"]))


def event(item: Event) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind,
        "app": item.app,
        "stage": item.stage,
        "who": item.who,
        "data": dict(item.data),
        "created": item.created.isoformat(),
    }


def hook(row: HookRow) -> dict[str, Any]:
    return {"id": row.id, "app": row.app, "url": row.url, "created": row.created.isoformat()}


def delivery(row: DeliveryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "event": row.event,
        "state": row.state,
        "attempts": row.attempts,
        "status": row.status,
        "error": row.error,
        "due": row.due.isoformat(),
        "finished": row.finished.isoformat() if row.finished else None,
    }


def push_state(context: Context, push: str) -> dict[str, Any]:
    """How a push ended whose stream broke; raises ``input/unknown-path`` when it left no release."""
    query = sa.select(ReleaseRow).where(ReleaseRow.push == push, ReleaseRow.push != "")
    with context.store.read() as session:
        row = session.scalar(query)
    if row is None:
        raise DaeError("input/unknown-path", "no release came of that push", "push again")
    served = row.state in (ReleaseState.LIVE, ReleaseState.SUPERSEDED)
    line = live_line(context, row.app, f"v{row.number}", row.stage, context.slugs.load(row.slug)) if served else ""
    return {
        "state": "live" if served else "failed",
        "line": f"=====> {line}" if served else "",
        **({} if served else DaeError(row.error or "push/interrupted", "the release failed", "push again").to_json()),
    }


def parts(context: Context) -> list[dict[str, Any]]:
    """Whether the parts that control depends on answer."""
    found = [{"part": "control", "ok": True, "detail": "answers"}]
    try:
        context.node.agent.ping()
        found.append({"part": "agent", "ok": True, "detail": "answers"})
    except DaeError as error:
        found.append({"part": "agent", "ok": False, "detail": error.line()})
    return found
