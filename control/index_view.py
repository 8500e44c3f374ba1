"""Which view of the index a build asks: that of its stage, where the operator's policy has one of that name."""

from __future__ import annotations

from control.context import Context
from core.errors import DaeError
from pypi_mirror import policy_text


def view_of(context: Context, stage: str) -> str:
    """The stage's name when the policy in force has a view of that name; else nothing, which is the default view."""
    try:
        text = (context.home.mirror / "policy.toml").read_text()
        return stage if stage and stage in policy_text.parse(text).views else ""
    except (OSError, ValueError, DaeError):
        return ""  # there is no policy; and a broken one the mirror itself tells of


def index_url(context: Context, view: str) -> str:
    """The simple index of a view, as builds on this node ask it."""
    whole = context.settings.index_url
    return whole.removesuffix("simple/") + f"view/{view}/simple/" if view else whole
