"""Pushes whose instance was begun while they were built: nobody can tell, and nothing of it stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.project import Platform, Project, eventually

APP_YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
APP = """\
import colour, json, os, sys
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    told = [colour.NAME, sys.orig_argv, os.environ["DAE_RELEASE"], os.environ.get("SIZE"), os.getcwd(), sys.path[:2]]
    return [json.dumps(told).encode()]
"""
WARM = "dae.runtime.warm"


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    files = {"app.yaml": APP_YAML, "app.py": APP, "colour.py": "NAME = 'blue'\n"}
    made = Project.create(platform, tmp_path_factory.mktemp("warming") / "app", "warming", files)
    done = made.push()
    assert done.returncode == 0, done.stderr
    return made


def told(project: Project) -> Any:
    return json.loads(project.get()[2])


def pushed(project: Project, files: dict[str, str]) -> Any:
    project.write(files)
    project.commit("another")
    done = project.push()
    assert done.returncode == 0, done.stderr
    return told(project)


def waiting(project: Project) -> set[str]:
    """The releases of the app whose instances wait to be told what they are, or were begun so."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if WARM.encode() in words and f"DAE_APP={project.name}".encode() in variables:
            found |= {word.decode() for word in variables if word.startswith(b"DAE_RELEASE=")}
    return found


def test_the_next_release(project: Project) -> None:
    """It was begun before its code was there, and has its own code, number, folder and paths."""
    assert WARM not in told(project)[1]  # there was nothing to be like
    colour, argv, release, _size, cwd, path = pushed(project, {"colour.py": "NAME = 'green'\n"})
    assert WARM in argv
    assert (colour, release) == ("green", project.get()[1]["X-DAE-Release"])
    assert path == [cwd, cwd]
    assert eventually(lambda: waiting(project) == {f"DAE_RELEASE={release}"})


def test_what_would_differ(project: Project) -> None:
    """Where the app changes what an interpreter loads first, or its config changed, the start is one from the start."""
    custom = {"sitecustomize.py": "import os\nos.environ['SIZE'] = 'large'\n"}
    colour, argv, _release, size, *_ = pushed(project, {**custom, "colour.py": "NAME = 'red'\n"})
    assert (colour, size, WARM in argv) == ("red", "large", False)
    project.git("rm", "--quiet", "sitecustomize.py")
    assert project.dae("config", "set", "SIZE=small").returncode == 0
    assert WARM not in told(project)[1]  # a restart with another variable
    colour, argv, _release, size, *_ = pushed(project, {"colour.py": "NAME = 'white'\n"})
    assert (colour, size, WARM in argv) == ("white", "small", True)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"pip-req.txt": "no-such-package-of-ours\n"}, "build/unresolvable"),
        ({"colour.py": "raise SystemExit('no colour')\n"}, "release/crashed"),
        ({"app.yaml": "handlers: 5\n"}, "build/bad-app-yaml"),
    ],
)
def test_a_push_that_fails(project: Project, files: dict[str, str], code: str) -> None:
    """What serves goes on, and what was begun is gone."""
    before, head = told(project), project.remote_head()
    project.write(files)
    project.commit("bad")
    done = project.push()
    assert done.returncode == 1
    assert code in done.stderr
    assert told(project) == before
    assert eventually(lambda: waiting(project) <= {f"DAE_RELEASE={before[2]}"})
    project.git("reset", "--quiet", "--hard", head)
