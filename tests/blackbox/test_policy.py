"""The index's policy as those who push meet it: real git, the real index, the reason in the build's own words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'%s']\n"
DENY = "[[rule]]\naction = 'deny'\nname = 'iniconfig'\nreason = 'ask Ann first'\n"


class Operator:
    """Writes the policy and waits until it is in force for the project ``iniconfig``."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.file, self.folder = platform.home / "mirror-policy.toml", platform.home / "mirror-advisories"

    def set(self, text: str, told: str, view: str = "") -> None:
        """``told``: what the index says then, in that view, of files of the project; empty for nothing."""
        self.file.write_text(text)
        self.file.chmod(0o644)
        deadline = time.monotonic() + 60
        while (words := self.why(f"/view/{view}" if view else "")) is None or (told not in words if told else words):
            assert time.monotonic() < deadline, words
            time.sleep(0.1)

    def why(self, below: str) -> str | None:
        status, _headers, body = self.platform.get("localhost", f"/pypi{below}/simple/iniconfig/?why=1")
        return body.decode() if status == 200 else None

    def advise(self) -> None:
        span = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}
        entry = {"package": {"ecosystem": "PyPI", "name": "iniconfig"}, "ranges": [span]}
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "a.json").write_text(json.dumps({"id": "PYSEC-9", "affected": [entry]}))
        (self.folder / "a.json").chmod(0o644)


@pytest.fixture
def operator(platform: Platform) -> Iterator[Operator]:
    made = Operator(platform)
    yield made
    (made.folder / "a.json").unlink(missing_ok=True)
    made.set("", "")


def test_a_push_under_the_policy(platform: Platform, operator: Operator, tmp_path: Path) -> None:
    """A refusal's rule and reason stand in the build's log; a warning does in that of each push that succeeds."""
    files = {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: app:app\n", "pip-req.txt": "iniconfig==2.0.0\n"}
    project = Project.create(platform, tmp_path / "app", "under-policy", {**files, "app.py": APP % "one"})
    operator.set(DENY, "ask Ann first")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/unresolvable" in refused.stderr
    assert "is not let through (rule 1): ask Ann first" in refused.stderr
    operator.advise()
    operator.set("vulnerabilities = 'warn'\n", "PYSEC-9")
    for text in ("one", "two"):
        project.write({"app.py": APP % text})
        project.commit(text)
        done = project.push()
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("iniconfig 2.0.0 has a known vulnerability: PYSEC-9") == 1, done.stderr
    assert project.get()[2] == b"two"


def test_stages_with_views(platform: Platform, operator: Operator, tmp_path: Path) -> None:
    """What a stage's view refuses goes live there on no path, but back; a commit built for the stage has what may."""
    files = {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: app:app\n", "pip-req.txt": "iniconfig<=2.0.0\n"}
    project = Project.create(platform, tmp_path / "app", "in-view", {**files, "app.py": APP % "one"})
    assert project.push("master:release").returncode == 0
    project.write({"app.py": APP % "two"})
    head = project.commit("two")
    done = project.push("master:release")
    assert done.returncode == 0, done.stderr
    project.write({"app.py": APP % "three"})
    project.commit("three")
    assert project.push().returncode == 0
    denied = "action = 'deny'\nname = 'iniconfig'\nversion = '==2.0.0'\nreason = 'ask Ann first'\n"
    operator.set("".join(f"[[view.{view}.rule]]\n{denied}" for view in ("beta", "stable")), "ask Ann", "stable")
    slug = json.loads(project.dae("slugs", "--json").stdout)[0]["slug"]
    for refused in (
        project.push("master:release"),
        project.dae("promote"),
        project.dae("deploy", "--slug", slug, "-s", "stable"),
    ):
        assert refused.returncode == 1, refused.stderr
        assert "release/refused" in refused.stderr
        assert "iniconfig-2.0.0-py3-none-any.whl is not let through" in refused.stderr
        assert "ask Ann first" in refused.stderr
    assert project.remote_head("release") == head
    assert project.get(stage="stable")[2] == b"two"
    back = project.dae("rollback", "-s", "stable")
    assert back.returncode == 0, back.stderr
    assert "ask Ann first" in back.stdout + back.stderr
    assert project.get(stage="stable")[2] == b"one"
    project.write({"app.py": APP % "four"})
    project.commit("four")
    other = project.push("master:release")
    assert other.returncode == 0, other.stderr
    assert "iniconfig 2.0.0 ->" in other.stderr
    assert project.get(stage="stable")[2] == b"four"
