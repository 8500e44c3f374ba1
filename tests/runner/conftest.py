from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from runner.node import Node
from tests.runner.ground import ROOT, Daemon, Ground, ground


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not ROOT:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="UNIX accounts need root"))


@pytest.fixture(scope="session")
def the_ground() -> Iterator[Ground]:
    """One home for all tests here; each test has apps of its own."""
    with ground() as made:
        yield made


@pytest.fixture
def own_ground() -> Iterator[Ground]:
    """A home for one test."""
    with ground() as made:
        yield made


@pytest.fixture(scope="session")
def daemon(the_ground: Ground) -> Iterator[Daemon]:
    """A supervisord over the common home."""
    made = Daemon(the_ground)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def node(the_ground: Ground, daemon: Daemon) -> Iterator[Node]:
    """The common home's node; nothing runs on it after the test."""
    made = the_ground.node()
    yield made
    made.stop([row["key"] for row in made.instances()], 0)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def on_line(lines: list[str]) -> Callable[[str], None]:
    return lines.append
