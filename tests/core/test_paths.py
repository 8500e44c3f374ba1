"""Paths: made from validated names only, and all of them under the home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Instance, Stage
from core.paths import SOCKET_PATH_BYTES, Home
from tests.core.test_nouns import HOSTILE

HOME = Home(Path("/var/lib/dae"))


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_make_no_path(name: str) -> None:
    """No path comes of a name that could lead elsewhere, whoever forgot to check it."""
    made: list[Callable[[], Path]] = [
        lambda: HOME.repo(name),
        lambda: HOME.code(name, "a" * 40),
        lambda: HOME.code("blog", name),
        lambda: HOME.environment(name),
        lambda: HOME.slug(name),
        lambda: HOME.release(name, 1),
        lambda: HOME.app_home(name),
        lambda: HOME.app_run(name),
        lambda: HOME.app_logs(name),
    ]
    for make in made:
        with pytest.raises(DaeError):
            make()


def test_everything_is_below_the_home() -> None:
    """Each path of a good name is inside the home, and no two are the same."""
    paths = [
        HOME.state, HOME.database, HOME.repo("blog"), HOME.code("blog", "a" * 40), HOME.environment("b" * 64),
        HOME.slug("b" * 64), HOME.release("blog", 3), HOME.app_home("blog"), HOME.app_run("blog"),
        HOME.app_logs("blog"),
        HOME.app_socket("blog", Stage.DEV, 3, 1), HOME.app_socket("blog", Stage.DEV, 3, 2), HOME.build_log(1),
        HOME.instance_log(Instance("blog", Stage.DEV, 3, "web")), HOME.socket("control"), HOME.agent_state,
    ]  # fmt: skip
    assert all(path.is_relative_to(HOME.root) and ".." not in path.parts for path in paths)
    assert len(set(paths)) == len(paths)


def test_a_home_too_deep_for_sockets() -> None:
    """A home under which the longest socket would not fit is refused, with the number of bytes too many."""
    longest = len("/run/r/" + "a" * 30 + ".stable.v99999.999.0/s")  # the way that nginx goes (router/links.py)
    assert longest > len(str(HOME.app_socket("a" * 30, Stage.STABLE, 99999, 999))) - len(str(HOME.root))
    fits = Home(Path("/" + "h" * (SOCKET_PATH_BYTES - longest - 1)))
    fits.check_lengths()
    with pytest.raises(DaeError, match="runner/path-too-long") as raised:
        Home(Path(str(fits.root) + "xx")).check_lengths()
    assert "2 bytes shorter" in raised.value.hint
