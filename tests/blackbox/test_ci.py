"""Tests of an app: run in the background after a push, shown, and required before a stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.project import Platform, Project, eventually
from tests.blackbox.test_crashes import parts, strike

APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
APP_YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
TESTS = """\
import os
import iniconfig
import six
from app import app


def test_app():
    assert list(app({}, lambda *_: None)) == [b"hello"]
    assert six.__version__ == "1.16.0"
    assert "SECRET" not in os.environ
"""
LEAVE = "import socket\nsocket.socket(socket.AF_UNIX).bind('app.sock')\n"
ENDED = {"passed", "failed", "error", "interrupted"}


def files(ci: str = "", **more: str) -> dict[str, str]:
    return {"app.yaml": APP_YAML + ci, "app.py": APP, "pip-req.txt": "six<1.17\n", **more}


def runs(project: Project) -> list[dict[str, Any]]:
    done = project.dae("ci", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def ended(project: Project, count: int = 1) -> dict[str, Any]:
    """The newest of that many runs, once it is over."""

    def newest() -> dict[str, Any] | None:
        found = runs(project)
        return found[0] if len(found) == count and found[0]["state"] in ENDED else None

    run: dict[str, Any] = eventually(newest, 120)
    return run


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def log_of(project: Project) -> str:
    return project.dae("ci", "log").stdout


@pytest.fixture(scope="module")
def tested(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An app whose tests passed."""
    ci = "ci: pytest -q -p no:cacheprovider test_app.py\n"
    more = {"test_app.py": TESTS, "dev-req.txt": "pytest\niniconfig\n"}
    project = Project.create(platform, tmp_path_factory.mktemp("ci") / "app", "tested", files(ci, **more))
    assert project.dae("config", "set", "SECRET=hush").returncode == 0
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert "its tests run in the background: dae ci -a tested" in done.stderr
    return project


def test_passing(tested: Project) -> None:
    """Tests run with the slug's own packages and those of dev-req.txt, which the slug does not get; all tell of it."""
    run = ended(tested)
    assert (run["state"], run["status"]) == ("passed", 0), log_of(tested)
    assert "1 passed" in log_of(tested)
    built = json.loads(tested.dae("builds", "--json").stdout)[0]
    assert built["tests"] == "passed"
    assert len(json.loads(tested.dae("builds", "--json").stdout)) == 1
    assert "iniconfig" not in tested.dae("slugs", "lock", run["slug"]).stdout
    kinds = [event["kind"] for event in json.loads(tested.dae("events", "-a", "tested", "--json").stdout)]
    assert kinds.index("release-live") < kinds.index("ci-started") < kinds.index("ci-succeeded")
    again = tested.dae("ci", "run", run["commit"][:12], "--json")
    assert again.returncode == 0, again.stderr
    assert ended(tested, 2)["state"] == "passed"
    assert "nothing to install" in log_of(tested)


def test_the_gate(tested: Project) -> None:
    """What failed stays live in dev, and goes up by promotion, push and deploy only when that is asked for by name."""
    ended(tested, len(runs(tested)))
    assert json.loads(tested.dae("ci", "require", "stable", "beta", "--json").stdout) == {"require": ["beta", "stable"]}
    promoted = tested.dae("promote")
    assert promoted.returncode == 0, promoted.stderr
    count = len(runs(tested))
    tested.write({"test_app.py": "def test_app():\n    assert False, 'on purpose'\n"})
    commit = tested.commit("tests that fail")
    assert tested.push().returncode == 0
    run = ended(tested, count + 1)
    assert (run["state"], run["status"], run["error"]) == ("failed", 1, "build/step-failed")
    assert "on purpose" in log_of(tested)
    slug = json.loads(tested.dae("builds", "--json").stdout)[0]["slug"]
    for refused in (
        tested.dae("promote"),
        tested.dae("promote", "--dry-run"),
        tested.dae("deploy", "--slug", slug[:12], "-s", "beta"),
        tested.push("master:beta"),
    ):
        assert refused.returncode == 1
        assert "release/untested" in refused.stderr
        assert f"those of commit {commit[:12]} of tested failed" in refused.stderr
    assert len(runs(tested)) == count + 1
    forced = tested.dae("promote", "--untested")
    assert forced.returncode == 0, forced.stderr
    told = json.loads(tested.dae("events", "-a", "tested", "--json").stdout)
    started = [event["data"] for event in told if event["kind"] == "release-started" and event["stage"] == "beta"]
    assert [data.get("untested", False) for data in started] == [False, True]
    assert tested.dae("ci", "require", "--none").stdout == "no stage requires tests\n"
    assert tested.dae("promote", "--from", "beta").returncode == 0


def test_a_stage_that_is_pushed_to(platform: Platform, tmp_path: Path) -> None:
    """A commit that comes to the stage first is refused, tested, and then taken; one that has no tests is told so."""
    project = Project.create(platform, tmp_path / "app", "pushed-up", files())
    assert project.dae("ci", "require", "beta").returncode == 0
    refused = project.push("master:beta")
    assert "release/untested" in refused.stderr and "names none" in refused.stderr
    assert project.dae("ci", "run").returncode == 1
    project.write(files("ci: {run: ['true', python leave.py, test -S app.sock]}\n", **{"leave.py": LEAVE}))
    project.commit("with tests")
    refused = project.push("master:beta")
    assert refused.returncode == 1 and "release/untested" in refused.stderr
    assert ended(project)["state"] == "passed"
    done = project.push("master:beta")
    assert done.returncode == 0, done.stderr
    assert project.get(stage="beta")[0] == 200


def test_control_killed_in_the_middle(platform: Platform, tmp_path: Path) -> None:
    """A run whose control died is interrupted, never running for ever; one that waited is run, and so is a new one."""
    project = Project.create(platform, tmp_path / "app", "cut-short", files("ci: sleep 4\n"))
    assert project.push().returncode == 0
    assert project.dae("ci", "run").returncode == 0
    eventually(lambda: [run["state"] for run in runs(project)] == ["queued", "running"])
    (copy,) = eventually(lambda: list((platform.home / "builds").glob("*-tests")))
    assert copy.stat().st_mode & 0o777 == 0o700
    strike(parts(platform)["control"])
    eventually(lambda: [run["state"] for run in runs(project)] == ["passed", "interrupted"], 90)
    assert len(json.loads(project.dae("builds", "--json").stdout)) == 1
    assert not list((platform.home / "builds").glob("*-tests"))


def test_hostile_tests(platform: Platform, tmp_path: Path) -> None:
    """Tests that never end, or that undo their surroundings, end at their deadline; the app is as it was."""
    endless = "ci: {run: 'chmod -R 0 . ; rm -rf .. ; (setsid sleep 61234 &) ; sleep 600', timeout: 3}\n"
    project = Project.create(platform, tmp_path / "app", "hostile-ci", files(endless))
    assert project.push().returncode == 0
    run = ended(project)
    assert (run["state"], run["status"], run["error"]) == ("failed", None, "build/timeout")
    assert project.get()[0] == 200
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"61234" in read(path)]
    group = '[dependency-groups]\ndev = ["iniconfig"]\n'
    project.write(files("ci: no-such-tool -q\n", **{"pyproject.toml": group}))
    project.commit("a program that is not there")
    assert project.push().returncode == 0
    run = ended(project, 2)
    assert (run["state"], run["status"]) == ("failed", 127)
    told = log_of(project)
    assert "Adding what the group dev of pyproject.toml requires" in told
    assert "no-such-tool is not among what the tests get: write its package into the group dev of pyproject" in told


def test_an_app_that_goes_away(platform: Platform, tmp_path: Path) -> None:
    """Its tests end with it, and keep nobody waiting; nothing of them is left."""
    going = Project.create(platform, tmp_path / "one", "going-away", files("ci: sleep 600\n"))
    assert going.push().returncode == 0
    eventually(lambda: [run["state"] for run in runs(going)] == ["running"])
    coming = Project.create(platform, tmp_path / "two", "coming-next", files("ci: 'true'\n"))
    assert coming.push().returncode == 0
    logs = set((platform.home / "logs" / "tests").iterdir())
    destroyed = going.dae("destroy", "going-away", "--confirm", "going-away")
    assert destroyed.returncode == 0, destroyed.stderr
    assert ended(coming)["state"] == "passed"
    eventually(lambda: not list((platform.home / "builds").glob("*-tests")))
    assert logs - set((platform.home / "logs" / "tests").iterdir())


def test_a_file_that_is_not_there(tested: Project) -> None:
    """What the tests are said to require must be in the commit: else the push is refused, not the run."""
    tested.write({"app.yaml": APP_YAML + "ci: {run: x, requires: dev_req.txt}\n", "dev-req.txt": "iniconfig\n"})
    tested.commit("a file that is not there")
    refused = tested.push()
    assert refused.returncode == 1
    assert "requires dev_req.txt, which is not in the commit" in refused.stderr
    assert "name dev-req.txt, which is there" in refused.stderr


def test_options_before_the_verb(tested: Project) -> None:
    """They are what the verb works on: none is passed over, and the app of the folder is not taken instead."""
    for words in (("ci", "-a", "no-such", "require", "--none"), ("config", "-a", "no-such", "set", "A=1")):
        refused = tested.dae(*words)
        assert refused.returncode == 1 and "app/unknown" in refused.stderr, refused.stderr
    assert tested.dae("config", "--show", "set", "A=1").returncode == 2
