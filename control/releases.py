"""Releases: their rows, their files, and the questions that workflows ask of them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from core import events
from core.errors import DaeError
from core.files import write_atomically
from core.nouns import TRANSITIONS, Action, ProcessType, Release, ReleaseState, Slug, Stage, now
from core.paths import Home
from core.store import AppRow, ConfigRow, ReleaseRow, Store

PORTS = range(21000, 29000)  # on the loopback address, for web commands that bind $PORT


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release that somebody wants: everything but its number."""

    app: str
    stage: Stage
    slug: Slug
    action: Action
    who: str
    config: Mapping[str, str]
    source: int | None = None
    push: str = ""
    #: Whether it was let through without the tests that its stage requires.
    untested: bool = False


def as_release(row: ReleaseRow) -> Release:
    return Release(
        app=row.app,
        number=row.number,
        stage=Stage(row.stage),
        slug=row.slug,
        commit=row.commit,
        action=Action(row.action),
        source=row.source,
        who=row.who,
        state=ReleaseState(row.state),
        created=row.created,
        error=row.error,
        index=row.index,
    )


def history(store: Store, app: str) -> list[Release]:
    """All releases of an app, newest first; those of a destroyed app that had the same name are not its own."""
    with store.read() as session:
        created = session.scalar(sa.select(AppRow.created).where(AppRow.name == app))
        rows = sa.select(ReleaseRow).where(ReleaseRow.app == app, ReleaseRow.created >= created)
        return [as_release(row) for row in session.scalars(rows.order_by(ReleaseRow.number.desc()))]


def live(store: Store, app: str | None = None) -> dict[tuple[str, Stage], Release]:
    """The live release of each stage that has one."""
    query = sa.select(ReleaseRow).where(ReleaseRow.state == ReleaseState.LIVE)
    if app is not None:
        query = query.where(ReleaseRow.app == app)
    with store.read() as session:
        return {(row.app, Stage(row.stage)): as_release(row) for row in session.scalars(query)}


def require_live(store: Store, app: str, stage: Stage) -> Release:
    """The live release of a stage; raises ``release/nothing-live``."""
    found = live(store, app).get((app, stage))
    if found is None:
        raise DaeError("release/nothing-live", f"{app} has no release in {stage}", f"see: dae releases -a {app}")
    return found


def config_of(store: Store, app: str, stage: Stage) -> dict[str, str]:
    """The wanted config of a stage."""
    query = sa.select(ConfigRow).where(ConfigRow.app == app, ConfigRow.stage == stage).order_by(ConfigRow.key)
    with store.read() as session:
        return {row.key: row.value for row in session.scalars(query)}


def write_config(session: orm.Session, app: str, stage: Stage, config: Mapping[str, str]) -> None:
    """Make ``config`` the wanted config of a stage, within the caller's transaction."""
    session.execute(sa.delete(ConfigRow).where(ConfigRow.app == app, ConfigRow.stage == stage))
    session.add_all(ConfigRow(app=app, stage=stage, key=key, value=value) for key, value in config.items())


def next_number(store: Store, app: str) -> int:
    """The number that the next release of the app gets."""
    with store.read() as session:
        number = session.scalar(sa.select(AppRow.next_release).where(AppRow.name == app))
    if number is None:
        raise DaeError("app/unknown", f"there is no app {app}", "see: dae apps")
    return number


def record(store: Store, home: Home, wanted: Wanted) -> Release:
    """Write the release's row (``starting``) and its file; the caller holds the app's lock."""
    with store.write() as session:
        app = session.get_one(AppRow, wanted.app)
        row = ReleaseRow(
            app=wanted.app,
            number=app.next_release,
            stage=wanted.stage,
            slug=wanted.slug.digest,
            commit=wanted.slug.commit,
            action=wanted.action,
            source=wanted.source,
            who=wanted.who,
            state=ReleaseState.STARTING,
            error="",
            push=wanted.push,
            index=1,
            created=now(),
        )
        app.next_release += 1
        session.add(row)
        _append(session, "release-started", row, more={"untested": True} if wanted.untested else {})
        release = as_release(row)
    try:
        _write_file(store, home, release, wanted)
    except BaseException:
        fail(store, release, "platform/internal")  # or it would count as starting for as long as control runs
        raise
    return release


def settle(session: orm.Session, release: Release, state: ReleaseState, error: str = "") -> None:
    """Move a release to another state, with its event; a transition that TRANSITIONS does not have is a defect."""
    row = session.get_one(ReleaseRow, (release.app, release.number))
    if state not in TRANSITIONS[ReleaseState(row.state)]:
        raise RuntimeError(f"{release.app} {release.name} cannot go from {row.state} to {state}")
    row.state, row.error = state, error
    _append(session, f"release-{state}", row)


def fail(store: Store, release: Release, error: str) -> None:
    """Mark a release that never went live."""
    with store.write() as session:
        settle(session, release, ReleaseState.FAILED, error)


def make_live(store: Store, release: Release, config: Mapping[str, str]) -> None:
    """The commit point of every activation: this release is live, the one before it superseded, its config current."""
    with store.write() as session:
        before = session.scalars(
            sa.select(ReleaseRow).where(
                ReleaseRow.app == release.app,
                ReleaseRow.stage == release.stage,
                ReleaseRow.state == ReleaseState.LIVE,
            )
        ).all()
        for row in before:
            settle(session, as_release(row), ReleaseState.SUPERSEDED)
        settle(session, release, ReleaseState.LIVE)
        write_config(session, release.app, release.stage, config)


def set_index(store: Store, release: Release, index: int, who: str) -> None:
    """The commit point of a restart: the instances of that index serve."""
    with store.write() as session:
        row = session.get_one(ReleaseRow, (release.app, release.number))
        row.index = index
        _append(session, "instance-restarted", row, who)


def earlier(store: Store, app: str, stage: Stage, number: int | None) -> Release:
    """The release to roll back to: the named one, or the one that was live before the live one.

    A rollback is a copy: going back once more means going back from what was copied, not to what was left then.
    Raises ``release/unknown``, ``release/no-earlier`` or ``release/nothing-live``.
    """
    current = require_live(store, app, stage)
    everything = history(store, app)
    past = [r for r in everything if r.stage is stage and r.state is ReleaseState.SUPERSEDED]
    hint = f"see: dae releases -a {app}"
    if number is not None:
        chosen = next((r for r in past if r.number == number), None)
        if chosen is None:
            raise DaeError("release/unknown", f"v{number} was never live in {stage}, or is live now", hint)
        return chosen
    by_number = {release.number: release for release in everything}
    origin = current
    while origin.action is Action.ROLLBACK and origin.source in by_number:
        origin = by_number[origin.source]
    chosen = next((release for release in past if release.number < origin.number), None)
    if chosen is None:
        raise DaeError("release/no-earlier", f"{app} has no earlier release in {stage}", hint)
    return chosen


def read_file(home: Home, release: Release) -> dict[str, Any]:
    """The release's file (see ``_write_file``); raises ``release/unknown`` when it is gone."""
    try:
        data: dict[str, Any] = json.loads(home.release(release.app, release.number).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise DaeError(
            "release/unknown", f"the file of {release.app} {release.name} is gone", "deploy again"
        ) from error
    return data


def rename_files(home: Home, app: str, to: str) -> None:
    """Move the release files of an app that is renamed; may be repeated."""
    before, after = home.release(app, 1).parent, home.release(to, 1).parent
    if before.exists():
        before.rename(after)
    for path in after.glob("v*.json"):
        data = json.loads(path.read_text())
        write_atomically(path, json.dumps({**data, "app": to}, indent=1).encode())


def _write_file(store: Store, home: Home, release: Release, wanted: Wanted) -> None:
    data = {
        "app": release.app,
        "number": release.number,
        "stage": release.stage,
        "slug": release.slug,
        "config": dict(wanted.config),
        "port": _free_port(store, home) if wants_port(wanted.slug) else 0,
    }
    path = home.release(release.app, release.number)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(data, indent=1).encode())


def wants_port(slug: Slug) -> bool:
    """Whether the web command binds a TCP port itself, in the manner of the twelve-factor app.

    One that a classic buildpack is behind may read PORT without its command naming it.
    """
    web = slug.process(ProcessType.WEB)
    if web is None:
        return False
    if slug.classic and web.command:
        return True
    return re.search(r"\$PORT\b|\$\{PORT\b", web.command) is not None


def _free_port(store: Store, home: Home) -> int:
    """A loopback port that no release which runs or starts has."""
    query = sa.select(ReleaseRow).where(ReleaseRow.state.in_([ReleaseState.LIVE, ReleaseState.STARTING]))
    with store.read() as session:
        running = [as_release(row) for row in session.scalars(query)]
    taken = set()
    for release in running:
        try:
            taken.add(read_file(home, release)["port"])
        except DaeError:
            continue  # its file is the one being written
    return next(port for port in PORTS if port not in taken and _bindable(port))


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _append(
    session: orm.Session, kind: str, row: ReleaseRow, who: str = "", more: Mapping[str, Any] = events.NOTHING
) -> None:
    data = {"release": f"v{row.number}", "slug": row.slug, "commit": row.commit, "action": row.action, **more}
    if row.error:
        data["error"] = row.error
    events.append(session, kind, app=row.app, stage=row.stage, who=who or row.who, data=data)
