"""Handlers: the first whose url matches the whole path answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from dae.runtime import predefined, wsgi
from tests.sdk.test_static import ask


def named(name: str) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [name.encode()]

    return app


@pytest.mark.parametrize(
    "path, answer",
    [
        ("/api/x", b"api"),
        ("/api/", b"api"),
        ("/api", b"rest"),
        ("/apis/x", b"rest"),
        ("/", b"rest"),
        ("", b"rest"),
        ("/exact", b"exact"),
        ("/exact/", b"rest"),
        ("/ü/1", b"umlaut"),
    ],
)
def test_the_first_whole_match_answers(path: str, answer: bytes) -> None:
    """Order decides; a pattern must match from the first letter to the last; an empty path is ``/``."""
    rules = [("/api/.*", "api"), ("/exact", "exact"), ("/ü/\\d", "umlaut"), ("/.*", "rest")]
    app = wsgi.Application([(re.compile(url), named(name)) for url, name in rules])
    assert ask(app, path)[2] == answer


def test_a_path_that_nothing_matches_is_not_found() -> None:
    """404 as plain text, said in terms of app.yaml."""
    status, headers, body = ask(wsgi.Application([(re.compile("/a"), named("a"))]), "/b")
    assert (status, headers["Content-Type"]) == ("404 Not Found", "text/plain; charset=utf-8")
    assert b"app.yaml" in body


def test_a_path_that_is_not_utf8_reaches_apps_but_no_file(tmp_path: Path) -> None:
    """An app gets its bytes as they are; a static handler has no such file."""
    app = wsgi.build([{"url": "/s/(.*)", "static_files": "\\1"}], tmp_path, accel=True)
    environ = {"PATH_INFO": "/s/\xff", "REQUEST_METHOD": "GET"}
    seen: list[str] = []
    list(app(environ, lambda status, _headers: seen.append(status)))
    assert seen == ["404 Not Found"]
    rest = wsgi.Application([(re.compile("/.*"), named("app"))])
    assert list(rest(environ, lambda *_: None)) == [b"app"]


@pytest.mark.parametrize("name", ["nomodule_x:app", "json:nothing", "json:loads.nothing", "json:__name__"])
def test_a_wsgi_app_that_is_not_there_is_an_import_error(name: str) -> None:
    """What cannot be imported or called fails when the application is made, not at a request."""
    with pytest.raises(ImportError):
        wsgi.load(name)


def test_a_reference_to_a_missing_group_fails_at_the_start(tmp_path: Path) -> None:
    r"""``\2`` with one group is an error of the app's author, seen at once."""
    with pytest.raises(ValueError, match="group 2"):
        wsgi.build([{"url": "/(.*)", "static_files": "\\2"}], tmp_path, accel=False)


def test_the_predefined_urls_never_reach_the_app() -> None:
    """/_dae/ is the platform's: health and release answer, the rest is 404, and only reading is allowed."""
    app = predefined.wrap(named("app"), {"DAE_APP": "blog", "DAE_STAGE": "dev", "DAE_RELEASE": "v3"})
    assert ask(app, "/_dae/health")[::2] == ("200 OK", b"ok v3\n")
    assert json.loads(ask(app, "/_dae/release")[2]) == {"app": "blog", "stage": "dev", "release": "v3"}
    assert ask(app, "/_dae/other")[0] == "404 Not Found"
    assert ask(app, "/_dae/health", "POST")[0] == "405 Method Not Allowed"
    assert ask(app, "/_daebed")[2] == b"app"
    assert predefined.wrap(app, {}) is app


def test_an_asgi_application_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when it is loaded, with what to write; whatever else can be called is taken."""
    (tmp_path / "both_kinds.py").write_text(
        "import functools\n\n"
        "async def coroutine(scope, receive, send): pass\n"
        "def function(environ, start_response): return []\n"
        "class Asgi:\n    async def __call__(self, scope, receive, send): pass\n"
        "class Wsgi:\n    def __call__(self, environ, start_response): return []\n"
        "    async def other(self): pass\n"
        "instance, partial, plain = Asgi(), functools.partial(coroutine), Wsgi()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("coroutine", "instance", "partial"):
        with pytest.raises(ImportError, match=r"is an ASGI app.*UvicornWorker both_kinds:.*require uvicorn-w"):
            wsgi.load(f"both_kinds:{name}")
    for name in ("function", "plain", "plain.__call__"):
        assert callable(wsgi.load(f"both_kinds:{name}"))
