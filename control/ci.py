"""The tests of apps: runs that wait in the database, and the one worker that takes them up, one after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from buildpacks.detect import describe
from control import history
from control.account import borrowed_number
from control.context import Context
from control.output import Output
from control.testing import Outcome, Trial
from core import events
from core.errors import DaeError, no_room
from core.nouns import DIGEST, App, CiState, Slug, now
from core.store import AppRow, BuildRow, CiRow

log = logging.getLogger("dae.control")

SECONDS_BETWEEN_LOOKS = 30
LOG_BYTES = 1 << 20
_WAITING = frozenset({CiState.QUEUED, CiState.RUNNING})
#: Nobody knows whether they would pass.
_NO_ANSWER = frozenset({None, CiState.ERROR, CiState.INTERRUPTED})
_queued = threading.Event()


# --- asking for a run


def has_tests(context: Context, app: str, slug: Slug) -> bool:
    """Whether the app.yaml of a slug names tests. What is released is asked, not the commit: they may differ."""
    described = describe(context.home.code(app, slug.code))
    return described is not None and bool(described.ci.run)


def ensure(context: Context, app: str, slug: Slug, who: str) -> bool:
    """Have the slug tested if it has tests, and they never ran to an end; returns whether they wait to be run."""
    state = state_of(context, app, slug.digest)
    if state in _NO_ANSWER and has_tests(context, app, slug):
        queue(context, app, slug, who)
        return True
    return state in _WAITING


def queue(context: Context, app: str, slug: Slug, who: str) -> dict[str, Any]:
    """Have a slug tested, once more if it was before; returns the run: the one that waits already, if there is one."""
    with context.store.write() as session:
        waiting = sa.select(CiRow).where(
            CiRow.app == app, CiRow.slug == slug.digest, CiRow.state == CiState.QUEUED, CiRow.created >= _created(app)
        )
        row = session.scalar(waiting.limit(1))
        if row is None:
            row = CiRow(
                app=app, commit=slug.commit, slug=slug.digest, state=CiState.QUEUED, error="", who=who, created=now()
            )
            session.add(row)
            session.flush()
        found = view(row)
    _queued.set()
    return found


def run(context: Context, app: App, what: str, who: str) -> dict[str, Any]:
    """Queue a run of ``what``: a build's number, a commit or a slug or its beginning, or (empty) what was built last.

    Raises ``input/invalid``, and ``slug/*`` when that slug is not kept any more.
    """
    slug = context.slugs.load(_digest(context, app, what))
    context.slugs.verify(slug, app.name)
    if not has_tests(context, app.name, slug):
        cause = f"the app.yaml of commit {slug.commit[:12]} names no tests"
        raise DaeError("input/invalid", cause, "write 'ci: COMMAND' into it, commit and push")
    return queue(context, app.name, slug, who)


def _digest(context: Context, app: App, what: str) -> str:
    """The slug that ``what`` names. A build's number comes first: a commit's beginning may be all digits, too."""
    built = sa.select(BuildRow.slug, BuildRow.commit).where(
        BuildRow.app == app.name, BuildRow.created >= app.created, BuildRow.state == "succeeded"
    )
    built = built.order_by(BuildRow.id.desc())
    hint = f"see: dae builds -a {app.name}"
    if what and not DIGEST.match(what.ljust(64, "0")):
        raise DaeError("input/invalid", f"{what[:80]!a} is no commit, build or slug", hint)
    with context.store.read() as session:
        found = None
        if what.isdigit() and len(what) <= 9:
            found = session.execute(built.where(BuildRow.id == int(what))).first()
        for column in (BuildRow.commit, BuildRow.slug) if found is None else ():
            rows = session.execute(built.where(column.startswith(what))).all()
            if len({getattr(row, column.key) for row in rows}) > 1 and what:
                raise DaeError("input/invalid", f"{what} is the beginning of more than one {column.key}", hint)
            found = found or next(iter(rows), None)
    if found is None:
        cause = f"{app.name} has no build {what[:40]} with a slug" if what else f"{app.name} has no slug"
        raise DaeError("input/invalid", cause, hint)
    return str(found.slug)


# --- what came of them


def view(row: CiRow) -> dict[str, Any]:
    """A run as the API tells of it."""
    return {
        "id": row.id,
        "app": row.app,
        "commit": row.commit,
        "slug": row.slug,
        "state": str(row.state),
        "status": row.status,
        "error": row.error,
        "who": row.who,
        "created": row.created.isoformat(),
        "finished": row.finished.isoformat() if row.finished else None,
    }


def runs(context: Context, app: App) -> list[dict[str, Any]]:
    """An app's runs, newest first."""
    query = sa.select(CiRow).where(CiRow.app == app.name, CiRow.created >= app.created)
    with context.store.read() as session:
        return [view(row) for row in session.scalars(query.order_by(CiRow.id.desc()).limit(history.PAGE))]


def shown(context: Context, app: App, number: int) -> dict[str, Any]:
    """One run with the end of its log; raises ``input/unknown-path``."""
    with context.store.read() as session:
        row = session.get(CiRow, number)
    if row is None or row.app != app.name or row.created < app.created:
        cause = f"{app.name} has no run {number} of its tests"
        raise DaeError("input/unknown-path", cause, f"see: dae ci -a {app.name}")
    path = context.home.test_log(number)
    text = path.read_bytes()[-LOG_BYTES:].decode(errors="replace") if path.exists() else ""
    return {**view(row), "log": text}


def states(session: orm.Session, app: str) -> dict[str, CiState]:
    """Of each slug of the app that was tested, by its digest: ``passed`` if it ever did, else how the last run stands.

    A slug is the same bytes for good: tests that fail later on say something of themselves.
    """
    found: dict[str, CiState] = {}
    query = sa.select(CiRow.slug, CiRow.state).where(CiRow.app == app, CiRow.created >= _created(app))
    for slug, state in session.execute(query.order_by(CiRow.id)):
        if found.get(slug) is not CiState.PASSED:
            found[slug] = CiState(state)
    return found


def _created(app: str) -> sa.ScalarSelect[Any]:
    """Since when the app of that name is there: what is older was another's of the same name."""
    return sa.select(AppRow.created).where(AppRow.name == app).scalar_subquery()


def waiting(session: orm.Session) -> set[tuple[str, str]]:
    """The slugs that are to be tested or are being tested, each with its app."""
    query = sa.select(CiRow.app, CiRow.slug).where(CiRow.state.in_(_WAITING))
    return {(app, slug) for app, slug in session.execute(query)}


def state_of(context: Context, app: str, digest: str) -> CiState | None:
    """How the tests of a slug stand; None when nobody asked for them."""
    with context.store.read() as session:
        return states(session, app).get(digest)


# --- the worker


def settle_interrupted(session: orm.Session) -> None:
    """Runs that nobody makes any more, for control is one process; those that waited go on waiting."""
    for row in session.scalars(sa.select(CiRow).where(CiRow.state == CiState.RUNNING)).all():
        _settle(session, row, Outcome(CiState.INTERRUPTED, error="push/interrupted"))


def start(context: Context) -> None:
    """Take up what waits, in the background."""
    threading.Thread(target=_again_and_again, args=(context,), daemon=True).start()


def _again_and_again(context: Context) -> None:
    while True:
        _queued.clear()
        try:
            found = _next(context)
        except Exception:
            log.exception("testing failed in a way it should not")
            found = False
        if not found:
            _queued.wait(SECONDS_BETWEEN_LOOKS)


def _next(context: Context) -> bool:
    """Make the run whose turn it is; returns whether there was one."""
    row = _take(context)
    if row is None:
        return False
    outcome = _outcome(context, row)
    with context.store.write() as session:
        _settle(session, session.get_one(CiRow, row.id), outcome)
    history.forget_logs(context, row.app)
    return True


def _take(context: Context) -> CiRow | None:
    """The run whose turn it is, now running; None when none waits.

    Of the apps that wait, the one comes first whose last run is longest ago: nobody's queue is in the way of others.
    """
    with context.store.write() as session:
        settle_interrupted(session)  # there is one worker, and it is here: what came of such a run could not be written
        before = sa.select(CiRow.app, sa.func.max(CiRow.finished).label("last")).group_by(CiRow.app).subquery()
        query = sa.select(CiRow).join(AppRow, AppRow.name == CiRow.app).join(before, before.c.app == CiRow.app)
        query = query.where(CiRow.state == CiState.QUEUED, ~AppRow.destroyed, CiRow.created >= AppRow.created)
        row = session.scalar(query.order_by(before.c.last.is_not(None), before.c.last, CiRow.id).limit(1))
        if row is not None:
            row.state = CiState.RUNNING
            data = {"run": row.id, "commit": row.commit, "slug": row.slug}
            events.append(session, "ci-started", app=row.app, who=row.who, data=data)
        return row


def _settle(session: orm.Session, row: CiRow, outcome: Outcome) -> None:
    row.state, row.status, row.error, row.finished = outcome.state, outcome.status, outcome.error, now()
    data = {"run": row.id, "commit": row.commit, "slug": row.slug, "state": str(row.state)}
    if outcome.state is CiState.PASSED:
        events.append(session, "ci-succeeded", app=row.app, who=row.who, data=data)
    else:
        data |= {"status": row.status, "error": row.error}
        events.append(session, "ci-failed", app=row.app, who=row.who, data=data)


def _outcome(context: Context, row: CiRow) -> Outcome:
    """Run the tests, with a log; whatever happens, something came of it."""
    try:
        path = context.home.test_log(row.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", errors="backslashreplace") as file:  # what a build's account says may be any text
            return _logged(context, row, Output(lambda line: print(line, file=file, flush=True), _wanted(context, row)))
    except Exception as error:
        full = no_room(error)
        if full is None:
            log.exception("run %s of tests failed in a way it should not", row.id)
        return Outcome(CiState.ERROR, error=full.code if full else "platform/internal")


def _logged(context: Context, row: CiRow, output: Output) -> Outcome:
    try:
        with borrowed_number(context, row.app, row.who) as number:
            return Trial(context, row.app, row.slug, number, output).run()
    except DaeError as error:
        output.warn(error.line())
        cancelled = error.code == "push/cancelled"
        return Outcome(CiState.INTERRUPTED if cancelled else CiState.ERROR, error=error.code)


def _wanted(context: Context, row: CiRow) -> Callable[[], None]:
    """Raises ``push/cancelled`` once the app is destroyed, or has another name: what runs belongs to nobody then."""
    query = sa.select(AppRow.name).where(AppRow.name == row.app, ~AppRow.destroyed, AppRow.created <= row.created)

    def check() -> None:
        with context.store.read() as session:
            if session.scalar(query) is None:
                raise DaeError("push/cancelled", f"{row.app} is not there any more", "")

    return check
