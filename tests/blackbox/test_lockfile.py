"""A lock in the repository: written by `dae lock` and `dae upgrade`, enforced by every push."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, eventually
from tests.blackbox.test_crashes import parts, strike

APP = """\
import importlib.metadata
import json


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return [json.dumps(found).encode()]
"""
FILES = {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: app:app\n", "app.py": APP}


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("lockfile") / "shop"
    yield Project.create(platform, folder, "lockshop", {**FILES, "pip-req.txt": "six<1.17\ntoolz==0.11.2\n"})


def served(project: Project) -> dict[str, str]:
    found: dict[str, str] = json.loads(project.get()[2])
    return found


def test_from_the_first_lock_to_an_upgrade(project: Project) -> None:
    """A lock is written, committed, enforced; it keeps versions until an upgrade asks for newer ones."""
    locked = project.dae("lock")
    assert locked.returncode == 0, locked.stderr
    lock = project.folder / "dae.lock"
    first = lock.read_text()
    assert "six==1.16.0 \\\n    --hash=sha256:" in first
    assert "gunicorn==" in first
    assert "six 1.16.0 added" in locked.stderr
    project.commit("lock")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert "as dae.lock says" in pushed.stderr
    assert served(project)["six"] == "1.16.0"
    assert "dae==" not in first  # each platform has its own, and no other index
    assert "dae" in served(project)

    again = project.dae("lock")
    assert (again.returncode, lock.read_text()) == (0, first)
    assert "is as it was" in again.stderr

    # Looser requirements: the push refuses the old lock, and says what differs.
    project.write({"pip-req.txt": "six\ntoolz\n"})
    checked = project.dae("lock", "--check")
    assert checked.returncode == 1
    assert "build/lock-outdated" in checked.stderr
    assert "'six' was added" in checked.stderr
    project.commit("loose")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/lock-outdated" in refused.stderr
    assert "dae lock" in refused.stderr

    # What is locked stays as long as it fits.
    assert project.dae("lock").returncode == 0
    assert "six==1.16.0" in lock.read_text()
    assert "toolz==0.11.2" in lock.read_text()
    fine = project.dae("lock", "--check")
    assert fine.returncode == 0, fine.stderr

    # One package is upgraded, the other stays; then all.
    one = project.dae("upgrade", "six", "--json")
    assert one.returncode == 0, one.stderr
    assert [line.split()[0] for line in json.loads(one.stdout)["changes"]] == ["six"]
    assert "six==1.16.0" not in lock.read_text()
    assert "toolz==0.11.2" in lock.read_text()
    assert project.dae("upgrade").returncode == 0
    assert "toolz==0.11.2" not in lock.read_text()
    project.commit("newer")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert "six 1.16.0 -> " in pushed.stderr
    assert served(project)["toolz"] != "0.11.2"
    assert all(build["commit"] for build in json.loads(project.dae("builds", "--json").stdout))


def test_what_does_not_fit_is_freed(platform: Platform, tmp_path: Path) -> None:
    """When a new requirement excludes a locked version, everything is resolved anew, and that is said."""
    files = {**FILES, "pip-req.txt": "-r more/base.txt\n", "more/base.txt": "six==1.15.0\n"}
    project = Project.create(platform, tmp_path / "freed", "freed", files)
    assert project.dae("lock").returncode == 0
    project.write({"more/base.txt": "six==1.16.0\n"})
    locked = project.dae("lock")
    assert locked.returncode == 0, locked.stderr
    assert "resolving all of them anew" in locked.stderr
    assert "six 1.15.0 -> 1.16.0" in locked.stderr


def test_a_changed_lock(platform: Platform, tmp_path: Path) -> None:
    """Of a lock that somebody edited, what is wrong is an error with a cause: hashes, versions, gaps, nonsense."""
    project = Project.create(platform, tmp_path / "edited", "edited", {**FILES, "pip-req.txt": "six==1.16.0\n"})
    assert project.dae("lock").returncode == 0
    lock = project.folder / "dae.lock"
    text = lock.read_text()
    before, entry = text[: text.rindex("\nsix==") + 1], text[text.rindex("\nsix==") + 1 :]
    wrong = "six==1.16.0 --hash=sha256:" + "0" * 64 + "\n"
    for changed, code in (
        (before + entry.replace("1.16.0", "1.15.0"), "build/lock-outdated"),
        (before + entry.replace("==1.16.0", ""), "build/bad-lock"),
        (text + wrong, "build/bad-lock"),
        (text.replace("# For ", "# "), "build/lock-outdated"),
        (before, "build/lock-outdated"),
        (before + wrong, "build/bad-lock: dae.lock: it was edited or merged by hand"),
        (
            re.sub(r"# Sum .*\n", "", before) + wrong,
            "build/install-failed: the index has no file of six 1.16.0 with a",
        ),
        (text.replace("six", "six\0"), "build/"),
        ("", "build/lock-outdated"),
        ("x" * (5 << 20), "build/bad-lock"),
    ):
        lock.write_text(changed)
        project.commit("edited")
        refused = project.push()
        assert refused.returncode == 1, changed[:2000]
        assert code in refused.stderr, (changed[:2000], refused.stderr)
        assert "Traceback" not in refused.stderr
        assert "platform/internal" not in refused.stderr


def test_misuse(project: Project, tmp_path: Path) -> None:
    """Unknown packages, a folder without an app and two locks: each says what to do."""
    unknown = project.dae("upgrade", "nosuchthing")
    assert unknown.returncode == 1
    assert "dae.lock holds no 'nosuchthing'" in unknown.stderr
    bad = project.dae("upgrade", "../x")
    assert bad.returncode == 1
    assert "local/bad-requirement" in bad.stderr
    empty = project.platform.dae("lock", "-a", project.name, cwd=tmp_path)
    assert empty.returncode == 1
    assert "build/no-entry" in empty.stderr
    (tmp_path / "index.html").write_text("a site")
    site = project.platform.dae("lock", "-a", project.name, cwd=tmp_path)
    assert site.returncode == 1
    assert "the app has no Python, so nothing to lock" in site.stderr
    (project.folder / "uv.lock").write_text("version = 1\n")
    pip_req = (project.folder / "pip-req.txt").read_text()
    (project.folder / "pip-req.txt").unlink()
    both = project.dae("lock")
    assert both.returncode == 1
    assert "uv.lock" in both.stderr
    (project.folder / "uv.lock").unlink()
    (project.folder / "pip-req.txt").write_text(pip_req)


def test_install_renews_the_lock(project: Project) -> None:
    """`dae install` writes the requirement, the lock and .venv together, or none of them."""
    before = {name: (project.folder / name).read_text() for name in ("pip-req.txt", "dae.lock")}
    assert project.dae("lock").returncode == 0
    failed = project.dae("install", "toolz==0.0.0.1")
    assert failed.returncode == 1
    assert {name: (project.folder / name).read_text() for name in before} == before
    done = project.dae("install", "iniconfig<2")
    assert done.returncode == 0, done.stderr
    assert "pip-req.txt, dae.lock and in .venv" in done.stderr
    version = project.dae("venv", "python", "-c", "import importlib.metadata as m; print(m.version('iniconfig'))")
    assert f"iniconfig=={version.stdout.strip()} " in (project.folder / "dae.lock").read_text()
    project.commit("iniconfig")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert served(project)["iniconfig"] == version.stdout.strip()


def test_what_a_push_reads_can_be_locked(platform: Platform, tmp_path: Path) -> None:
    """Oddly spelt includes and bystanders that no build reads: what a push takes, `dae lock` takes, and the same."""
    files = {
        **FILES,
        "requirements.txt": '\ufeff--pre -r "größe/base 1.in"\n',
        "größe/base 1.in": "-c ../limits\nsix\n",
    }
    project = Project.create(platform, tmp_path / "odd", "oddlock", {**files, "limits": "six<1.17", "requests.py": ""})
    (project.folder / "requests_größe.bin").write_bytes(b"\xff" * (5 << 20))
    project.commit("bystanders")
    locked = project.dae("lock")
    assert locked.returncode == 0, locked.stderr
    project.commit("lock")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    assert served(project)["six"] == "1.16.0"


@pytest.mark.parametrize(
    "files",
    [
        {"../pip-req.txt": ""},
        {"a/../../b": ""},
        {"/etc/passwd": ""},
        {"a//b": ""},
        {"": ""},
        {"a\0": ""},
        {"a": "", "a/b": ""},
        {"pip-req.txt": "\ud800"},
        {f"{number}.txt": "" for number in range(201)},
        {"pip-req.txt": 1},
        ["pip-req.txt"],
    ],
)
def test_hostile_files(project: Project, files: object) -> None:
    """No path leads out of the folder, and what cannot be a file is an error of the request."""
    headers = {"Authorization": f"Bearer {project.platform.env_token()}"}
    body = json.dumps({"files": files}).encode()
    path = f"/api/v1/apps/{project.name}/lock"
    status, _, answer = project.platform.get("localhost", path, method="POST", body=body, headers=headers)
    assert status in (200, 422, 400)
    assert b'"input/invalid"' in answer, answer


def test_control_is_killed(platform: Platform, tmp_path: Path) -> None:
    """Killed while it locks, the platform forgets that it did; nothing is left, and the lock here is as it was."""
    slowly = {"app.yaml": "installer: pip\n" + FILES["app.yaml"], "pip-req.txt": "six\n"}  # pip takes seconds
    project = Project.create(platform, tmp_path / "locking", "locking", {**FILES, **slowly})
    assert project.dae("lock").returncode == 0
    lock = project.folder / "dae.lock"
    before = lock.read_text()
    victim = parts(platform)["control"]
    words = (str(platform.checkout / ".venv/bin/dae"), "upgrade")
    process = subprocess.Popen(words, cwd=project.folder, env=platform.env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr as said:
        assert any("Locking" in line for line in said)
        strike(victim)
        rest = said.read()
    assert process.wait(timeout=60) == 1, rest
    assert lock.read_text() == before
    eventually(lambda: platform.dae("status").returncode == 0)
    eventually(lambda: not any((platform.home / "builds").iterdir()))
    assert all(build["commit"] for build in json.loads(project.dae("builds", "--json").stdout))
    assert project.dae("upgrade").returncode == 0
