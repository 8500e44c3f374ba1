"""The pages for people: what they say, in a real browser, and that nothing in them is more than text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.paths import Home
from pypi_mirror import people
from pypi_mirror.lens import Shown
from pypi_mirror.model import File, Project
from pypi_mirror.people import Place
from pypi_mirror.publish import publish
from tests.browser import Browser, browser
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.upstream_model import UpstreamModel

PLACE = Place("http://index.test", "/pypi")
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def window() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def test_a_person_finds_out_why_a_version_is_hidden(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess], window: Browser
) -> None:
    """List, search, project, reason: without an error, a script, anything from elsewhere, or sideways scrolling."""
    (tmp_path / "mirror-policy.toml").write_text(
        "[[rule]]\naction = 'deny'\nversion = '>=2'\nreason = 'ask Mary <b>'\n"
    )
    mirror = new_mirror(upstream.url)
    long = "a" * 60 + "-1.0-py3-none-any.whl"
    upstream.add("flask", "1.0")
    upstream.add("flask", "2.0")
    upstream.add_file("a" * 60, long, b"x" * 2_500_000, yanked="broken " + "y" * 200)
    for name in ("flask", "a" * 60):
        assert mirror.get(f"/pypi/simple/{name}/").status == 200
    publish(Home(tmp_path), wheel(tmp_path, "ours"))
    index = f"http://127.0.0.1:{mirror.port}/pypi/"
    window.narrow(360)
    window.open(index)
    assert window.text("h1") == "Packages"
    assert "ours our own" in window.text("ul.names")
    window.type("#q", "Fla")
    window.follow("form button")
    assert window.text("h2") == "1 of 3 projects"
    window.follow("ul.names a")
    assert window.address == index + "project/flask/"
    assert window.text("h1") == "flask"
    assert f"pip install --index-url {index}simple/ flask" in window.text("pre")
    assert "2.0 hidden" in window.text("details summary")
    assert "Hidden: (rule 1): ask Mary <b>" in window.text("details li")
    assert len(window.run("return document.querySelectorAll('details a')")) == 1, "what is hidden has no link"
    for path in ("", "?q=fla", "?q=nothing", "project/flask/", f"project/{'a' * 60}/", "project/nothing/"):
        window.open(index + path)
        assert window.run("return document.documentElement.scrollWidth") <= 360, path
        assert len(window.run("return document.querySelectorAll('h1')")) == 1
        assert window.run("return [...document.querySelectorAll('input')].every(e => e.labels.length == 1)"), path
    asked = [url for url in window.requested() if not url.startswith(("data:", "chrome"))]
    assert [url for url in asked if not url.startswith(index)] == [] and index + "project/flask/" in asked
    assert [said for said in window.console() if "project/nothing" not in said] == [], "that one is answered 404"


def test_whatever_is_written_is_text() -> None:
    """Summaries, reasons, words of a search and addresses of a host end no attribute and begin no element."""
    file = File(
        "a-1.0.tar.gz", "0" * 64, url="x", requires_python='>3" x="', yanked=SCRIPT, upload_time="2024-05-06T07:08:09Z"
    )
    shown = Shown(
        Project("a", (file,), ("1.0",), status="deprecated", status_reason=SCRIPT),
        notes=(f"a-1.0.tar.gz has a known vulnerability: {SCRIPT}",),
    )
    metadata = (
        f"Metadata-Version: 2.1\nName: a\nVersion: 1\nSummary: {SCRIPT}\nHome-page: javascript:alert(1)\n"
        f'Project-URL: Docs, https://docs.test/?a="><script>\nProject-URL: {SCRIPT}, data:text/html,x\n'
        "Project-URL: Odd, http://[bad\n\nbody"
    ).encode()
    hostile = Place("http://x\"'><script>", "/pypi")
    bodies = [
        people.project(hostile, "a", shown, private=True, is_here=lambda _file: True, metadata=metadata),
        people.listing(hostile, ["a"], [], f'"{SCRIPT}'),
        people.listing(hostile, ["a"] * 500, [], "a", 2),
    ]
    for body in bodies:
        text = body.decode()
        assert "<script" not in text
        assert "javascript:" not in text and "data:text" not in text
        assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)
    assert b'href="https://docs.test/?a=&quot;&gt;&lt;script&gt;"' in bodies[0]


def test_long_lists_are_cut() -> None:
    """Names go page by page, whatever number is asked for; of many versions the newest are shown."""
    names = [f"p{number:04}" for number in range(450)]
    first, last = (people.listing(PLACE, names, [], "", page).decode() for page in (1, 99))
    assert "Page 1 of 3." in first and 'href="/pypi/?page=2"' in first
    assert "Page 3 of 3." in last and "p0449" in last and "p0399" not in last
    files = tuple(File(f"a-{number}.0.tar.gz", f"{number:064x}", url="x") for number in range(100))
    shown = Shown(Project("a", files, ()))
    few, all_ = (
        people.project(PLACE, "a", shown, private=False, is_here=lambda _file: False, whole=whole).decode()
        for whole in (False, True)
    )
    assert few.index("a-99.0") < few.index("a-98.0") and "a-10.0.tar" not in few and 'href="?all=1"' in few
    assert "a-10.0.tar" in all_ and "all=1" not in all_


def test_the_door(shared_mirror: MirrorProcess, shared_upstream: UpstreamModel) -> None:
    """What is not here is 404, and upstream is not asked; a name has one spelling; nothing is run."""
    answer = shared_mirror.get("/pypi/project/never-heard-of/")
    assert (answer.status, shared_upstream.counts["/simple/never-heard-of/"]) == (404, 0)
    moved = shared_mirror.get("/pypi/project/Never.Heard_Of")
    assert (moved.status, moved.headers["Location"]) == (301, "/pypi/project/never-heard-of/")
    assert shared_mirror.get("/pypi/project/..%2f..%2fetc/").status in (400, 404)
    assert shared_mirror.get("/pypi/view/none/project/a/").status == 404
    for path in ("/pypi/", "/pypi/?page=x&q=%00%ff&q", "/pypi/project/never-heard-of/"):
        answer = shared_mirror.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-") and "script" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
