"""Layers on disk: what is damaged is never run, what nobody needs goes, what is kept can be told and carried away."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.blackbox.project import Project
from tests.conftest import RunningPlatform, bring_up

Make = Callable[[], RunningPlatform]


def slug(project: Project) -> dict[str, str]:
    """The manifest of what is live in dev."""
    live = next(r for r in json.loads(project.dae("releases", "--json").stdout) if r["state"] == "live")
    manifest: dict[str, str] = json.loads((project.platform.home / "slugs" / f"{live['slug']}.json").read_text())
    return manifest


def flip(path: Path, *, tell: bool) -> None:
    """Change a byte in place, in every name that the file has; ``tell``: the file's time tells of it."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    path.chmod(stat.S_IMODE(before.st_mode))
    if not tell:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def project(new_platform: Make, tmp_path: Path) -> Project:
    made = new_platform()
    bring_up(made)
    project = Project.create(made, tmp_path / "kept", "kept")
    project.pushed("one")
    return project


def test_damage_is_never_run(project: Project) -> None:
    """Layers that somebody wrote to are built again before anything starts from them; the slug stays the same."""
    layers, before = project.platform.home / "layers", slug(project)
    code = layers / "code" / "kept" / before["code"] / "app.py"
    environment = next((layers / "env" / before["environment"]).glob("lib/*/site-packages/flask/app.py"))
    source, library = code.read_bytes(), environment.read_bytes()

    flip(code, tell=True)
    promoted = project.dae("promote", "--from", "dev")
    assert promoted.returncode == 0, promoted.stderr
    assert "app.py was changed; building it again" in promoted.stderr
    assert code.read_bytes() == source
    assert project.get(stage="beta")[2] == b"one"

    flip(environment, tell=True)
    again = project.dae("restart")
    assert again.returncode == 0, again.stderr
    assert "flask/app.py was changed; building it again" in again.stderr
    assert environment.read_bytes() == library
    assert slug(project) == before
    quiet = project.dae("restart")
    assert "building" not in quiet.stderr, quiet.stderr
