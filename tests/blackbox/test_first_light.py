"""From a push to a page, through the stages, and back: the way a developer goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, eventually, watched

Made = tuple[Platform, Path]


def releases(project: Project) -> list[dict[str, object]]:
    listed = project.dae("releases", "--json")
    assert listed.returncode == 0, listed.stderr
    found: list[dict[str, object]] = json.loads(listed.stdout)
    return found


def live(project: Project) -> dict[str, dict[str, object]]:
    return {str(r["stage"]): r for r in releases(project) if r["state"] == "live"}


def test_the_whole_way(platform: Platform, tmp_path: Path) -> None:
    """v1 is pushed and promoted twice as the same bytes; v2 follows; a rollback brings v1 back; the record tells it."""
    project = Project.create(platform, tmp_path / "way", "way")

    first = project.pushed("one")
    assert "=====> way v1 is live in dev: http://way.dev.localhost" in first.stderr
    status, headers, body = project.get()
    assert (status, body, headers["X-DAE-Release"]) == (200, b"one", "v1")
    assert project.get("/static/hello.txt")[2] == b"static one\n"
    assert project.remote_head() == project.head()

    for _ in range(2):
        source = "dev" if "beta" not in live(project) else "beta"
        promoted = project.dae("promote", "--from", source)
        assert promoted.returncode == 0, promoted.stderr
    assert {r["slug"] for r in live(project).values()} == {live(project)["dev"]["slug"]}
    assert set(live(project)) == {"dev", "beta", "stable"}
    assert project.get(stage="beta")[2] == project.get(stage="stable")[2] == b"one"

    project.pushed("two")
    assert project.get(stage="dev")[2] == b"two"
    assert project.get(stage="stable")[2] == b"one"

    project.dae("promote", "--from", "dev")
    project.dae("promote", "--from", "beta")
    assert project.get(stage="stable")[2] == b"two"

    back = project.dae("rollback", "-s", "stable")
    assert back.returncode == 0, back.stderr
    status, headers, body = project.get(stage="stable")
    assert (status, body, headers["X-DAE-Release"]) == (200, b"one", "v7")
    assert project.get("/static/hello.txt", stage="stable")[2] == b"static one\n"

    told = [(r["release"], r["stage"], r["action"], r["state"]) for r in reversed(releases(project))]
    assert told == [
        ("v1", "dev", "deploy", "superseded"),
        ("v2", "beta", "promote", "superseded"),
        ("v3", "stable", "promote", "superseded"),
        ("v4", "dev", "deploy", "live"),
        ("v5", "beta", "promote", "live"),
        ("v6", "stable", "promote", "superseded"),
        ("v7", "stable", "rollback", "live"),
    ]


def test_unchanged_requirements_build_nothing(platform: Platform, tmp_path: Path) -> None:
    """A push that changes only code neither resolves nor installs; one that changes nothing reuses the slug."""
    project = Project.create(platform, tmp_path / "lean", "lean")
    project.pushed("one")
    second = project.pushed("two")
    assert "nothing to resolve, nothing to install" in second.stderr
    beta = project.push("master:beta")
    assert beta.returncode == 0, beta.stderr
    assert "nothing to build" in beta.stderr
    assert project.get(stage="beta")[2] == b"two"


def test_a_push_says_which_packages_changed(platform: Platform, tmp_path: Path) -> None:
    """Added, replaced and removed packages are named; what another app brought is linked, not installed again."""
    project = Project.create(platform, tmp_path / "diff", "diff")
    first = project.pushed("one")
    assert "Packages that changed" not in first.stderr
    project.write({"pip-req.txt": "flask\nmarkupsafe==2.1.5\ntoolz==1.0.0\n"})
    project.commit("more")
    more = project.push()
    assert more.returncode == 0, more.stderr
    shown = [line.removeprefix("remote:").strip() for line in more.stderr.splitlines()]
    told = shown[shown.index("-----> Packages that changed") + 1]
    assert told.startswith("markupsafe ")
    assert told.endswith(" -> 2.1.5")
    assert len([line for line in shown if line.startswith("toolz 1.0.0")]) == 1, "what was added is said once"
    project.write({"pip-req.txt": "flask\nmarkupsafe==2.1.5\n"})
    project.commit("less")
    less = project.push()
    assert less.returncode == 0, less.stderr
    assert "all of them here already" in less.stderr
    assert "toolz 1.0.0 removed" in less.stderr


def test_clone_gives_back_what_was_pushed(platform: Platform, tmp_path: Path) -> None:
    """Clone and fetch work with the credential helper alone."""
    project = Project.create(platform, tmp_path / "echo", "echo")
    project.pushed("one")
    url = project.git("remote", "get-url", "dae").stdout.strip()
    helper = project.git("config", "--get-urlmatch", "credential.helper", url).stdout.strip()
    cloned = platform.git("-c", f"credential.helper={helper}", "clone", "--quiet", url, "copy", cwd=tmp_path)
    assert cloned.returncode == 0, cloned.stderr
    assert platform.git("rev-parse", "HEAD", cwd=tmp_path / "copy").stdout.strip() == project.head()


def test_config_makes_a_release(platform: Platform, tmp_path: Path) -> None:
    """Setting a variable releases the same slug with it; setting it again changes nothing; a bad name is refused."""
    project = Project.create(platform, tmp_path / "conf", "conf")
    app = "import os\nfrom flask import Flask\napp = Flask(__name__)\n"
    app += "app.route('/')(lambda: os.environ.get('COLOUR', '-'))\n"
    project.write({"app.py": app})
    project.commit("reads its config")
    assert project.push().returncode == 0
    assert project.get()[2] == b"-"

    done = project.dae("config", "set", "COLOUR=blue $HOME 'x'")
    assert done.returncode == 0, done.stderr
    assert project.get()[2] == b"blue $HOME 'x'"
    assert releases(project)[0]["action"] == "config"
    before = len(releases(project))
    assert "nothing changes" in project.dae("config", "set", "COLOUR=blue $HOME 'x'").stderr
    assert len(releases(project)) == before

    for pair, code in (
        ("lower=1", "config/bad-key"),
        ("LD_PRELOAD=x", "config/reserved"),
        ("PATH=x", "config/reserved"),
    ):
        refused = project.dae("config", "set", pair)
        assert refused.returncode == 1
        assert code in refused.stderr

    assert project.dae("config", "unset", "COLOUR").returncode == 0
    assert project.get()[2] == b"-"
    assert project.dae("rollback").returncode == 0
    assert project.get()[2] == b"blue $HOME 'x'"


def test_a_procfile_app_with_a_worker_and_a_release_command(platform: Platform, tmp_path: Path) -> None:
    """Web on $PORT or on its socket, a worker beside it, a release command before the switch."""
    files = {
        "Procfile": (
            "web: python server.py $PORT\n"
            "worker: python worker.py\n"
            'release: python -c "import os, pathlib; '
            "pathlib.Path(os.environ['DAE_PERMDIR'], 'migrated').write_text('yes')\"\n"
        ),
        "server.py": (
            "import http.server, os, pathlib, sys\n"
            "class H(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        text = pathlib.Path(os.environ['DAE_PERMDIR'], 'migrated').read_bytes()\n"
            "        self.send_response(200); self.end_headers(); self.wfile.write(text)\n"
            "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
        ),
        "worker.py": "import time\nprint('worker at work', flush=True)\nwhile True: time.sleep(1)\n",
        "requirements.txt": "",
    }
    project = Project.create(platform, tmp_path / "proc", "proc", files)
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert project.get()[2] == b"yes"
    running = json.loads(project.dae("ps", "--json").stdout)
    assert [row["process"] for row in running] == ["web", "worker"]
    eventually(lambda: "worker at work" in project.dae("logs", "-p", "worker").stdout)

    restarted = project.dae("restart")
    assert restarted.returncode == 0, restarted.stderr

    def pids() -> set[int]:
        return {row["pid"] for row in json.loads(project.dae("ps", "--json").stdout)}

    eventually(lambda: len(pids()) == 2 and not pids() & {row["pid"] for row in running})


def test_restart_loses_no_request(platform: Platform, tmp_path: Path) -> None:
    """A restart replaces the instances beside the running ones."""
    project = Project.create(platform, tmp_path / "again", "again")
    project.pushed("one")
    with watched(project) as seen:
        assert project.dae("restart").returncode == 0
        assert project.dae("restart").returncode == 0
    assert set(seen.statuses) == {"200"}


def test_plans_are_printed_and_do_nothing(platform: Platform, tmp_path: Path) -> None:
    """--dry-run tells the steps and changes nothing."""
    project = Project.create(platform, tmp_path / "dry", "dry")
    project.pushed("one")
    before = releases(project)
    for words in (
        ("promote", "--dry-run"),
        ("restart", "--dry-run"),
        ("config", "set", "A=1", "--dry-run"),
        ("destroy", "dry", "--dry-run"),
        ("rename", "dried", "--dry-run"),
    ):
        told = project.dae(*words)
        assert told.returncode == 0, (words, told.stderr)
        assert told.stdout.strip(), words
    assert releases(project) == before
    assert project.get()[0] == 200


def test_rename_keeps_everything(platform: Platform, tmp_path: Path) -> None:
    """The app answers under its new name with its history and repository; the old host knows it no more."""
    project = Project.create(platform, tmp_path / "old", "oldname")
    project.pushed("one")
    done = project.dae("rename", "newname")
    assert done.returncode == 0, done.stderr
    assert " !     " not in done.stderr, done.stderr
    renamed = Project(platform, project.folder, "newname")
    assert eventually(lambda: renamed.get()[2]) == b"one"
    assert project.get()[0] == 404
    assert len(releases(renamed)) == 1
    renamed.pushed("two")
    assert renamed.get()[2] == b"two"


def test_destroy_leaves_nothing(platform: Platform, tmp_path: Path) -> None:
    """Destroying wants the name typed; then hosts, processes, repository and folders are gone, and the name is free."""
    project = Project.create(platform, tmp_path / "gone", "gone")
    project.pushed("one")
    assert project.dae("destroy", "gone").returncode != 0
    assert "app/confirm" in project.dae("destroy", "gone", "--confirm", "gonne").stderr
    assert project.get()[0] == 200
    done = project.dae("destroy", "gone", "--confirm", "gone")
    assert done.returncode == 0, done.stderr
    assert project.get()[0] == 404
    left = [str(p) for p in platform.home.rglob("*gone*") if "mirror" not in p.parts and "router" not in p.parts]
    assert left == []
    again = Project.create(platform, tmp_path / "gone2", "gone")
    again.pushed("new")
    assert again.get()[2] == b"new"
    assert [r["action"] for r in releases(again)] == ["deploy"]


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_index_serves_outside_clients(platform: Platform, tmp_path: Path, tool: str) -> None:
    """pip and uv install from the mirror, with nothing else to turn to."""
    target, index = str(tmp_path / "target"), f"http://localhost:{platform.port}/pypi/simple/"
    words = {
        "pip": [sys.executable, "-m", "pip", "--isolated", "install", "--no-cache-dir"],
        "uv": [str(Path(sys.executable).with_name("uv")), "pip", "install", "--no-config", "--no-cache"],
    }[tool]
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    done = subprocess.run(
        [*words, "--quiet", "--target", target, "--index-url", index, "flask"],
        capture_output=True,
        text=True,
        env=clean,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (Path(target) / "flask" / "__init__.py").exists()


def test_a_project_described_by_pyproject(platform: Platform, tmp_path: Path) -> None:
    """Its dependencies are installed, its range of Pythons holds; a file nobody reads is named with what to type."""
    project = Project.create(platform, tmp_path / "modern", "modern")
    (project.folder / "pip-req.txt").unlink()
    text = "[project]\nname = 'modern'\nrequires-python = '>=3.9'\ndependencies = ['flask', 'toolz==1.0.0']\n"
    app = "import toolz\nfrom flask import Flask\napp = Flask(__name__)\napp.route('/')(lambda: toolz.__version__)\n"
    project.write({"app.py": app, "pyproject.toml": text, ".python-version": f"3.{sys.version_info[1]}.99\n"})
    project.commit("as a project")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert "of the same series" in pushed.stderr
    assert project.get()[2] == b"1.0.0"
    project.write({"requirments.txt": "flask\n"})
    project.git("rm", "--quiet", ".python-version")
    project.commit("misspelt")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert " !     there is requirments.txt, which nothing reads" in pushed.stderr
    project.git("rm", "--quiet", "requirments.txt")
    project.write({"pyproject.toml": text.replace(">=3.9", ">=3.99")})
    project.commit("a Python that is not there")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/bad-runtime" in refused.stderr
    assert "requires Python >=3.99" in refused.stderr
    assert project.get()[2] == b"1.0.0"
