"""Layers on disk: what is damaged is never run, what nobody needs goes, what is kept can be told and carried away."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.blackbox.project import Project
from tests.conftest import RunningPlatform, bring_up, erased, free_port, platform_folder

Pair = tuple[RunningPlatform, RunningPlatform]


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


@pytest.fixture(scope="module")
def platforms() -> Iterator[Pair]:
    """Two that are not up yet: each test that is done with one leaves no app on it."""
    with ExitStack() as stack:
        folders = [stack.enter_context(platform_folder()) for _ in range(2)]
        one, other = (stack.enter_context(erased(RunningPlatform(folder, free_port()))) for folder in folders)
        yield one, other


@pytest.fixture
def project(platforms: Pair, tmp_path: Path) -> Iterator[Project]:
    """Its packages may have been built for the test before; its code never was."""
    bring_up(platforms[0])
    project = Project.create(platforms[0], tmp_path / "kept", "kept")
    project.pushed("one")
    yield project
    destroy(project)


def destroy(project: Project) -> None:
    """Nobody needs what was built of it any more."""
    done = project.dae("destroy", project.name, "--confirm", project.name)
    assert done.returncode == 0, done.stderr


def keeping(platform: RunningPlatform, releases: int) -> None:
    """Bring it up with a retention of its own."""
    platform.home.mkdir(parents=True, exist_ok=True)
    (platform.home / "dae.toml").write_text(f"keep_releases = {releases}\n")
    bring_up(platform)


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


def test_flipped_bytes_are_found(project: Project) -> None:
    """Reading every byte finds what no time of modification tells; what is live is built again."""
    layers, before = project.platform.home / "layers", slug(project)
    whole = project.dae("slugs", "verify", "--json")
    assert whole.returncode == 0, whole.stderr
    verdict = json.loads(whole.stdout)
    assert verdict["damaged"] == []
    assert verdict["environments"] == verdict["codes"] == 1
    assert verdict["packages"] > 5

    environment = layers / "env" / before["environment"]
    library = next(environment.glob("lib/*/site-packages/flask/app.py"))
    code = layers / "code" / "kept" / before["code"] / "app.py"
    texts = [path.read_bytes() for path in (library, code)]
    flip(library, tell=False)
    flip(code, tell=False)

    found = project.dae("slugs", "verify", "--all-apps", "--json")
    assert found.returncode == 1, "what asks whether all is whole is told no"
    assert "2 layers were damaged" in found.stderr
    verdict = json.loads(found.stdout)
    assert [entry["layer"] for entry in verdict["damaged"]] == ["package", "code"], "each fault is told once"
    assert [line.split()[0] for line in verdict["rebuilt"]] == ["kept"]
    assert found.stderr.count("flask/app.py has other bytes than it had") == 1
    assert [path.read_bytes() for path in (library, code)] == texts
    kinds = [event["kind"] for event in json.loads(project.dae("events", "-a", "kept", "--json").stdout)]
    assert "layer-damaged" in kinds
    again = project.dae("slugs", "verify", "--json")
    assert (again.returncode, json.loads(again.stdout)["damaged"]) == (0, [])
    assert project.get()[2] == b"one"


def spoil(path: Path, old: bytes, new: bytes) -> bytes:
    """Change bytes where nothing tells of it, size and time being as before; returns what was there."""
    before, whole = path.stat(), path.read_bytes()
    assert old in whole
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(whole.replace(old, new))
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return whole


def test_flipped_bytes_are_never_served(project: Project) -> None:
    """Each command that puts a slug live reads every byte first, tells what the disk changed, and makes it anew."""
    layers, first = project.platform.home / "layers", slug(project)
    digest = json.loads(project.dae("releases", "--json").stdout)[0]["slug"]

    def compiled() -> Path:
        return next((layers / "code" / "kept" / first["code"]).glob("__pycache__/app.*.pyc"))

    project.pushed("two")
    commands = {
        "dev": ("rollback",),
        "beta": ("promote", "--from", "dev"),
        "stable": ("deploy", "--slug", digest, "-s", "stable"),
    }
    for stage, command in (*commands.items(), ("dev", ("restart",))):
        whole = spoil(compiled(), b"one", b"0ne")
        done = project.dae(*command)
        assert done.returncode == 0, done.stderr
        assert "pyc has other bytes than it had" in done.stderr
        assert "building it again" in done.stderr
        assert compiled().read_bytes() == whole
        assert project.get(stage=stage)[2] == b"one"

    library = next((layers / "env" / first["environment"]).glob("lib/*/site-packages/flask/__pycache__/__init__.*.pyc"))
    whole = spoil(library, library.read_bytes()[16:48], b"\0" * 32)  # nothing can be imported from it
    pushed = project.pushed("three")
    assert "is damaged: " in pushed.stderr
    assert "release/crashed" not in pushed.stderr
    assert library.read_bytes() == whole
    assert project.get()[2] == b"three"


def test_a_manifest_that_nobody_can_read(project: Project) -> None:
    """While the manifest of what runs is damaged nothing is collected, verifying says so, and a push mends it."""
    live = json.loads(project.dae("releases", "--json").stdout)[0]["slug"]
    manifest = project.platform.home / "slugs" / f"{live}.json"
    text = manifest.read_text()
    manifest.write_text(text[:-1])
    age_builds(project.platform.home)
    refused = project.dae("gc")
    assert refused.returncode == 1
    assert "slug/damaged" in refused.stderr
    verified = project.dae("slugs", "verify", "--all-apps")
    assert verified.returncode == 1
    assert "slug/damaged" in verified.stderr
    assert project.get()[2] == b"one"
    project.git("commit", "--quiet", "--allow-empty", "-m", "again")
    project.git("push", "dae", "master")
    project.git("reset", "--quiet", "--hard", "HEAD~1")
    assert project.git("push", "--force", "dae", "master").returncode == 0
    assert manifest.read_text() == text
    assert project.dae("gc").returncode == 0


def test_what_is_kept_can_be_told(project: Project) -> None:
    """A slug is listed with its size, its releases, its lock and its bill of materials."""
    project.dae("promote", "--from", "dev")
    rows = json.loads(project.dae("slugs", "--json").stdout)
    assert len(rows) == 1
    beta, dev = (project.get(stage=stage)[1]["X-DAE-Release"] for stage in ("beta", "dev"))
    assert beta != dev
    assert rows[0]["releases"] == [f"{beta} live in beta", f"{dev} live in dev"]
    assert rows[0]["code_bytes"] > 100
    assert rows[0]["environment_bytes"] > 1_000_000
    assert "whole" in project.dae("slugs").stdout
    short = rows[0]["slug"][:8]
    lock = project.dae("slugs", "lock", short).stdout
    assert "flask==" in lock
    assert "--hash=sha256:" in lock
    bill = json.loads(project.dae("slugs", "sbom", short).stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    names = {entry["name"] for entry in bill["components"]}
    assert {"flask", "werkzeug", "gunicorn"} <= names
    assert all(entry["hashes"][0]["content"] in lock for entry in bill["components"] if entry["type"] == "library")
    assert "flask" in project.dae("slugs", "show", short).stdout
    unknown = project.dae("slugs", "show", "0000")
    assert unknown.returncode == 1
    assert "slug/unknown" in unknown.stderr


def test_what_nobody_needs_goes(platforms: Pair, tmp_path: Path) -> None:
    """What is beyond the policy is removed, with its layers; what is live or next to go back to never is."""
    made = platforms[1]
    keeping(made, 2)
    project = Project.create(made, tmp_path / "kept", "kept")
    project.pushed("one")
    project.dae("promote", "--from", "dev")
    for version in ("two", "three", "four"):
        project.pushed(version)
    project.write({"pip-req.txt": "flask\niniconfig\n"})
    project.commit("more")
    assert project.push().returncode == 0
    project.write({"pip-req.txt": "flask\n", "app.py": "broken"})
    layers = made.home / "layers"
    count = {kind: len(list((layers / kind).iterdir())) for kind in ("env", "pkg")}
    assert count["env"] == 2

    dry = project.dae("gc", "--dry-run", "--json")
    assert json.loads(dry.stdout)["slugs"] == 0, "what was built within the hour is kept"
    age_builds(made.home)
    assert json.loads(project.dae("gc", "--dry-run", "--json").stdout)["slugs"] == 2
    done = json.loads(project.dae("gc", "--json").stdout)
    # One is live in beta, four can be gone back to from five, which is live.
    assert (done["slugs"], done["codes"], done["environments"]) == (2, 2, 0)
    assert done["bytes"] > 1000
    back = project.dae("rollback")
    assert back.returncode == 0, back.stderr
    assert project.get()[2] == b"four"
    assert project.get(stage="beta")[2] == b"one"
    gone = project.dae("rollback", "v3")
    assert gone.returncode == 1
    assert "slug/unknown" in gone.stderr

    destroyed = project.dae("destroy", "kept", "--confirm", "kept")
    assert destroyed.returncode == 0, destroyed.stderr
    rest = json.loads(project.dae("gc", "--json").stdout)
    assert rest["environments"] == 2
    assert rest["packages"] == count["pkg"]
    assert [path for kind in ("env", "pkg", "code") for path in (layers / kind).iterdir()] == []
    assert list((made.home / "slugs").iterdir()) == []


def age_builds(home: Path) -> None:
    """Let all builds have ended yesterday."""
    with closing(sqlite3.connect(home / "state" / "dae.db", timeout=10)) as database, database:
        database.execute("update builds set finished = datetime(finished, '-1 day')")


def test_the_same_commit_in_two_homes(platforms: Pair, tmp_path: Path) -> None:
    """Two platforms build the same commit into the same slug, and every byte of its layers is the same."""
    found = []
    for name, made in zip(("here", "there"), platforms, strict=True):
        bring_up(made)
        folder = tmp_path / name
        if name == "here":
            project = Project.create(made, folder, "twice")
        else:
            shutil.copytree(tmp_path / "here", folder)
            project = Project(made, folder, "twice")
            project.git("remote", "remove", "dae")
            assert project.dae("create", "twice").returncode == 0
        pushed = project.push()
        assert pushed.returncode == 0, pushed.stderr
        layers, manifest = made.home / "layers", slug(project)
        release = json.loads(project.dae("releases", "--json").stdout)[0]["slug"]
        code = json.loads((layers / "code" / "twice" / f"{manifest['code']}.json").read_text())["files"]
        environment = (layers / "env" / manifest["environment"] / "environment.json").read_text()
        found.append((project.head(), release, manifest, code, environment))
        destroy(project)
    assert found[0] == found[1]
    assert any("__pycache__" in file[0] for file in found[0][3])


def test_collecting_beside_pushes(platforms: Pair, tmp_path: Path) -> None:
    """While everything that can be collected is, again and again, pushes and rollbacks find all that they need."""
    made = platforms[1]
    keeping(made, 1)
    projects = [Project.create(made, tmp_path / name, name) for name in ("one", "two")]
    stop, collected, failed = threading.Event(), 0, []

    def collect() -> None:
        nonlocal collected
        while not stop.is_set():
            age_builds(made.home)
            done = made.dae("gc", "--json")
            if done.returncode:
                failed.append(done.stderr)
                return
            collected += json.loads(done.stdout)["slugs"]

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for number in range(4):
            for project in projects:
                # The second app's requirements change each time: its packages and environments come and go.
                more = ("iniconfig", "toolz", "humanize", "tabulate")[number] if project is projects[1] else ""
                project.write({**project.flask(f"n{number}"), "pip-req.txt": f"flask\n{more}\n"})
                project.commit(str(number))
                pushed = project.push()
                assert pushed.returncode == 0, pushed.stderr
                if number:
                    back = project.dae("rollback")
                    assert back.returncode == 0, back.stderr
                    assert project.get()[2] == b"n0", "each time it was what served before"
    finally:
        stop.set()
        collector.join()
    assert failed == []
    assert collected > 0
    verdict = json.loads(projects[0].dae("slugs", "verify", "--all-apps", "--json").stdout)
    assert verdict["damaged"] == []
    for project in projects:
        destroy(project)
