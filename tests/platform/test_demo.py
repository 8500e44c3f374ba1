"""``dae demo``: the main job, shown."""

from __future__ import annotations

from tests.conftest import RunningPlatform

STORY = [
    "$ git push dae master",
    "hello v1 is live in dev",
    "$ dae promote --from dev",
    "hello v2 is live in beta",
    "hello v3 is live in stable",
    "$ git push dae master",
    "hello v4 is live in dev",
    "hello v6 is live in stable",
    "$ dae rollback -s stable",
    "hello v7 is live in stable",
]


def test_the_demo_goes_the_whole_way_and_is_done_once(platform: RunningPlatform) -> None:
    """Pushed, promoted, changed, pushed, rolled back, each seen through the router; again nothing changes."""
    first = platform.dae("demo")
    assert first.returncode == 0, first.stdout + first.stderr
    told = first.stdout
    for words in STORY:
        _, found, told = told.partition(words)
        assert found, f"{words!r} does not follow in:\n{first.stdout}"
    assert b"version 1" in platform.get("hello.localhost")[2]
    assert b"version 2" in platform.get("hello.dev.localhost")[2]
    releases = platform.dae("releases", "-a", "hello", "--json").stdout
    again = platform.dae("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing changed" in again.stdout
    assert platform.dae("releases", "-a", "hello", "--json").stdout == releases
