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
from router.quoting import check_home, word

HOME = Home(Path("/h"))
SETTINGS = Settings(home=Path("/h"), domain="apps.example")
ROUTE = Route("", "blog", Stage.DEV, 3, index=2, code="c" * 40)


def routes_of(*routes: Route) -> str:
    return render(routes, SETTINGS, HOME, "7", root=True)["routes.conf"]


def test_a_route_is_a_line_in_each_map() -> None:
    """Host to upstream, release, app, stage and code; the upstream is the instance's socket."""
    text = routes_of(ROUTE)
    assert '"blog.dev.apps.example" "blog.dev.v3.web.2";' in text
    assert '"blog.dev.apps.example" "v3";' in text
    assert f'"blog.dev.apps.example" "/h/layers/code/blog/{"c" * 40}";' in text
    assert "server unix:/h/run/a/blog/dev-v3.2.s max_fails=0;" in text


def test_a_port_and_a_host_of_its_own() -> None:
    """A route may name its host, and a port of this machine."""
    text = routes_of(dataclasses.replace(ROUTE, host="www.example.org", port=5001))
    assert '"www.example.org" "blog.dev.v3.web.2";' in text
    assert "server 127.0.0.1:5001 max_fails=0;" in text


def test_other_stages_are_known_to_be_empty() -> None:
    """The app's other hosts have an app and a stage, but no upstream."""
    text = routes_of(ROUTE)
    assert text.count('"blog.beta.apps.example"') == text.count('"blog.apps.example"') == 2
    assert "upstream blog.beta" not in text


def test_two_routes_of_one_host() -> None:
    """It is not chosen between them."""
    with pytest.raises(DaeError, match="router/invalid"):
        routes_of(ROUTE, dataclasses.replace(ROUTE, release=4))


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
def test_hostile_routes(change: dict[str, object]) -> None:
    """A route with a wrong name renders nothing."""
    with pytest.raises(DaeError):
        routes_of(dataclasses.replace(ROUTE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/a b", "/a;b", "/a$b", "/ä", '/a"b', "/a\nb"])
def test_homes_that_cannot_be(path: str) -> None:
    """A home with other letters is a wrong setting."""
    with pytest.raises(DaeError, match="settings/invalid"):
        check_home(Home(Path(path)))


def test_root_and_plain_users_differ_in_one_line() -> None:
    """Only root names the workers' account."""
    by_root, plain = (render([ROUTE], SETTINGS, HOME, "7", root=root) for root in (True, False))
    gone = set(by_root["nginx.conf"].splitlines()) - set(plain["nginx.conf"].splitlines())
    assert gone == {f"user {SETTINGS.account}_www;"}
    assert {name for name in by_root if by_root[name] != plain[name]} == {"nginx.conf"}


def test_nothing_is_left_to_fill() -> None:
    """Every hole of the templates is filled; the same input gives the same text."""
    files = render([ROUTE], SETTINGS, HOME, "7", root=True)
    for name in ("nginx.conf", "platform.conf", "apps.conf", "routes.conf"):
        assert "@" not in files[name].replace("@away", "").replace("@api_away", "").replace("@dead", "").replace(
            "@mirror", ""
        )
    assert files == render([ROUTE], SETTINGS, HOME, "7", root=True)


def test_addresses_of_version_6() -> None:
    """They stand in brackets, as nginx wants them."""
    files = render([], dataclasses.replace(SETTINGS, listen="::1"), HOME, "7", root=True)
    assert "listen [::1]:8080 default_server;" in files["apps.conf"]
    assert "listen [::1]:8080;" in files["platform.conf"]
