"""Dependency confusion: whoever takes a private name upstream, with whatever version, is never even asked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.paths import Home
from pypi_mirror import private, rights
from pypi_mirror.publish import publish
from pypi_mirror.store import Store
from tests.pypi_mirror.clients import HERE, PIPS, Ground
from tests.pypi_mirror.front import Front
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.upstream_model import UpstreamModel

Offer = Callable[[str], tuple[str, str]]
Start = Callable[..., MirrorProcess]
POLICY = """\
private = ["acme*"]
[view.strict]
private = ["house*"]
"""
DELETE = """\
import pathlib, sys
from core.paths import Home
from pypi_mirror import private, rights
from pypi_mirror.store import Store
store, name = Store(Home(pathlib.Path(sys.argv[1]))), sys.argv[2]
if sys.argv[3] == "delete":
    private.delete(store, name, "", "nobody needs it", name, rights.PLATFORM)
else:
    private.claim(store, name, "ann", rights.PLATFORM)
"""


def change(site: Front, name: str, what: str) -> None:
    """Delete or claim a private project, as the account that may write there does."""
    account = site.account
    subprocess.run(
        [HERE, "-I", "-c", DELETE, site.nginx.home.root, name, what],
        user=account,
        group=account,
        extra_groups=[] if account else None,
        cwd="/",
        check=True,
    )


@pytest.fixture
def unasked(site: Front) -> Iterator[Offer]:
    """Has upstream offer a name in a high version; in the end it was never asked for any of those names."""
    names: list[str] = []
    before = len(site.upstream.ranges)

    def offer(name: str) -> tuple[str, str]:
        names.append(name)
        return site.upstream.add(name, "99.0")

    yield offer
    asked = [*site.upstream.counts, *(path for path, _ in site.upstream.ranges[before:])]
    assert [path for path in asked if any(name in path.replace("_", "-").lower() for name in names)] == []


def take(client: str, ground: Ground, name: str, *, fails: bool = False, module: str = "") -> str:
    """What a client would install of a project, or did; or what it says when it must fail."""
    if client in PIPS or client == "uv":
        target = ground.folder / f"{client}-{name}-{fails}"
        if client == "uv":
            said = ground.uv("pip", "install", "--no-cache", "--target", target, name, fails=fails)
        else:
            said = ground.pip(client, "install", "--target", target, name, fails=fails)
        return said if fails else (target / (module or name) / "__init__.py").read_text()
    return {"pip-tools": pip_tools, "poetry": poetry, "pipenv": pipenv}[client](ground, name, fails)


def pip_tools(ground: Ground, name: str, fails: bool) -> str:
    ground.write("in.txt", f"{name}\n")
    command: list[str | Path] = [
        HERE,
        "-m",
        "piptools",
        "compile",
        "-q",
        "--rebuild",
        "--no-config",
        "-i",
        ground.site.index,
    ]
    return ground.run(*command, "-o", "-", "in.txt", fails=fails, PIP_NO_CACHE_DIR="1")


def poetry(ground: Ground, name: str, fails: bool) -> str:
    ground.write_poetry(name)
    (ground.folder / "poetry.lock").unlink(missing_ok=True)
    said = ground.poetry("lock", "-n", "--no-cache", fails=fails)
    return said if fails else (ground.folder / "poetry.lock").read_text()


def pipenv(ground: Ground, name: str, fails: bool) -> str:
    ground.write_pipenv(name)
    said = ground.pipenv("--python", str(HERE), "lock", "--clear", fails=fails)
    return said if fails else (ground.folder / "Pipfile.lock").read_text()


@pytest.mark.parametrize("client", [*PIPS, "uv", "pip-tools", "poetry", "pipenv"])
def test_client(client: str, ground: Ground, tmp_path: Path, unasked: Offer) -> None:
    """Every client takes the private version though upstream's is higher, and after it was deleted takes nothing."""
    name = "own" + client.replace("-", "")
    unasked(name)
    publish(ground.site.nginx.home, wheel(tmp_path, name))
    found = take(client, ground, name)
    assert "1.0" in found and "99.0" not in found
    change(ground.site, name, "delete")
    said = take(client, ground, name, fails=True)
    assert name in said and "99.0" not in said
    for headers in ({}, JSON):  # who looks is told why
        assert "deleted: nobody needs it" in ground.site.get(f"/pypi/simple/{name}/", headers, door="nginx").text


def test_in_trouble(ground: Ground, tmp_path: Path, unasked: Offer) -> None:
    """It is the same while upstream is away, after a restart meanwhile, and when it is back."""
    site = ground.site
    for name in ("owncalm", "owngone"):
        unasked(name)
        publish(site.nginx.home, wheel(tmp_path, name))
    change(site, "owngone", "delete")
    try:
        for trouble in ("hang", "not-an-index", "ok"):
            site.upstream.mood = trouble
            site.mirror.stop()
            if trouble == "hang":  # nginx serves by itself
                assert "owncalm-1.0" in site.get("/pypi/simple/owncalm/", door="nginx").text
            site.mirror.start()
            for client in ("uv", "new-pip", "pip-tools", "poetry") if trouble == "hang" else ("uv",):
                found = take(client, ground, "owncalm")
                assert "1.0" in found and "99.0" not in found
                assert "99.0" not in take(client, ground, "owngone", fails=True)
            shutil.rmtree(ground.folder / "uv-owncalm-False")
    finally:
        site.upstream.mood = "ok"


def test_spellings(ground: Ground, tmp_path: Path, unasked: Offer) -> None:
    """A name is private in whatever spelling it is published, asked for, or found in the name of a file."""
    unasked("own-dotted-name")
    upstream = ground.site.upstream
    theirs = [upstream.add_file("own-dotted-name", name, b"evil") for name in EVIL]
    publish(ground.site.nginx.home, wheel(tmp_path, "Own.Dotted_Name"))
    for spelling in ("own.dotted.name", "OWN--Dotted_name"):
        for client in ("own-pip", "uv"):
            assert "1.0" in take(client, ground, spelling, module="Own.Dotted_Name")
    for filename, sha256 in theirs:
        for suffix in ("", ".metadata"):
            answer = ground.site.get(file_url(sha256, filename) + suffix, door="nginx")
            assert (answer.status, answer.text.split(":")[0]) == (404, "mirror/unknown-file")


EVIL = ("own_dotted_name-99.0-py3-none-any.whl", "Own.Dotted.Name-99.0-py3-none-any.whl", "own-dotted-name-99.0.tar.gz")


def test_claimed(ground: Ground, unasked: Offer) -> None:
    """A name that was only claimed, and has no file yet, installs nothing."""
    filename, sha256 = unasked("ownclaimed")
    change(ground.site, "ownclaimed", "claim")
    for client in ("own-pip", "uv"):
        assert "99.0" not in take(client, ground, "ownclaimed", fails=True)
    assert ground.site.get(file_url(sha256, filename), door="nginx").status == 404


def test_reserved_in_every_view(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A name that the policy keeps for us is 403 in every view, and in the view that keeps it where only one does."""
    (tmp_path / "mirror-policy.toml").write_text(POLICY)
    theirs = {name: upstream.add(name, "99.0") for name in ("acmecore", "housetool")}
    mirror = new_mirror(upstream.url, ttl=0)
    publish(Home(mirror.home), wheel(tmp_path, "acmemine"))
    for upstream.mood in ("ok", "503"):
        for view in ("/pypi", "/pypi/view/strict"):
            assert "acmemine-1.0" in mirror.get(f"{view}/simple/acmemine/").text
            for name, (filename, sha256) in theirs.items():
                reserved = name == "acmecore" or view != "/pypi"
                for path in (f"/pypi/simple/{name}/", file_url(sha256, filename)):
                    answer = mirror.get(path.replace("/pypi", view))
                    assert (answer.status == 403) == reserved, answer
                    assert not reserved or "private name" in answer.text
    assert upstream.counts["/simple/acmecore/"] == 0


def test_listings_that_are_lost(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A name that was claimed, or whose files were deleted, stays ours when its listing is lost; a released one not."""
    mirror = new_mirror(upstream.url)
    store = Store(Home(mirror.home))
    for name in ("ownempty", "ownclaim", "ownfree"):
        upstream.add(name, "99.0")
        private.claim(store, name, "ann", rights.PLATFORM)
    publish(Home(mirror.home), wheel(tmp_path, "ownempty"))
    private.delete(store, "ownempty", "", "nobody needs it", "ownempty", rights.PLATFORM)
    private.release(store, "ownfree", "ownfree", rights.PLATFORM)
    mirror.stop()
    shutil.rmtree(mirror.home / "mirror" / "private")
    mirror.start()
    for name in ("ownempty", "ownclaim"):
        assert "99.0" not in mirror.get(f"/pypi/simple/{name}/").text
        assert upstream.counts[f"/simple/{name}/"] == 0
    assert "deleted: nobody needs it" in mirror.get("/pypi/simple/ownempty/").text
    assert "99.0" in mirror.get("/pypi/simple/ownfree/").text
