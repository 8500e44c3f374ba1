"""Reading: clone, fetch, shallow clones; and pushing from them."""

import subprocess
from pathlib import Path

import pytest

from tests.receiver.conftest import Clone, Platform, git_environ


def clone_of(platform: Platform, app: str, name: str, *flags: str) -> Path:
    path = platform.home.root / "clients" / app / name
    argv = ["git", *flags[:2], "clone", "--quiet", *flags[2:], platform.url(app), str(path)]
    subprocess.run(argv, check=True, env=git_environ(platform.home.root))
    return path


def history(path: Path) -> str:
    argv = ["git", "-C", str(path), "log", "--format=%H %T", "HEAD"]
    return subprocess.run(argv, check=True, env=git_environ(path), capture_output=True, text=True).stdout


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_clone_is_what_was_pushed(platform: Platform, version: str) -> None:
    """In every version of the protocol: the same commits, trees and files."""
    app = f"clone-{version}"
    platform.app(app)
    clone = platform.clone(app)
    clone.commit("ok", {"folder/file": b"\0\r\n\xff", "text": "x\n"})
    clone.commit("ok", {"text": "y\n"})
    assert clone.push().returncode == 0
    path = clone_of(platform, app, "copy", "-c", f"protocol.version={version}")
    assert history(path) == history(clone.path)
    assert (path / "folder" / "file").read_bytes() == b"\0\r\n\xff"
    commit = clone.commit("ok", {"text": "z\n"})
    assert clone.push().returncode == 0
    subprocess.run(["git", "-C", path, "pull", "--quiet"], check=True, env=git_environ(path))
    assert commit in history(path)


def test_a_clone_of_an_app_that_pushes_main_has_files(platform: Platform) -> None:
    """HEAD follows the branch that is used."""
    platform.app("mainly")
    clone = platform.clone("mainly")
    clone.commit()
    assert clone.push("HEAD:main").returncode == 0
    assert (clone_of(platform, "mainly", "copy", "-c", "advice.detachedHead=false") / "scenario").exists()


def test_a_shallow_clone_can_push(platform: Platform) -> None:
    """Depth 1 down, a new commit up."""
    repository = platform.app("shallow")
    clone = platform.clone("shallow")
    for number in range(3):
        clone.commit("ok", {"n": str(number)})
    assert clone.push().returncode == 0
    path = clone_of(platform, "shallow", "copy", "-c", "protocol.version=2", "--depth=1")
    assert len(history(path).splitlines()) == 1
    shallow = Clone(path, platform.url("shallow"))
    commit = shallow.commit("ok", {"n": "new"})
    done = shallow.push()
    assert done.returncode == 0, done.stderr
    assert repository.ref("refs/heads/master") == commit


def test_a_shallow_clone_of_elsewhere_can_make_the_first_push(platform: Platform) -> None:
    """As a build server does: no history before its one commit; the whole history may follow later."""
    repository = platform.app("ci")
    origin = platform.clone("ci", "origin")
    for number in range(3):
        origin.commit("ok", {"n": str(number)})
    path = platform.home.root / "clients" / "ci" / "runner"
    argv = ["git", "clone", "--quiet", "--depth=1", f"file://{origin.path}", str(path)]
    subprocess.run(argv, check=True, env=git_environ(platform.home.root))
    runner = Clone(path, platform.url("ci"))
    done = runner.push()
    assert done.returncode == 0, done.stderr
    assert repository.ref("refs/heads/master") == origin.git("rev-parse", "HEAD")
    commit = origin.commit("ok", {"n": "more"})
    done = origin.push()
    assert done.returncode == 0, done.stderr
    assert repository.ref("refs/heads/master") == commit
    assert commit in history(clone_of(platform, "ci", "copy", "-c", "protocol.version=2"))
