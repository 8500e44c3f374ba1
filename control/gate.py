"""The gate before a stage: whether it takes only slugs whose tests passed.

It is the platform's setting: in the repository, whoever pushes could turn it off."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from control import ci
from control.context import Context
from core import events
from core.errors import DaeError
from core.nouns import CiState, Slug, Stage
from core.store import GateRow


def required(context: Context, app: str) -> list[Stage]:
    """The stages of an app that require tests, in the order in which releases come through."""
    with context.store.read() as session:
        found = set(session.scalars(sa.select(GateRow.stage).where(GateRow.app == app)))
    return [stage for stage in Stage if stage in found]


def require(context: Context, app: str, stages: Iterable[Stage], who: str) -> list[Stage]:
    """Have these stages of the app require tests, and no others; raises ``input/invalid``."""
    wanted = [stage for stage in Stage if stage in set(stages)]
    if Stage.DEV in wanted:
        raise DaeError("input/invalid", "tests run once a push is live in dev, not before", "name beta, stable or both")
    with context.store.write() as session:
        session.execute(sa.delete(GateRow).where(GateRow.app == app))
        session.add_all(GateRow(app=app, stage=stage) for stage in wanted)
        events.append(session, "gate-changed", app=app, who=who, data={"require": [str(stage) for stage in wanted]})
    return wanted


def require_tested(context: Context, app: str, stage: Stage, slug: Slug, *, untested: bool = False) -> bool:
    """Ask whether a slug may go live in a stage as far as its tests are concerned; call it before each such release.

    Returns whether the gate was overridden: by ``untested``, and only if it would have refused. Raises
    ``release/untested``.
    """
    if stage not in required(context, app):
        return False
    state = ci.state_of(context, app, slug.digest)
    if state is CiState.PASSED:
        return False
    if untested:
        return True
    what = f"commit {slug.commit[:12]} of {app}"
    override = f"to go without, type: dae deploy -a {app} --slug {slug.digest[:12]} -s {stage} --untested"
    if state is None and not ci.has_tests(context, app, slug):
        cause = f"{stage} takes only what has passed its tests, and the app.yaml of {what} names none"
        raise DaeError("release/untested", cause, f"write 'ci: COMMAND' into app.yaml, and push; {override}")
    see, again = f"see: dae ci -a {app}", f"dae ci run {slug.digest[:12]} -a {app}"
    how, next_step = {
        None: ("were never run", f"run them: {again}"),
        CiState.QUEUED: ("wait to be run", see),
        CiState.RUNNING: ("are being run", see),
        CiState.FAILED: ("failed", see),
    }.get(state, ("could not be run to their end", f"{see}; again: {again}"))
    cause = f"{stage} takes only what has passed its tests, and those of {what} {how}"
    raise DaeError("release/untested", cause, f"{next_step}; {override}")
