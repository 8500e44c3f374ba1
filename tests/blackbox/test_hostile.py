"""Input of an attacker is refused with a clear error."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project

NAMES = [
    "..",
    "a/b",
    "-x",
    "Upper",
    "p\u0430ypal",
    "a" * 300,
    "",
    " ",
    "a\nb",
    "a;id",
    "$(id)",
    "git",
    "api",
    "a-",
    "1a",
    "a.b",
]


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.create(platform, tmp_path_factory.mktemp("hostile") / "app", "fortress")
    made.pushed("one")
    return made


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_refused(platform: Platform, project: Project, name: str) -> None:
    """By the command, by the API, and by every path that has a name in it."""
    token = platform.env_token()
    status, _, body = platform.get(
        "localhost",
        "/api/v1/apps",
        method="POST",
        body=json.dumps({"name": name}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    assert status == 400
    assert json.loads(body)["error"] == "app/bad-name"
    refused = project.dae("create", "--", name)
    assert refused.returncode in (1, 2), refused.stdout
    assert project.dae("apps", "--json").stdout.count('"name": "fortress"') == 1


@pytest.mark.parametrize(
    "path",
    [
        "/git/../state/dae.db",
        "/git/%2e%2e/fortress.git/info/refs",
        "/git/fortress.git/../../x",
        "/git/FORTRESS.git/info/refs",
        "/git/fortress.git/config",
        "/git/fortress.git/objects/info/packs",
        "/git/-x.git/info/refs",
        "/git/a%00b.git/info/refs",
        "/internal/push",
        "/pypi/simple/../../state/",
        "/pypi/files/../../state/dae.db",
        "/api/v1/../../internal/push",
    ],
)
def test_paths_are_refused(platform: Platform, path: str) -> None:
    """No path leads out of what is served, with a token or without."""
    token = platform.env_token()
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        status, _, body = platform.get("localhost", path, headers=headers)
        assert status in (301, 400, 401, 403, 404, 405), (path, status)
        assert b"SQLite" not in body


def test_a_push_needs_a_token_of_somebody_who_may(platform: Platform, project: Project) -> None:
    """Without a token 401; another user's gets 403 and learns nothing; a wrong one 401."""
    added = platform.dae("users", "add", "mallory", "--json")
    assert added.returncode == 0, added.stderr
    mallory = json.loads(added.stdout)["token"]

    def ask(authorization: str | None) -> int:
        headers = {"Authorization": authorization} if authorization else {}
        return platform.get("localhost", "/git/fortress.git/info/refs?service=git-receive-pack", headers=headers)[0]

    basic = base64.b64encode(f"mallory:{mallory}".encode()).decode()
    assert ask(None) == 401
    assert ask("Bearer dae_wrong") == 401
    assert ask(f"Basic {basic}") == 403
    assert ask("Basic !!!") == 401
    status, _, body = platform.get("localhost", "/api/v1/apps", headers={"Authorization": f"Bearer {mallory}"})
    assert (status, json.loads(body)) == (200, [])
    for method, path in (
        ("GET", "/api/v1/apps/fortress"),
        ("DELETE", "/api/v1/apps/fortress"),
        ("POST", "/api/v1/apps/fortress/promote"),
        ("POST", "/api/v1/apps/fortress/rollback"),
        ("POST", "/api/v1/apps/fortress/restart"),
        ("POST", "/api/v1/apps/fortress/rename"),
        ("POST", "/api/v1/apps/fortress/config"),
        ("POST", "/api/v1/apps/fortress/deploy"),
        ("POST", "/api/v1/apps/fortress/lock"),
        ("GET", "/api/v1/apps/fortress/slugs"),
        ("POST", "/api/v1/apps/fortress/slugs"),
        ("GET", f"/api/v1/apps/fortress/slugs/{'0' * 64}/archive"),
        ("POST", "/api/v1/keys"),
        ("DELETE", "/api/v1/keys/mine"),
        ("GET", "/api/v1/apps/fortress/config"),
        ("GET", "/api/v1/apps/fortress/logs"),
        ("GET", "/api/v1/apps/fortress/builds"),
        ("GET", "/api/v1/apps/fortress/releases"),
        ("GET", "/api/v1/apps/fortress/ps"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/events?app=fortress"),
        ("GET", "/api/v1/users"),
        ("POST", "/api/v1/users"),
        ("POST", "/api/v1/hooks"),
    ):
        for token, expected in ((f"Bearer {mallory}", 403), ("", 401)):
            status, _, _ = platform.get(
                "localhost", path, method=method, body=b"{}", headers={"Authorization": token} if token else {}
            )
            assert status == expected, (method, path, status)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../state/dae.db", "static/../../x"])
def test_symlinks_that_leave_the_tree(project: Project, target: str) -> None:
    """A link out of the commit is refused; nothing is deployed."""
    (project.folder / "leak").symlink_to(target)
    project.commit("leak")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/unsafe-tree" in refused.stderr
    (project.folder / "leak").unlink()
    project.git("reset", "--quiet", "--hard", project.remote_head())


def test_static_files_stay_inside(project: Project) -> None:
    """No spelling of a path serves what is not under the handler."""
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/_dae_static/app.py",
        "/static/..%5capp.py",
        "/static/%00",
    ):
        status, _, body = project.get(path)
        assert b"Flask" not in body, path
        assert b"root:" not in body, path
        assert status in (200, 400, 403, 404), path  # 200: nginx folded the path to one that the app serves


def test_platform_headers_do_not_come_from_outside(platform: Platform, project: Project) -> None:
    """X-DAE-* sent by a client never reach the app."""
    app = "from flask import Flask, request\napp = Flask(__name__)\n"
    app += "app.route('/')(lambda: repr(sorted(k for k, _ in request.headers if k.lower().startswith('x-dae'))))\n"
    project.write({"app.py": app})
    project.commit("headers")
    assert project.push().returncode == 0
    sent = {"X-DAE-User": "root", "X-DAE-Release": "v99", "X-Dae-Request": "1"}
    _, headers, body = project.get("/", headers=sent)
    assert b"user" not in body.lower()
    assert b"release" not in body.lower()
    assert headers["X-DAE-Release"] != "v99"


@pytest.mark.skipif(os.geteuid() != 0, reason="accounts exist on root installs only")
def test_apps_cannot_read_one_another(platform: Platform, project: Project, tmp_path: Path) -> None:
    """An app runs as its own account and finds the other's code, data and the platform's state closed."""
    spy = (
        "import os, pathlib\nfrom flask import Flask\napp = Flask(__name__)\n"
        f"HOME = pathlib.Path({str(platform.home)!r})\n"
        "def look():\n"
        "    found = []\n"
        "    for name in ('state', 'repos', 'slugs', 'locks', 'layers/code/fortress', 'apps/fortress',\n"
        "                 'run/a/fortress', 'run/agent/specs', 'mirror', 'logs',\n"
        "                 'run/supervisor.sock', 'run/agent.sock'):\n"
        "        path = HOME / name\n"
        "        if os.access(path, os.R_OK | os.W_OK) or os.access(path, os.R_OK):\n"
        "            found.append(name)\n"
        "    return f'{os.getuid() != 0} {found}'\n"
        "app.route('/')(look)\n"
    )
    other = Project.create(platform, tmp_path / "spy", "spy", {**Project.flask("x"), "app.py": spy})
    assert other.push().returncode == 0
    assert other.get()[2] == b"True []"
