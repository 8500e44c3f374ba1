"""What is broken is refused: git fails, the last line says why, the old release serves, the branch stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, watched

WSGI = "def app(environ, start_response):\n"

BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "unknown requirement": ({"pip-req.txt": "flask\nno-such-project-of-ours-4711\n"}, "build/unresolvable"),
    "impossible version": ({"pip-req.txt": "flask==99.99\n"}, "build/unresolvable"),
    "malformed requirements": ({"pip-req.txt": "flask ==\n"}, "build/bad-requirements"),
    "editable requirement": ({"pip-req.txt": "-e ./lib\n"}, "build/unsupported-requirement"),
    "extra index": (
        {"pip-req.txt": "--extra-index-url http://evil.example/\nflask\n"},
        "build/unsupported-requirement",
    ),
    "malformed app.yaml": ({"app.yaml": "handlers: [\n"}, "build/bad-app-yaml"),
    "duplicate keys": (
        {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: app:app\nhandlers:\n- url: /.*\n  wsgi_app: app:app\n"},
        "build/bad-app-yaml",
    ),
    "bad Procfile": ({"Procfile": "worker python worker.py\n"}, "build/bad-procfile"),
    "two webs": ({"Procfile": "web: python -m http.server $PORT\n"}, "build/"),
    "unknown interpreter": (
        {"app.yaml": "runtime: python2.4\nhandlers:\n- url: /.*\n  wsgi_app: app:app\n"},
        "build/bad-runtime",
    ),
    "crash at import": ({"app.py": "raise RuntimeError('no luck at import')\n"}, "release/crashed"),
    "no such module": ({"app.py": "import a_module_that_is_not_there\n"}, "release/crashed"),
    "500 on health": ({"app.py": WSGI + "    raise ValueError('no luck')\n"}, "release/unhealthy"),
    "never answers": (
        {
            "app.py": WSGI + "    import time\n    time.sleep(600)\n",
            "app.yaml": "health:\n  timeout: 2\nhandlers:\n- url: /.*\n  wsgi_app: app:app\n",
        },
        "release/silent",
    ),
    "release command fails": ({"Procfile": "release: python -c 'raise SystemExit(3)'\n"}, "release/command-failed"),
}


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.create(platform, tmp_path_factory.mktemp("broken") / "app", "broken")
    made.pushed("good")
    return made


@pytest.mark.parametrize("what", BROKEN)
def test_refused(project: Project, what: str) -> None:
    """git exits 1; the last line has code, cause and next step; nothing but 200 is seen; the branch has not moved."""
    files, code = BROKEN[what]
    good, served = project.remote_head(), project.get()[1]["X-DAE-Release"]
    project.git("reset", "--quiet", "--hard", good)
    project.write(files)
    project.commit(what)
    with watched(project) as seen:
        refused = project.push()
    assert refused.returncode == 1, refused.stderr
    told = [line for line in refused.stderr.splitlines() if line.startswith("remote:") and line.strip() != "remote:"]
    assert code in "\n".join(told[-2:]), refused.stderr
    assert told[-2].startswith("remote:  !     build/" if code.startswith("build") else "remote:  !     release/")
    assert told[-1].startswith("remote:        ") and len(told[-1].strip()) > 20, refused.stderr
    assert project.remote_head() == good
    assert set(seen.statuses) == {"200"}, seen
    assert seen.releases == [served]
    assert project.get()[2] == b"good"


def test_the_crash_is_shown(project: Project) -> None:
    """The app's own traceback is in the push's output, once, and nothing of what imported it; all of it is in the log.

    It begins and ends with what the developer can change: the file and the line, then what happened and what to do."""
    project.git("reset", "--quiet", "--hard", project.remote_head())
    project.write({"app.py": "import helper\n", "helper.py": "raise RuntimeError('seen by you')\n"})
    project.commit("crash")
    refused = project.push()
    told = [line.removeprefix("remote: ").rstrip() for line in refused.stderr.splitlines() if "remote: " in line]
    start = next(number for number, line in enumerate(told) if "Traceback" in line)
    assert told[start:] == [
        "       Traceback (most recent call last):",
        '         File "app.py", line 1, in <module>',
        "           import helper",
        '         File "helper.py", line 1, in <module>',
        "           raise RuntimeError('seen by you')",
        "       RuntimeError: seen by you",
        "       (frames outside of your code are left out; all of them: dae logs)",
        " !     release/crashed: the handler 'wsgi_app: app:app' cannot be imported: RuntimeError: seen by you",
        "       its last lines are above",
    ]
    assert "importlib" in project.dae("logs").stdout
    project.git("reset", "--quiet", "--hard", project.remote_head())


def test_other_branches_are_refused_with_the_command_to_type(project: Project) -> None:
    """A branch that does not deploy is not silently kept."""
    refused = project.push("master:feature/x")
    assert refused.returncode == 1
    assert "push/wrong-branch" in refused.stderr
    assert "git push dae feature/x:master" in refused.stderr
    assert project.remote_head("feature/x") == ""
    project.git("tag", "-a", "v1.0", "-m", "first")
    tagged = project.push("v1.0")
    assert tagged.returncode == 0, tagged.stderr
    assert "deploy nothing; to deploy this one: git push dae v1.0^0:master" in tagged.stderr
    assert project.push("v1.0^0:master").returncode == 0


def test_the_good_one_still_goes(project: Project) -> None:
    """After all that the next good push is live."""
    project.git("reset", "--quiet", "--hard", project.remote_head())
    project.pushed("better")
    assert project.get()[2] == b"better"


def test_a_worker_that_ends_at_once(platform: Platform, tmp_path: Path) -> None:
    """An app without a web process is live only when its processes run; then it is, and a restart replaces them."""
    project = Project.create(platform, tmp_path / "toil", "toil", {"Procfile": "worker: false\n", "pip-req.txt": ""})
    refused = project.push()
    assert refused.returncode == 1, refused.stderr
    assert "release/crashed" in refused.stderr
    project.write({"Procfile": "worker: sleep 1000\n"})
    project.commit("at work")
    assert project.push().returncode == 0
    before = {row["pid"] for row in json.loads(project.dae("ps", "--json").stdout)}
    assert project.dae("restart").returncode == 0
    after = {row["pid"] for row in json.loads(project.dae("ps", "--json").stdout)}
    assert len(before) == len(after) == 1
    assert not before & after


def test_an_environment_of_many_folders(platform: Platform, tmp_path: Path) -> None:
    """The Django example goes live at its first push: thousands of folders, a release command, its own web command."""
    source = Path(__file__).parents[2] / "examples" / "django-site"
    files = {str(p.relative_to(source)): p.read_text() for p in source.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    project = Project.create(platform, tmp_path / "site", "site", files)
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert project.get()[0] == 200
