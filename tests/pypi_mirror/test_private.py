"""What becomes of private projects: yanked, deleted, marked, claimed and released; and that upstream never gets in."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.errors import DaeError
from core.paths import Home
from pypi_mirror import private, records
from pypi_mirror.pages import Format
from pypi_mirror.publish import publish
from pypi_mirror.rights import PLATFORM, Caller
from pypi_mirror.store import Store
from tests.pypi_mirror.clients import UV, run
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.uploading import Ground, sdist_bytes
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

ANN, BOB = Caller("ann", may_claim=True), Caller("bob", may_claim=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store where ``tool`` 1.0 and 1.1 are ann's."""
    home = Home(tmp_path / "home")
    for version in ("1.0", "1.1"):
        publish(home, wheel(tmp_path, "tool", version))
    made = Store(home)
    private.claim(made, "tool", "ann", PLATFORM)
    return made


def page(store: Store, name: str = "tool") -> dict[str, Any]:
    return dict(json.loads((store.root / "pages/default" / name / "index.json").read_bytes()))


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(DaeError) as caught:
        work()
    return caught.value.code


def test_yank(store: Store) -> None:
    """A yank marks the version's files with its reason, un-yanking unmarks them, and both are on record."""
    private.yank(store, "Tool", "1.1.0", "it leaks", ANN)
    assert [file["yanked"] for file in page(store)["files"]] == [False, "it leaks"]
    private.yank(store, "tool", "1.0", "", ANN)
    assert [file["yanked"] for file in page(store)["files"]] == [True, "it leaks"]
    private.yank(store, "tool", "1.1", "", ANN, undo=True)
    assert [file["yanked"] for file in page(store)["files"]] == [True, False]
    done = [(action.who, action.what, action.subject) for action in records.load(store, "tool").actions[-3:]]
    assert done == [("ann", "yank", "1.1.0"), ("ann", "yank", "1.0"), ("ann", "unyank", "1.1")]


def test_who_may(store: Store) -> None:
    """The owner and administrators may; nobody else, and a token only what it is for."""
    token = Caller("ann", may_claim=True, project="tool", actions=frozenset({"yank"}))
    foreign = Caller("ann", may_claim=True, project="other", actions=frozenset({"yank"}))
    for caller in (BOB, Caller("", may_claim=True), foreign):
        assert refused(partial(private.yank, store, "tool", "1.0", "", caller)) == "auth/forbidden"
    private.yank(store, "tool", "1.0", "", token)
    for what in (
        lambda: private.delete(store, "tool", "1.0", "why", "tool", token),
        lambda: private.set_status(store, "tool", "archived", "", token),
        lambda: private.set_status(store, "tool", "quarantined", "", ANN),
        lambda: private.claim(store, "tool", "bob", ANN),
        lambda: private.release(store, "tool", "tool", ANN),
    ):
        assert refused(what) == "auth/forbidden"


def test_what_is_not_there(store: Store) -> None:
    """Names, versions, states and reasons that are none are told so; deleting wants a reason and the name typed."""
    assert refused(lambda: private.yank(store, "nobody", "1.0", "", ANN)) == "mirror/unknown-project"
    assert refused(lambda: private.yank(store, "../tool", "1.0", "", ANN)) == "mirror/bad-name"
    for version in ("2.0", "one", "", "../1"):
        assert refused(partial(private.yank, store, "tool", version, "", ANN)) == "mirror/unknown-version"
    assert refused(partial(private.yank, store, "tool", "1.0", "two\nlines", ANN)) == "input/invalid"
    assert refused(lambda: private.delete(store, "tool", "1.0", " ", "tool", ANN)) == "input/invalid"
    assert refused(lambda: private.delete(store, "tool", "1.0", "why", "", ANN)) == "mirror/confirm"
    assert refused(lambda: private.set_status(store, "tool", "gone", "", ANN)) == "input/invalid"
    assert len(page(store)["files"]) == 2


def test_delete_a_version(store: Store, tmp_path: Path) -> None:
    """A deleted version's file is off page and disk; its name takes its own bytes again, and no others."""
    path = wheel(tmp_path, "tool", "1.0")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    private.delete(store, "tool", "1.0", "leaked a secret", "tool", ANN)
    assert page(store)["versions"] == ["1.1"]
    assert not store.file_path(sha256, path.name).exists()
    path.write_bytes(build_wheel("tool", "1.0", requires="more"))
    assert refused(lambda: publish(Home(store.root.parent), path)) == "mirror/file-exists"
    publish(Home(store.root.parent), wheel(tmp_path, "tool", "1.0"))
    assert page(store)["versions"] == ["1.1", "1.0"]


def test_marks(store: Store, tmp_path: Path) -> None:
    """A status and its reason are told on the page; archived takes no files; quarantine offers none and is kept."""
    private.set_status(store, "tool", "archived", "use other", ANN)
    assert page(store)["project-status"] == {"status": "archived", "reason": "use other"}
    assert refused(lambda: publish(Home(store.root.parent), wheel(tmp_path, "tool", "1.2"))) == "mirror/closed"
    private.set_status(store, "tool", "quarantined", "under attack", PLATFORM)
    assert page(store)["files"] == []
    assert refused(lambda: private.set_status(store, "tool", "active", "", ANN)) == "auth/forbidden"
    private.set_status(store, "tool", "active", "", PLATFORM)
    assert len(page(store)["files"]) == 2


def test_upstream_never_gets_in(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """A higher version upstream is not seen: nor in an outage, nor after deleting; until it is released."""
    mirror = new_mirror(upstream.url, ttl=0)
    home = Home(mirror.home)
    publish(home, wheel(tmp_path, "secret"))
    theirs, sha256 = upstream.add("secret", "99.0")
    store = Store(home)
    address = "/pypi/simple/secret/"

    def seen() -> str:
        return mirror.get(address).text + mirror.get(address, JSON).text

    assert theirs not in seen()
    private.delete(store, "secret", "", "not needed any more", "secret", PLATFORM)
    for down in (False, True):
        if down:
            upstream.refuse()
        assert theirs not in seen()
        status = json.loads(mirror.get(address, JSON).body)["project-status"]
        assert status == {"status": "quarantined", "reason": "deleted: not needed any more"}
        assert mirror.get(file_url(sha256, theirs)).status == 404
        mirror.stop()
        mirror.start()
    upstream.start()
    assert upstream.counts[address.removeprefix("/pypi")] == 0
    private.release(store, "secret", "secret", PLATFORM)
    assert theirs in seen()
    assert records.load(store, "secret").gone


def test_what_is_damaged_is_not_empty(store: Store, tmp_path: Path) -> None:
    """A listing or a record that cannot be read takes no file, and passes for no fresh one."""
    for folder in ("records", "private"):
        path = store.root / folder / "tool.json"
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
        for what in (
            partial(publish, Home(store.root.parent), wheel(tmp_path, "tool", "3.0")),
            partial(private.claim, store, "tool", "bob", PLATFORM),
            partial(private.delete, store, "tool", "", "why", "tool", PLATFORM),
        ):
            assert refused(what) == "mirror/unavailable"
        path.write_bytes(whole)
    assert page(store)["versions"] == ["1.0", "1.1"]


def test_release_wants_an_empty_project(store: Store) -> None:
    """A name with files is not given back."""
    assert refused(lambda: private.release(store, "tool", "tool", PLATFORM)) == "mirror/closed"


@pytest.mark.parametrize("other", ["to0l", "too1", "t-ool", "T.0.0.1"])
def test_names_that_look_alike(ground: Ground, other: str) -> None:
    """A name that looks like somebody else's is free for its owner, and for those to whom an administrator gives it."""
    assert ground.upload(("tool-1.0.tar.gz", sdist_bytes("tool", "1.0"))).status in (200, 400)
    file = (f"{other}-1.0.tar.gz", sdist_bytes(other))
    answer = ground.upload(file, "bob")
    assert (answer.status, "mirror/name-taken" in answer.text) == (403, True), answer.text
    private.claim(Store(ground.home), other, "bob", PLATFORM)
    assert ground.upload(file, "bob").status == 200
    assert ground.upload((f"{other}-2.0.tar.gz", sdist_bytes(other, "2.0")), "ann").status == 403


def test_one_name_in_many_spellings(ground: Ground) -> None:
    """A project is its owner's however its name is spelt, in the file's name and in the metadata."""
    assert ground.upload(("my_lib-1.0.tar.gz", sdist_bytes("my_lib"))).status == 200
    for number, spelt in enumerate(("My.Lib", "MY-LIB", "my--lib", "my_.lib")):
        file = (f"{spelt}-2.{number}.tar.gz", sdist_bytes(spelt, f"2.{number}"))
        assert ground.upload(file, "bob").status == 403
        assert ground.upload(file).status == 200
    assert ground.upload(("MY.LIB-1.0.0.tar.gz", sdist_bytes("MY.LIB", "1.0.0"))).status == 400
    for strange in ("my\u2010lib", "m\u0443lib", "\uff4dylib"):
        assert ground.upload((f"{strange}-1.0.tar.gz", sdist_bytes("mylib"))).status == 400


def test_tokens_outlive_nothing(ground: Ground) -> None:
    """A token of a project is worth nothing once its user lost the project, or the name was released."""
    assert ground.upload(("passed-1.0.tar.gz", sdist_bytes("passed"))).status == 200
    token = ground.project_token("ann", "passed", "upload", "yank")
    store = Store(ground.home)
    private.claim(store, "passed", "bob", PLATFORM)
    assert ground.upload(("passed-1.1.tar.gz", sdist_bytes("passed", "1.1")), token).status == 403
    private.delete(store, "passed", "", "why", "passed", PLATFORM)
    assert ground.upload(("passed-1.1.tar.gz", sdist_bytes("passed", "1.1")), token).status == 403
    private.release(store, "passed", "passed", PLATFORM)
    assert ground.upload(("passed-1.1.tar.gz", sdist_bytes("passed", "1.1")), token).status == 403
    # The name is free, and what its files were called is taken for good.
    assert ground.upload(("passed-1.0.tar.gz", sdist_bytes("passed", "1.0", info=OTHER)), "bob").status == 400
    assert ground.upload(("passed-1.1.tar.gz", sdist_bytes("passed", "1.1")), "bob").status == 200


OTHER = "Metadata-Version: 2.2\nName: passed\nVersion: 1.0\nSummary: another\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, shared_upstream: UpstreamModel) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("private")
    made = Ground(home, lambda: MirrorProcess(home, shared_upstream.url))
    yield made
    made.mirror.stop()
    made.store.close()


def test_a_released_name_is_off_the_list(store: Store) -> None:
    """The list of projects names a private project until its name is given back."""

    def listed() -> bytes:
        with store.open_list(Format.JSON, zipped=False) as stream:
            return stream.read()

    private.delete(store, "tool", "", "why", "tool", PLATFORM)
    assert b'"tool"' in listed()
    private.release(store, "tool", "tool", PLATFORM)
    assert b'"tool"' not in listed()


def test_clients_see_a_yank(tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """pip and uv pass a yanked version over, and take it when it is named exactly."""
    mirror = new_mirror(upstream.url)
    home = Home(mirror.home)
    for version in ("1.0", "1.1"):
        publish(home, wheel(tmp_path, "yanked", version))
    private.yank(Store(home), "yanked", "1.1", "broken", PLATFORM)
    pip = [sys.executable, "-I", "-m", "pip", "--isolated", "--no-cache-dir", "install", "-i", mirror.index]
    uv = [str(UV), "pip", "install", "--no-cache", "--index-url", mirror.index]
    for number, tool in enumerate((pip, uv)):
        for wanted, version in (("yanked", "1.0"), ("yanked==1.1", "1.1")):
            target = tmp_path / f"put{number}{version}"
            run(tmp_path, *tool, "--target", target, wanted)
            assert (target / "yanked" / "__init__.py").read_text() == f"VERSION = '{version}'\n"
