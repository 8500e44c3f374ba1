"""A disk that fills at each step of a push: an error with its code, what is live serves on, and no trace later."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.paths import Home
from tests.blackbox.project import Platform, Project, eventually
from tests.conftest import RunningPlatform, bring_up, erased, free_port, platform_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")

ROOMY = "size=4g,nr_inodes=4000000"


class Disk:
    """A small file system: its room is set to what is used and so much more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        options = f"{ROOMY},mode=0711"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True)

    def leave(self, *, size: int | None = None, files: int | None = None) -> None:
        """Have only ``size`` bytes left, or room for ``files`` more files."""
        self.free()
        found = os.statvfs(self.folder)
        if size is not None:
            self._remount(f"size={(found.f_blocks - found.f_bfree) * found.f_frsize + size}")
        if files is not None:
            self._remount(f"nr_inodes={found.f_files - found.f_ffree + files}")

    def free(self) -> None:
        self._remount(ROOMY)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    with platform_folder() as folder:
        made = Disk(folder)
        made.mount()
        try:
            yield made
        finally:
            made.unmount()


@pytest.fixture(scope="module")
def small(disk: Disk) -> Iterator[RunningPlatform]:
    """A platform all of whose state lies on the small disk."""
    with ExitStack() as stack:
        made = stack.enter_context(erased(RunningPlatform(disk.folder, free_port())))
        bring_up(made)
        stack.callback(disk.free)
        yield made


@dataclass
class Walk:
    """Pushes of one commit, each with a little more room, until one goes live or only the switch is refused."""

    project: Project
    disk: Disk
    said: list[str] = field(default_factory=list)

    def refused(self, files: Mapping[str, str], rooms: Iterable[Mapping[str, int]]) -> None:
        served = self.project.get()[2]
        self.project.write(files)
        self.project.commit("more")
        for room in rooms:
            self.project.git("commit", "--quiet", "--amend", "-m", f"with {room}")
            self.disk.leave(**room)
            try:
                done = self.project.push()
                now = self.project.get()[2]
            finally:
                self.disk.free()
            if done.returncode == 0:
                break
            said = f"{room}: {done.stderr}"
            self.said.append(said)
            assert done.returncode == 1, said
            assert "platform/disk-full" in done.stderr, said
            assert "Traceback" not in done.stderr, said
            assert "platform/internal" not in done.stderr, said
            assert now == served, said
            if "moving the branch" in done.stderr:
                break
        else:
            raise AssertionError(f"with the most room, too: {self.said[-1]}")
        steps = {sum("----->" in line for line in one.splitlines()) for one in self.said}
        assert len(steps) >= 2, f"it was refused at too few places: {self.said}"

    def recovered(self, version: str) -> None:
        """With room, the next push goes live, and nothing is left of all those before it."""
        project, home = self.project, Home(self.project.platform.home)
        if project.get()[2] != version.encode():
            done = project.push()
            assert done.returncode == 0, done.stderr
        assert project.get()[2] == version.encode()
        assert project.remote_head() == project.head()
        verified = project.dae("slugs", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        collected = project.dae("gc")
        assert collected.returncode == 0, collected.stderr
        assert list(home.builds.iterdir()) == []
        left = [*home.repo(project.name).rglob("*tmp_*"), *home.repo(project.name).rglob("*.lock")]
        assert [path for path in left if path.name != "dae-push.lock"] == []
        assert [path for path in home.root.rglob("*.new") if "platform" not in path.parts] == []
        eventually(lambda: {row["state"] for row in self._listed("builds")} == {"succeeded", "failed"})
        eventually(lambda: {row["state"] for row in self._listed("releases")} <= {"live", "superseded", "failed"})
        eventually(lambda: len(self._listed("ps")) == 1)

    def _listed(self, what: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.project.dae(what, "--json").stdout)
        return listed


def test_files(small: Platform, disk: Disk, tmp_path: Path) -> None:
    """No room for one more file, wherever a push makes one: objects, checkout, compile step, layer, release, route."""
    project = Project.create(small, tmp_path / "app", "files")
    assert project.push().returncode == 0
    files = {"app.py": project.flask("two")["app.py"], "bin/post_compile": "echo made > made.txt\n"}
    walk = Walk(project, disk)
    walk.refused(files, ({"files": number} for number in range(100)))
    walk.recovered("two")


def test_bytes(small: Platform, disk: Disk, tmp_path: Path) -> None:
    """No room for one more page, wherever a push writes one: the database as well."""
    project = Project.create(small, tmp_path / "app", "bytes")
    assert project.push().returncode == 0
    walk = Walk(project, disk)
    # Where the record of the release fits no more, nor now and then that the lock is free again, the next push waits
    # until that runs out: few of those.
    rooms = [*range(0, 96, 8), 104, 128, 512]
    walk.refused({"app.py": project.flask("two")["app.py"]}, ({"size": number << 10} for number in rooms))
    walk.recovered("two")


def test_requirements(small: Platform, disk: Disk, tmp_path: Path) -> None:
    """The same for locking, installing and making an environment, and for the pages and files of the mirror."""
    project = Project.create(small, tmp_path / "app", "packages")
    assert project.push().returncode == 0
    walk = Walk(project, disk)
    files = {"app.py": project.flask("two")["app.py"], "pip-req.txt": "flask\niniconfig\nsix\n"}
    rooms = [*range(10, 120, 10), 400, 1000, 1500, 4000]  # an environment is of some 1600 files
    walk.refused(files, ({"files": number} for number in rooms))
    walk.recovered("two")
