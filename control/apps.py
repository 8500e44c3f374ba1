"""Apps: made, listed, renamed, destroyed. The two last end in folder work that recovery repeats until it is done."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from control import history, packs, releases
from control.accounts import Identity
from control.context import Context
from control.locks import app_lock
from control.output import Output
from control.plan import Plan, Step
from core import events
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import App, Instance, ProcessType, ReleaseState, Stage, app_name, now
from core.store import AppRow, ConfigRow, GateRow
from hooks import endpoints
from receiver.repository import Repository

#: Journals of unfinished folder work, keys of coord: DESTROYING/NAME (empty), RENAMING/NEW-NAME (the former name).
DESTROYING = "unfinished/destroy"
RENAMING = "unfinished/rename"


def create(context: Context, name: str, identity: Identity) -> App:
    """Make an app and its repository; raises ``app/bad-name`` or ``app/exists``."""
    app_name(name)
    with app_lock(context, name, f"its creation by {identity.name}", Output(lambda _line: None)):
        if context.coord.get(f"{DESTROYING}/{name}") is not None:
            raise DaeError("app/busy", f"the former {name} is still being removed", "try again in a moment")
        _require_free(context, name)
        repository = Repository(context.home, name)
        if not repository.exists:
            repository.create()
        created = now()
        with context.store.write() as session:
            row = session.get(AppRow, name)
            if row is None:
                session.add(AppRow(name=name, owner=identity.name, next_release=1, destroyed=False, created=created))
            else:
                row.owner, row.destroyed, row.created = identity.name, False, created
            session.flush()
            events.append(session, "app-created", app=name, who=identity.name)
    return App(name, identity.name, created)


def _require_free(context: Context, name: str) -> None:
    with context.store.read() as session:
        row = session.get(AppRow, name)
    if row is not None and not row.destroyed:
        raise DaeError("app/exists", f"there is an app {name} already", f"see: dae info -a {name}")


def visible(context: Context, identity: Identity) -> list[App]:
    """The apps that a user may work on, by name."""
    query = sa.select(AppRow).where(AppRow.destroyed.is_(False)).order_by(AppRow.name)
    if not identity.admin:
        query = query.where(AppRow.owner == identity.name)
    with context.store.read() as session:
        return [App(row.name, row.owner, row.created) for row in session.scalars(query)]


def describe(context: Context, app: App) -> dict[str, Any]:
    """An app as the API tells of it, with what is live in each stage."""
    settings = context.settings
    stages: dict[str, Any] = {str(stage): None for stage in Stage}
    for (_, stage), release in releases.live(context.store, app.name).items():
        stages[stage] = {
            "release": release.name,
            "number": release.number,
            "slug": release.slug,
            "commit": release.commit,
            "url": settings.app_url(app.name, stage),
            "who": release.who,
            "created": release.created.isoformat(),
        }
    return {
        "name": app.name,
        "owner": app.owner,
        "created": app.created.isoformat(),
        "url": settings.app_url(app.name, "stable"),
        "git": f"{settings.url}/git/{app.name}.git",
        "stages": stages,
    }


def destroy(
    context: Context, app: str, confirm: str, identity: Identity, output: Output, *, dry_run: bool = False
) -> dict[str, Any]:
    """Stop and remove an app with everything that it has; its releases stay in the record. Raises ``app/confirm``."""
    if confirm != app and not dry_run:
        raise DaeError("app/confirm", f"destroying {app} cannot be undone", f"type: dae destroy {app} --confirm {app}")
    plan = Plan(
        before=[],
        commit=Step(f"{app} is destroyed in the record", lambda _output: _mark_destroyed(context, app, identity)),
        after=[
            Step("take its routes away", lambda _output: context.node.route()),
            Step("stop its instances", lambda _output: context.node.reconcile()),
            Step(
                "remove its repository, code, config, logs, data and UNIX account",
                lambda _output: finish_destroying(context, app),
            ),
        ],
    )
    if dry_run:
        return {"plan": plan.texts()}
    with app_lock(context, app, f"its destruction by {identity.name}", output) as output:
        output.step(f"Destroying {app}")
        plan.run(output)
    output.done(f"{app} is destroyed")
    return {"app": app}


def _mark_destroyed(context: Context, app: str, identity: Identity) -> None:
    # First: an entry for an app that is not destroyed is dropped by recovery.
    context.coord.put(f"{DESTROYING}/{app}", "")
    with context.store.write() as session:
        for release in releases.live(context.store, app).values():
            releases.settle(session, release, ReleaseState.SUPERSEDED)
        session.get_one(AppRow, app).destroyed = True
        session.execute(sa.delete(ConfigRow).where(ConfigRow.app == app))
        session.execute(sa.delete(GateRow).where(GateRow.app == app))
        events.append(session, "app-destroyed", app=app, who=identity.name)
        endpoints.retire_app(session, app)


def finish_destroying(context: Context, app: str) -> None:
    """Remove what a destroyed app leaves on disk; may be repeated at any time."""
    repository = Repository(context.home, app)
    if repository.exists:
        repository.destroy()
    context.slugs.remove_app(app)
    remove_tree(context.home.release(app, 1).parent)
    packs.forget(context, app)
    history.forget_logs(context, app, 0)
    context.node.agent.remove_app(app)
    context.coord.delete(f"{DESTROYING}/{app}")


def rename(
    context: Context, app: str, to: str, identity: Identity, output: Output, *, dry_run: bool = False
) -> dict[str, Any]:
    """Give an app another name: repository, code, data and history move along; it is away while they do.

    Raises ``app/bad-name`` or ``app/exists``.
    """
    app_name(to)
    _require_unused(context, to)
    plan = Plan(
        before=[Step(f"stop {app}", lambda _output: _stop_all(context, app), lambda _code: context.node.reconcile())],
        commit=Step(f"{app} is {to} in the record", lambda _output: _mark_renamed(context, app, to, identity)),
        after=[
            Step(
                f"move the repository, code, config and data to {to}",
                lambda _output: finish_renaming(context, app, to),
            ),
            Step(f"start {to}, wait until it answers", lambda output: _start_all(context, to, output)),
            Step("route its new hosts", lambda _output: context.node.route()),
            Step("note what should run on this node", lambda _output: context.node.reconcile()),
        ],
    )
    if dry_run:
        return {"plan": plan.texts()}
    waiting = f"its renaming by {identity.name}"
    with app_lock(context, app, waiting, output) as first, app_lock(context, to, waiting, first) as output:
        _require_unused(context, to)
        output.step(f"Renaming {app} to {to}")
        with context.slugs.in_use(output.check):  # while code is on its way from one name to the other
            plan.run(output)
    output.done(f"{app} is {to} now: {context.settings.app_url(to, 'stable')}")
    return {"app": to, "git": f"{context.settings.url}/git/{to}.git"}


def _require_unused(context: Context, name: str) -> None:
    """A name that another app ever had keeps that app's record."""
    with context.store.read() as session:
        if session.get(AppRow, name) is not None:
            raise DaeError("app/exists", f"the name {name} is or was another app's", "choose another name")


def _stop_all(context: Context, app: str) -> None:
    stopping: list[Instance] = []
    for release in releases.live(context.store, app).values():
        for kind in (ProcessType.WEB, ProcessType.WORKER):
            stopping += context.node.instances(release, kind)
    context.node.stop(stopping, context.settings.drain_timeout)


def _start_all(context: Context, app: str, output: Output) -> None:
    for release in releases.live(context.store, app).values():
        try:
            for kind in (ProcessType.WEB, ProcessType.WORKER):
                for instance in context.node.instances(release, kind):
                    context.node.start(instance, output.detail)
        finally:
            context.node.forget(release)


def _mark_renamed(context: Context, app: str, to: str, identity: Identity) -> None:
    context.coord.put(f"{RENAMING}/{to}", app)
    with context.store.write() as session:
        # Foreign keys cascade (first migration); the rows of releases and events keep everything but the name.
        session.execute(sa.update(AppRow).where(AppRow.name == app).values(name=to))
        endpoints.rename_app(session, app, to)
        events.append(session, "app-renamed", app=to, who=identity.name, data={"from": app})


def finish_renaming(context: Context, app: str, to: str) -> None:
    """Move what is on disk under the old name; may be repeated at any time."""
    old = Repository(context.home, app)
    if old.exists:
        old.rename(to)
    releases.rename_files(context.home, app, to)
    packs.rename(context, app, to)
    context.node.agent.rename_app(app, to)
    context.coord.delete(f"{RENAMING}/{to}")
