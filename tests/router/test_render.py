"""The configuration's text: what may stand in it, and that nginx accepts it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import DaeError
from core.nouns import Route, Stage
from core.paths import Home
from router import render
from router.links import Links
from router.quoting import check_home, word

HOME = Home(Path("/h"))
SETTINGS = Settings(home=Path("/h"), domain="apps.example")
ROUTE = Route("", "blog", Stage.DEV, 3, index=2, code="c" * 40)


def links_of(folder: Path, *routes: Route) -> dict[str, str]:
    home = Home(folder)
    Links(home, dataclasses.replace(SETTINGS, home=folder)).apply(routes)
    return {link.name: link.readlink().name for link in (home.live / "h").iterdir()}


def test_a_route_is_a_link(tmp_path: Path) -> None:
    """Host to release; the release's folder leads to its socket and its code; other stages are known to be empty."""
    assert links_of(tmp_path, ROUTE) == {
        "blog.dev.apps.example": "blog.dev.v3.2.0",
        "blog.beta.apps.example": "blog.beta.v0.1.0",
        "blog.apps.example": "blog.stable.v0.1.0",
    }
    folder = tmp_path / "run" / "r" / "blog.dev.v3.2.0"
    assert (folder / "s").readlink() == tmp_path / "run/a/blog/dev-v3.2.s"
    assert (folder / "code").readlink() == tmp_path / "layers/code/blog" / ("c" * 40)


def test_a_port_and_a_host_of_its_own(tmp_path: Path) -> None:
    """A route may name its host, and a port of this machine."""
    links = links_of(tmp_path, dataclasses.replace(ROUTE, host="www.example.org", port=5001))
    assert links["www.example.org"] == "blog.dev.v3.2.5001"


def test_what_is_routed_no_more(tmp_path: Path) -> None:
    """Hosts go with their routes; a release's folder stays for a while, for requests that are on their way."""
    links_of(tmp_path, ROUTE, dataclasses.replace(ROUTE, app="shop"))
    assert set(links_of(tmp_path, dataclasses.replace(ROUTE, release=4))) == {
        "blog.dev.apps.example",
        "blog.beta.apps.example",
        "blog.apps.example",
    }
    folder = tmp_path / "run" / "r" / "blog.dev.v3.2.0"
    assert folder.is_dir()


def test_what_a_killed_process_left(tmp_path: Path) -> None:
    """Half a folder and half a link are made anew."""
    live = tmp_path / "run" / "r"
    (live / ".new").mkdir(parents=True)
    (live / ".new" / "s").symlink_to("x")
    (live / "h").mkdir()
    (live / "h" / ".new").symlink_to("x")
    assert "blog.dev.apps.example" in links_of(tmp_path, ROUTE)
    assert not (live / "h" / ".new").is_symlink()


def test_two_routes_of_one_host(tmp_path: Path) -> None:
    """It is not chosen between them."""
    with pytest.raises(DaeError, match="router/invalid"):
        links_of(tmp_path, ROUTE, dataclasses.replace(ROUTE, release=4))


@pytest.mark.parametrize(
    "value", ["", "a b", "a;b", "a{", "$host", 'a"b', "a'b", "a\\b", "a\nb", "a#b", "ä", "a*", "${x}", "a\0"]
)
def test_words_that_could_be_read_as_more(value: str) -> None:
    """Nothing but the allow-list stands in the configuration."""
    with pytest.raises(DaeError, match="router/invalid"):
        word(value)


@pytest.mark.parametrize(
    "change",
    [
        {"host": "x; return 200"},
        {"host": 'a" "b'},
        {"app": "../x"},
        {"code": "../../etc"},
        {"release": -1},
        {"index": 0},
    ],
)
def test_hostile_routes(tmp_path: Path, change: dict[str, object]) -> None:
    """A route with a wrong name links nothing."""
    with pytest.raises(DaeError):
        links_of(tmp_path, dataclasses.replace(ROUTE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/a b", "/a;b", "/a$b", "/ä", '/a"b', "/a\nb"])
def test_homes_that_cannot_be(path: str) -> None:
    """A home with other letters is a wrong setting."""
    with pytest.raises(DaeError, match="settings/invalid"):
        check_home(Home(Path(path)))


def test_root_and_plain_users_differ_in_one_line() -> None:
    """Only root names the workers' account."""
    by_root, plain = (render(SETTINGS, HOME, "7", root=root) for root in (True, False))
    gone = set(by_root["nginx.conf"].splitlines()) - set(plain["nginx.conf"].splitlines())
    assert gone == {f"user {SETTINGS.account}_www;"}
    assert {name for name in by_root if by_root[name] != plain[name]} == {"nginx.conf"}


def test_nothing_is_left_to_fill() -> None:
    """Every hole of the templates is filled; the same input gives the same text."""
    files = render(SETTINGS, HOME, "7", root=True)
    for name in ("nginx.conf", "platform.conf", "apps.conf"):
        assert "@" not in files[name].replace("@away", "").replace("@api_away", "").replace("@dead", "").replace(
            "@mirror", ""
        )
    assert files == render(SETTINGS, HOME, "7", root=True)


def test_addresses_of_version_6() -> None:
    """They stand in brackets, as nginx wants them."""
    files = render(dataclasses.replace(SETTINGS, listen="::1"), HOME, "7", root=True)
    assert "listen [::1]:8080 default_server;" in files["apps.conf"]
    assert "listen [::1]:8080;" in files["platform.conf"]
