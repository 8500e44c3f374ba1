"""The slugs of an app as the API tells of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from control import releases
from control.context import Context
from core.errors import DaeError
from core.nouns import App, ReleaseState, Slug
from core.store import BuildRow
from slugs import bill
from slugs.environments import EnvironmentStore


def slugs(context: Context, app: App) -> list[dict[str, Any]]:
    """What is kept for the app, the newest build first."""
    built = _built(context, app)
    used: dict[str, list[str]] = {}
    for release in releases.history(context.store, app.name):
        live = f" live in {release.stage}" if release.state is ReleaseState.LIVE else ""
        used.setdefault(release.slug, []).append(f"{release.name}{live}")
    rows = []
    for digest in [*built, *(digest for digest in used if digest not in built)]:
        try:
            found = context.slugs.load(digest)
        except DaeError:
            continue  # it is not kept any more
        rows.append({**_row(context, app.name, found), "built": built.get(digest), "releases": used.get(digest, [])})
    return rows


def slug(context: Context, app: App, digest: str) -> dict[str, Any]:
    """One slug with its manifest, the lock it was made of, and its software bill of materials (CycloneDX).

    Raises ``slug/unknown`` when it is none of the app's.
    """
    row = next((row for row in slugs(context, app) if row["slug"] == digest), None)
    if row is None:
        raise DaeError("slug/unknown", f"{app.name} has no slug {digest[:80]!a}", f"see: dae slugs -a {app.name}")
    found = context.slugs.load(digest)
    environment = EnvironmentStore(context.home).environment(found.environment)
    return {
        **row,
        "manifest": found.to_json(),
        "lock": environment.lock if environment else "",
        "bill": bill.of(app.name, found, environment.origins if environment else ()),
    }


def require(context: Context, app: App, digest: str) -> Slug:
    """The slug of that digest, if it is one of the app's; raises ``slug/unknown`` and ``slug/damaged``."""
    used = {release.slug for release in releases.history(context.store, app.name)}
    if digest not in used and digest not in _built(context, app):
        raise DaeError("slug/unknown", f"{app.name} has no slug {digest[:80]!a}", f"see: dae slugs -a {app.name}")
    return context.slugs.load(digest)


def _row(context: Context, app: str, found: Slug) -> dict[str, Any]:
    store = EnvironmentStore(context.home)
    try:
        context.slugs.verify(found, app)
        damage = ""
    except DaeError as error:
        damage = error.cause
    return {
        "slug": found.digest,
        "commit": found.commit,
        "code": found.code,
        "environment": found.environment,
        "interpreter": found.interpreter,
        "buildpack": found.buildpack,
        "code_bytes": context.slugs.code_size(app, found.code),
        "environment_bytes": store.size(found.environment),
        "packages": len(store.contents(found.environment)),
        "damage": damage,
    }


def _built(context: Context, app: App) -> dict[str, str]:
    """When each slug of the app was built last, newest first."""
    query = sa.select(BuildRow).where(
        BuildRow.app == app.name, BuildRow.state == "succeeded", BuildRow.created >= app.created
    )
    with context.store.read() as session:
        rows = session.scalars(query.order_by(BuildRow.id.desc()))
        found: dict[str, str] = {}
        for row in rows:
            found.setdefault(row.slug, row.created.isoformat())
    return found
