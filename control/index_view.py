"""Which view of the index a stage has, where the operator's policy has one of its name.

Builds for the stage ask it, and what goes live there is held against it, wherever that was built.
"""

from __future__ import annotations

import functools

from buildpacks import environment_digest
from control import mirror_door
from control.context import Context
from control.output import Output
from core.errors import DaeError
from core.nouns import BRANCH_STAGES, Slug, Stage
from pypi_mirror import policy_text
from slugs.environments import Environment, EnvironmentStore

NAMED = 5  # packages that an error names


def view_of(context: Context, stage: str) -> str:
    """The stage's name when the policy in force has a view of that name; else nothing, which is the default view."""
    try:
        text = (context.home.mirror / "policy.toml").read_text()
        return stage if stage and stage in _views(text) else ""
    except (OSError, ValueError, DaeError):
        return ""  # there is no policy; and a broken one the mirror itself tells of


@functools.lru_cache(maxsize=1)
def _views(policy: str) -> frozenset[str]:
    """Each push asks twice, and hundreds of rules take ten milliseconds to read."""
    return frozenset(policy_text.parse(policy).views)


def index_url(context: Context, view: str) -> str:
    """The simple index of a view, as builds on this node ask it."""
    whole = context.settings.index_url
    return whole.removesuffix("simple/") + f"view/{view}/simple/" if view else whole


def require_let_through(context: Context, stage: Stage, slug: Slug, seconds: float = mirror_door.PATIENT) -> None:
    """Ask whether the stage's view, if there is one, still lets through what the slug is made of.

    Call it before each release but those that go back, and those of what is live. Without a view nobody is asked.

    Raises ``release/refused``, ``slug/damaged``, and ``mirror/unavailable`` when the mirror is silent for ``seconds``.
    """
    view = view_of(context, stage)
    if not view:
        return
    environment = EnvironmentStore(context.home).environment(slug.environment)
    if environment is None:
        cause = f"the manifest of the environment of slug {slug.digest[:12]} is gone, so nobody can tell what is in it"
        raise DaeError("slug/damaged", cause, "type: dae slugs verify; then push again")
    try:
        found = _refusals(context, view, environment, seconds)
    except DaeError as error:
        cause = f"{stage} takes only what its view of the index lets through, and that cannot be asked: {error.cause}"
        raise DaeError("mirror/unavailable", cause, error.hint) from error
    if found:
        named = "; ".join(one["cause"] for one in found[:NAMED])
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        branch = next(branch for branch, goal in BRANCH_STAGES.items() if goal is stage)
        advice = f"{found[0]['advice']}; a new commit that is pushed to {branch} is built of what {stage} lets through"
        raise DaeError("release/refused", f"slug {slug.digest[:12]} may not go to {stage}: {named}{more}", advice)


def warn_of_refused(context: Context, stage: Stage, slug: Slug, output: Output) -> None:
    """Tell what :func:`require_let_through` would have refused: going back is never held up."""
    try:
        require_let_through(context, stage, slug, mirror_door.SOON)
    except DaeError as error:
        output.warn(f"going back is possible all the same: {error.cause}")


def keeps(context: Context, view: str, lock: str, interpreter: str) -> bool:
    """Whether the view, if it is not the default one, lets through what the environment of a lock is made of.

    One that is not here will be made of what may come. Where the mirror cannot be asked: yes, for no release of it is
    let through then.
    """
    made = EnvironmentStore(context.home).environment(environment_digest(lock, interpreter)) if view else None
    try:
        return made is None or not _refusals(context, view, made)
    except DaeError:
        return True


def _refusals(
    context: Context, view: str, environment: Environment, seconds: float = mirror_door.PATIENT
) -> list[dict[str, str]]:
    files = [(one.name, one.filename, one.sha256) for one in environment.origins if not one.address]
    return mirror_door.refusals(context.home, view, files, seconds) if files else []
