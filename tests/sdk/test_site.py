"""Sites of files: which file a path names, which it never may, and what a folder must be to be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dae.runtime.site import Site, is_site
from tests.sdk.test_static import ask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    files = ("index.html", "ü x.html", "docs/index.html", "docs/.draft", "empty/x", ".env", ".well-known/a", "app.yaml")
    for name in files:
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(name)
    (tmp_path / "outside").write_text("outside")
    (code / "link").symlink_to("../outside")
    (code / "inner").symlink_to("index.html")
    (code / "loop").symlink_to("loop")
    return code


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/ü x.html", "ü x.html"),
        ("/docs/", "docs/index.html"),
        ("/.well-known/a", ".well-known/a"),
    ],
)
def test_what_is_there(root: Path, path: str, file: str) -> None:
    """A file by its path, a folder by its index.html: sent by us under ``dae serve``, named to nginx otherwise."""
    assert ask(Site(root, accel=False), path)[::2] == ("200 OK", file.encode())
    status, headers, _ = ask(Site(root, accel=True), path)
    assert (status, headers["X-Accel-Redirect"].startswith("/_dae_static/")) == ("200 OK", True)


NOTHING = [
    "/none", "/docs/none", "/empty/", "/empty", "/.env", "/docs/.draft", "/app.yaml", "/link", "/inner", "/loop",
    "/index.html/", "//index.html", "/docs/../index.html", "/./index.html", "/docs//", "//", "/\0", "/docs\\", "",
    "/" + "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("path", NOTHING)
@pytest.mark.parametrize("accel", [True, False])
def test_what_is_not(root: Path, path: str, accel: bool) -> None:
    """Hidden files, what describes the app, links and every other spelling of a path are 404; "" is the front page."""
    status, headers, _ = ask(Site(root, accel), path)
    assert status == ("200 OK" if path == "" else "404 Not Found")
    assert path == "" or "X-Accel-Redirect" not in headers


def test_a_folder_without_its_slash(root: Path) -> None:
    """Its page would look for its neighbours in the wrong place; the address stays on this host."""
    (root / "evil.example").mkdir()
    (root / "evil.example" / "index.html").touch()
    assert ask(Site(root, accel=True), "/docs", QUERY_STRING="a=b")[1]["Location"] == "/docs/?a=b"
    assert ask(Site(root, accel=True), "//evil.example")[0] == "404 Not Found"


def test_a_page_for_what_is_not_there(root: Path) -> None:
    """The site's own 404.html, with the status that it is for."""
    (root / "404.html").write_text("<p>gone")
    status, headers, body = ask(Site(root, accel=True), "/none")
    assert (status, headers["Content-Length"], body) == ("404 Not Found", "7", b"<p>gone")
    assert ask(Site(root, accel=True), "/none", "HEAD")[2] == b""
    assert ask(Site(root, accel=True), "/none", "POST")[2] == b"not found\n"
    (root / "404.html").unlink()
    (root / "404.html").symlink_to("../outside")
    assert ask(Site(root, accel=True), "/none")[2] == b"not found\n"


@pytest.mark.parametrize("other", ["app.py", "requirements.txt", "pyproject.toml", "package.json", "Procfile"])
def test_what_is_no_site(other: str) -> None:
    """Where there are programs, somebody forgot to say what runs: their sources are not for everybody."""
    assert is_site(["index.html", "style.css", "app.yaml"])
    assert not is_site(["index.html", other])
    assert not is_site(["style.css"])
