"""A platform of a user who is not root, from an empty folder: one, for all that is to be seen of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.blackbox.project import eventually
from tests.blackbox.test_steps import PLAIN, build, running
from tests.conftest import RunningPlatform, erased
from tests.platform.test_lifecycle import parts


@pytest.fixture(scope="module")
def plain_platform(plain_checkout: RunningPlatform) -> Iterator[RunningPlatform]:
    """Made by the command that the README names first, which tells the main job's story."""
    with erased(plain_checkout) as made:
        shown = made.run("make", "demo", cwd=made.checkout)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert "hello v7 is live in stable" in shown.stdout
        yield made


def test_as_a_plain_user(plain_platform: RunningPlatform) -> None:
    """Without root everything runs as the one user, and doctor says what that means."""
    found = parts(plain_platform)
    assert all(row["ok"] for row in found.values()), found
    owners = {Path(f"/proc/{row['pid']}").stat().st_uid for row in found.values()}
    assert owners == {plain_platform.home.stat().st_uid}
    report = plain_platform.dae("doctor")
    assert report.returncode == 0, report.stdout
    assert "not root" in report.stdout


def push(platform: RunningPlatform, folder: Path, files: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Commit files as that user, and push."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        for entry in (path.parent, path):
            if platform.account:
                shutil.chown(entry, platform.account, platform.account)
    for command in (["add", "-A"], ["commit", "--quiet", "-m", "x"]):
        assert platform.git(*command, cwd=folder).returncode == 0
    return platform.git("push", "dae", "master", cwd=folder)


def _give(tree: Path, account: str) -> None:
    for entry in (tree, *tree.rglob("*")):
        shutil.chown(entry, account, account)


def test_steps_without_accounts(plain_platform: RunningPlatform) -> None:
    """They run, fail and are looked at in the same way, and so do the operator's buildpacks; what stays in its group
    ends with the build."""
    folder = plain_platform.folder / "plainly"
    folder.mkdir()
    if plain_platform.account:
        shutil.chown(folder, plain_platform.account, plain_platform.account)
    plain_platform.git("init", "--quiet", "--initial-branch=master", cwd=folder)
    assert plain_platform.dae("create", "plainly", cwd=folder).returncode == 0
    done = push(plain_platform, folder, {**PLAIN, **build("sleep 86391 & mkdir -m 0 closed; echo made > made.txt")})
    assert done.returncode == 0, done.stderr
    assert plain_platform.get("plainly.dev.localhost")[2] == b"made\n"
    eventually(lambda: not running("86391"))
    bad = push(plain_platform, folder, build("ln -s /etc/passwd static/leak"))
    assert bad.returncode == 1
    assert "build/unsafe-tree" in bad.stderr
    assert plain_platform.get("plainly.dev.localhost")[2] == b"made\n"
    assert list((plain_platform.home / "builds").iterdir()) == []
    place = plain_platform.home / "buildpacks" / "textsite"
    shutil.copytree(plain_platform.checkout / "examples" / "buildpack-textsite", place)
    if plain_platform.account:
        _give(place, plain_platform.account)
    packed = push(plain_platform, folder, {"app.yaml": "buildpacks: [textsite, static]\n", "pages/hello.txt": "Hello"})
    assert packed.returncode == 0, packed.stderr
    assert b"hello.html" in plain_platform.get("plainly.dev.localhost")[2]
