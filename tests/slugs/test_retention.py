"""Which slugs a stage keeps."""

from __future__ import annotations

import datetime

import pytest

from core.nouns import Action, Release, ReleaseState, Stage
from slugs.retention import Policy, kept

NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
S, L, F, T = ReleaseState.SUPERSEDED, ReleaseState.LIVE, ReleaseState.FAILED, ReleaseState.STARTING


def releases(*states: tuple[str, ReleaseState]) -> list[Release]:
    """Releases of the slugs named, newest first, one a day."""
    return [
        Release(
            app="blog", number=len(states) - index, stage=Stage.DEV, slug=slug, commit="c" * 40, action=Action.DEPLOY,
            source=None, who="ann", state=state, created=NOW - datetime.timedelta(days=index),
        )
        for index, (slug, state) in enumerate(states)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("history", "policy", "keep"),
    [
        ([], Policy(1), ""),
        ([("a", L), ("b", S), ("c", S)], Policy(2), "ab"),
        ([("a", L), ("b", S), ("c", S)], Policy(0), "abc"),
        ([("a", L), ("b", S), ("c", S)], Policy(0, days=1), "ab"),
        ([("a", L), ("b", S), ("c", S)], Policy(0, size=20), "ab"),
        ([("a", L), ("b", S), ("c", S)], Policy(0, size=1), "a"),
        ([("a", L), ("b", S), ("c", S)], Policy(1, days=1, size=1), "a"),
        # The same slug again and again counts once; what never went live keeps nothing.
        ([("a", L), ("a", S), ("b", S), ("b", S), ("c", S)], Policy(2), "ab"),
        ([("x", F), ("a", L), ("y", F), ("b", S)], Policy(2), "ab"),
        # What starts is kept beside what is live.
        ([("a", T), ("b", L), ("c", S)], Policy(1), "ab"),
        ([("a", S), ("b", S)], Policy(1), "a"),
    ],
)
def test_what_is_kept(history: list[tuple[str, ReleaseState]], policy: Policy, keep: str) -> None:
    """By count, age and bytes; ten bytes each."""
    assert kept(releases(*history), None, policy, NOW, lambda _slug: 10) == set(keep)


def test_what_one_goes_back_to_is_kept() -> None:
    """Whatever the policy says: the next rollback must not fail."""
    history = releases(("a", L), ("b", S), ("c", S), ("d", S))
    assert kept(history, history[2], Policy(1, days=1, size=1), NOW, lambda _slug: 10) == {"a", "c"}
