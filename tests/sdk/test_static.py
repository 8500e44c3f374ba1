"""Static handlers: which file a path names, and which it never may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dae.runtime import static
from dae.runtime.wsgi import build

HANDLER = {"url": "/static/(.*)", "static_files": "static/\\1", "upload": "static/.*"}


def ask(app: Any, path: str, method: str = "GET", **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and body of one request; ``path`` is text, given to the app as PEP 3333 says."""
    seen: dict[str, Any] = {}

    def start_response(status: str, given: list[tuple[str, str]]) -> None:
        seen["status"], seen["headers"] = status, dict(given)

    environ = {"PATH_INFO": path.encode().decode("latin-1"), "REQUEST_METHOD": method, **headers}
    result = app(environ, start_response)
    body = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    return seen["status"], seen["headers"], body


@pytest.fixture
def root(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    (code / "static" / "deep").mkdir(parents=True)
    (code / "static" / "style.css").write_text("body {}")
    (code / "static" / "deep" / "ü x.txt").write_text("umlaut")
    (code / "secret.py").write_text("PASSWORD = 1")
    (tmp_path / "outside.txt").write_text("outside")
    (code / "static" / "link.txt").symlink_to(tmp_path / "outside.txt")
    (code / "static" / "loop").symlink_to(code / "static" / "loop")
    return code


ATTACKS = [
    "/static/../secret.py",
    "/static/deep/../../secret.py",
    "/static/..",
    "/static/.",
    "/static/./style.css",
    "/static//style.css",
    "/static//etc/passwd",
    "/static/",
    "/static/deep/",
    "/static/deep",
    "/static/style.css/",
    "/static/style.css/.",
    "/static/..\\secret.py",
    "/static/style.css\0.txt",
    "/static/style.css\n",
    "/static/link.txt",
    "/static/loop",
    "/static/none.css",
    "/static/" + "a" * 5000,
]


@pytest.mark.parametrize("path", ATTACKS)
def test_what_is_no_plain_file_below_the_commit_is_not_found(root: Path, path: str) -> None:
    """Every way around the folder ends in 404, and the file's text never leaves."""
    status, _, body = ask(build([HANDLER], root, accel=False), path)
    assert (status, b"PASSWORD" in body, b"outside" in body) == ("404 Not Found", False, False)


@pytest.mark.parametrize("path", [p for p in ATTACKS if not re.search("link|loop|none|deep$|aaa", p)])
def test_nginx_is_never_told_of_a_path_that_is_not_plain(root: Path, path: str) -> None:
    """With DAE_ACCEL the same paths give no X-Accel-Redirect (what is a link or missing, nginx itself refuses)."""
    status, headers, _ = ask(build([HANDLER], root, accel=True), path)
    assert status == "404 Not Found"
    assert "X-Accel-Redirect" not in headers


@pytest.mark.parametrize("name", [".git/config", ".venv/bin/python", ".dae/permdir/x"])
def test_the_developers_own_folders_are_never_served(root: Path, name: str) -> None:
    """A handler as wide as the whole folder serves neither the repository nor the environment."""
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("private")
    app = build([{"url": "/(.*)", "static_files": "\\1"}], root, accel=False)
    assert ask(app, "/" + name)[0] == "404 Not Found"
    assert ask(app, "/secret.py")[0] == "200 OK"


def test_a_file_is_sent_with_its_type_and_length(root: Path) -> None:
    """GET gives the bytes; HEAD gives the same headers and none of them."""
    app = build([HANDLER], root, accel=False)
    status, headers, body = ask(app, "/static/style.css")
    assert (status, body) == ("200 OK", b"body {}")
    assert headers["Content-Type"] == "text/css; charset=utf-8"
    assert headers["Content-Length"] == "7"
    status, head, body = ask(app, "/static/style.css", "HEAD")
    assert (status, head, body) == ("200 OK", headers, b"")


def test_an_unchanged_file_is_not_sent_again(root: Path) -> None:
    """If-Modified-Since with the file's own time gives 304; an older or a malformed one gives the file."""
    app = build([HANDLER], root, accel=False)
    changed = ask(app, "/static/style.css")[1]["Last-Modified"]
    assert ask(app, "/static/style.css", HTTP_IF_MODIFIED_SINCE=changed)[0] == "304 Not Modified"
    for since in ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "99", "Thu, 01 Jan 99999 00:00:00 GMT"):
        assert ask(app, "/static/style.css", HTTP_IF_MODIFIED_SINCE=since)[0] == "200 OK"


def test_nginx_is_told_the_quoted_path(root: Path) -> None:
    """With DAE_ACCEL the body is empty and the header holds the path in the commit, URL-quoted."""
    status, headers, body = ask(build([HANDLER], root, accel=True), "/static/deep/ü x%.txt")
    assert (status, body) == ("200 OK", b"")
    assert headers["X-Accel-Redirect"] == "/_dae_static/static/deep/%C3%BC%20x%25.txt"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


def test_only_reading_is_answered(root: Path) -> None:
    """POST to a static file is 405 and says what is allowed."""
    status, headers, _ = ask(build([HANDLER], root, accel=False), "/static/style.css", "POST")
    assert (status, headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")


@pytest.mark.parametrize("path, expected", [("/a/static/x.css", "200 OK"), ("/a/other/x.css", "404 Not Found")])
def test_upload_must_match_the_whole_path(path: str, expected: str, tmp_path: Path) -> None:
    """A path that the ``upload`` pattern does not describe in full is not served."""
    handler = {"url": "/a/(.*)", "static_files": "\\1", "upload": "static/.*"}
    assert ask(build([handler], tmp_path, accel=True), path)[0] == expected


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.woff2", "font/woff2"),
        ("a.tar.gz", "application/gzip"),
        ("a.tar.bz2", "application/octet-stream"),
        ("noextension", "application/octet-stream"),
        ("a.svg", "image/svg+xml"),
    ],
)
def test_types_come_from_the_name(name: str, kind: str) -> None:
    """The type does not depend on the machine; a compressed file is sent as what it is."""
    assert static.content_type(name) == kind


def test_group_references_have_one_or_two_digits() -> None:
    r"""``\10`` is the tenth group, not the first and a nought; a group that took no part is empty."""
    match = re.fullmatch("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)?", "abcdefghij")
    assert match is not None
    assert static.expand(r"\10/\1\11x", match) == "j/ax"
