"""Which slugs of a stage are kept: those that run, the one to go back to, and the newest others within the policy."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.nouns import Release, ReleaseState


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is kept for each app and stage: ``count`` slugs; of ``days``; ``size`` bytes of code. 0: no bound."""

    count: int
    days: int = 0
    size: int = 0


def kept(
    releases: Iterable[Release],
    back: Release | None,
    policy: Policy,
    now: datetime.datetime,
    size: Callable[[str], int],
) -> set[str]:
    """The digests of the slugs that the releases of one app in one stage keep.

    ``releases``: newest first. ``back``: what a rollback would go back to now. What is live, starts, or is ``back`` is
    kept whatever the policy says. ``size``: the bytes of a slug's code.
    """
    history = list(releases)
    busy = (ReleaseState.LIVE, ReleaseState.STARTING)
    keep = {release.slug for release in history if release.state in busy}
    keep |= {back.slug} if back else set()
    used = sum(size(slug) for slug in keep)
    for release in history:
        if release.state is not ReleaseState.SUPERSEDED or release.slug in keep:
            continue
        used += size(release.slug)
        if (
            (policy.count and len(keep) >= policy.count)
            or (policy.days and now - release.created > datetime.timedelta(days=policy.days))
            or (policy.size and used > policy.size)
        ):
            break
        keep.add(release.slug)
    return keep
