"""Compile steps as a developer meets them: in the push's output, and in what is served."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, eventually, watched

ROOT = os.geteuid() == 0

APP = """\
import pathlib
HERE = pathlib.Path(__file__).parent
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    made = HERE / "made.txt"
    return [made.read_bytes() if made.exists() else b"nothing made"]
"""
HANDLERS = "handlers:\n- url: /static/(.*)\n  static_files: static/\\1\n- url: /.*\n  wsgi_app: app:app\n"
PLAIN = {"app.py": APP, "app.yaml": HANDLERS, "static/a.txt": "a"}


def running(mark: str) -> list[int]:
    """The processes whose command holds ``mark``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


def layers(project: Project) -> list[Path]:
    folder = project.platform.home / "layers" / "code" / project.name
    return sorted(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An app without steps, live."""
    made = Project.create(platform, tmp_path_factory.mktemp("steps") / "app", "stepping", PLAIN)
    done = made.push()
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def good(project: Project) -> Iterator[Project]:
    """The app as it is live; what a test leaves in the working tree that did not go live is undone."""
    yield project
    project.git("reset", "--quiet", "--hard", project.remote_head())


def build(*commands: str, more: str = "") -> dict[str, str]:
    return {"app.yaml": HANDLERS + more + f"build: {json.dumps(commands)}\n"}


def refused(project: Project, code: str) -> str:
    """Commit and push what must not go live: the old release serves all the while, and the branch stays."""
    before, served = project.remote_head(), project.get()
    project.commit("bad")
    with watched(project) as seen:
        done = project.push()
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("remote:") and line.strip() != "remote:"]
    assert code in "\n".join(told[-2:]), done.stderr
    assert project.remote_head() == before
    assert set(seen.statuses) == {"200"}
    assert project.get()[1]["X-DAE-Release"] == served[1]["X-DAE-Release"]
    assert project.get()[2] == served[2]
    return done.stderr


def accepted(project: Project, message: str = "good") -> str:
    project.commit(message)
    done = project.push()
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_without_steps_the_code_is_the_tree(project: Project) -> None:
    """The layer has the name of the commit's tree, and nothing is run."""
    tree = project.git("rev-parse", "HEAD^{tree}").stdout.strip()
    assert [path.name for path in layers(project)] == [tree]


def test_pre_and_post_compile(platform: Platform, tmp_path: Path) -> None:
    """In order, with the app's own commands between; the Python they generate is compiled; a promotion takes it."""
    good = Project.create(
        platform,
        tmp_path / "scripted",
        "scripted",
        {
            **PLAIN,
            "bin/pre_compile": "#!/bin/sh\necho pre >> made.txt\necho 'from the script'\n",
            "bin/post_compile": "echo post >> made.txt\necho 'X = 1' > generated.py\n",
            **build("echo one >> made.txt", "echo two >> made.txt"),
        },
    )
    told = accepted(good)
    assert "-----> Running bin/pre_compile" in told
    assert "       from the script" in told
    assert good.get()[2] == b"pre\none\ntwo\npost\n"
    (layer,) = [path for path in layers(good) if (path / "generated.py").exists()]
    assert list((layer / "__pycache__").glob("generated.*.pyc"))
    assert {entry.lstat().st_mode & 0o222 for entry in layer.rglob("*")} == {0}
    promoted = good.dae("promote")
    assert promoted.returncode == 0, promoted.stderr
    assert good.get(stage="beta")[2] == b"pre\none\ntwo\npost\n"


def test_the_same_again_is_not_run(good: Project) -> None:
    """Another commit with the same files has the same code: nothing is run."""
    good.write(build("echo again > made.txt"))
    assert "Running echo again" in accepted(good)
    told = accepted(good, "the same files")
    assert "Running echo again" not in told
    assert "Compiled before" in told
    assert good.get()[2] == b"again\n"


def test_a_failing_step(good: Project) -> None:
    """The push says which, how, and shows its words; what was live serves on."""
    good.write(build("echo first", "echo the reason >&2; exit 3", "echo never"))
    told = refused(good, "build/step-failed")
    assert "the reason" in told
    assert "exit 3 ended with status 3" in told
    assert "Running echo never" not in told


def test_assets(platform: Platform, tmp_path: Path) -> None:
    """A package.json's build uses a package from npm's registry, with a lock and without one; a static handler serves
    what it wrote, and npm's packages do not stay. The build itself has no network but the platform's own door.
    """
    bundle = "const fs = require('fs'); fs.mkdirSync('static/dist', {recursive: true}); "
    bundle += (
        "fs.writeFileSync('static/dist/bundle.js', 'made by ' + require('ms')(60000)); fs.mkdirSync('node_modules/x', "
    )
    bundle += "{recursive: true})"
    package = {"name": "site", "version": "1.0.0", "private": True, "scripts": {"build": f'node -e "{bundle}"'}}
    package["dependencies"] = {"ms": "2.1.3"}
    project = Project.create(
        platform, tmp_path / "front", "front", {**PLAIN, "package.json": json.dumps(package), ".gitignore": "dist\n"}
    )
    told = accepted(project)
    assert "-----> Running npm install" in told
    assert project.get("/static/dist/bundle.js")[2] == b"made by 1m"

    registry = f"http://127.0.0.1:{platform.port}/npm/"
    lock = ["npm", "install", "--package-lock-only", f"--registry={registry}", "--replace-registry-host=always"]
    subprocess.run([*lock, "--no-audit", "--no-omit-lockfile-registry-resolved"], cwd=project.folder, check=True)
    locked = project.folder / "package-lock.json"
    locked.write_text(
        re.sub(r'"resolved": "[^"]*?/ms/-/', '"resolved": "https://elsewhere.invalid/ms/-/', locked.read_text())
    )
    assert "elsewhere.invalid" in locked.read_text()
    told = accepted(project, "a lock")
    assert "-----> Running npm ci" in told
    assert project.get("/static/dist/bundle.js")[2] == b"made by 1m"
    assert not any((layer / "node_modules").exists() for layer in layers(project))


DJANGO = {
    "pip-req.txt": "django>=4.2\n",
    "manage.py": (
        "import os, sys\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
        "from django.core.management import execute_from_command_line\n"
        "if __name__ == '__main__':\n    execute_from_command_line(sys.argv)\n"
    ),
    "shop/__init__.py": "",
    "shop/settings.py": (
        "import os, pathlib\nBASE_DIR = pathlib.Path(__file__).resolve().parent.parent\nSECRET_KEY = 'x' * 50\n"
        "ALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'shop.urls'\nINSTALLED_APPS = ['django.contrib.staticfiles', 'shop']\n"
        "STATIC_URL = '/static/'\nSTATIC_ROOT = BASE_DIR / 'collected'\n"
    ),
    "shop/urls.py": (
        "from django.http import HttpResponse\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: HttpResponse('shop'))]\n"
    ),
    "shop/wsgi.py": (
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
    ),
    "shop/static/shop/style.css": "body { color: green }\n",
    "app.yaml": (
        "handlers:\n- url: /static/(.*)\n  static_files: collected/\\1\n- url: /.*\n  wsgi_app: shop.wsgi:application\n"
    ),
}


def test_django(platform: Platform, tmp_path: Path) -> None:
    """collectstatic without a word of configuration; settings that need config say what to do; a switch."""
    project = Project.create(platform, tmp_path / "shop", "shop", DJANGO)
    told = accepted(project)
    assert "-----> Running manage.py collectstatic" in told
    assert "1 static file copied" in told
    assert project.get("/")[2] == b"shop"
    assert project.get("/static/shop/style.css")[2] == b"body { color: green }\n"

    settings = DJANGO["shop/settings.py"]
    project.write({"shop/settings.py": settings.replace("STATIC_ROOT = BASE_DIR / 'collected'\n", "")})
    assert "nothing to collect: STATIC_ROOT is not set" in accepted(project)

    needy = settings.replace("'x' * 50", "os.environ['SECRET_KEY']")
    project.write({"shop/settings.py": needy})
    told = refused(project, "build/step-failed")
    assert "KeyError: 'SECRET_KEY'" in told
    assert "build_env" in told and "collectstatic: off" in told

    project.write({"app.yaml": DJANGO["app.yaml"] + "collectstatic: off\n"})
    told = refused(project, "release/crashed")
    assert "dae config set SECRET_KEY=" in told
    project.write({"app.yaml": DJANGO["app.yaml"] + "build_env: [SECRET_KEY]\n"})
    assert project.dae("config", "set", "SECRET_KEY=a-long-secret-key").returncode == 0
    assert "Running manage.py collectstatic" in accepted(project)

    (project.folder / "server").mkdir()
    for name in ("manage.py", "shop"):
        project.git("mv", name, f"server/{name}")
    project.write({"app.yaml": "build_env: [SECRET_KEY]\n", "Procfile": "web: gunicorn --chdir server shop.wsgi\n"})
    told = accepted(project, "below the top")
    assert "-----> Running server/manage.py collectstatic" in told
    assert "1 static file copied" in told
    assert project.get("/")[2] == b"shop"


def test_build_env(platform: Platform, tmp_path: Path) -> None:
    """The named variables of dev reach the steps and no others; their values are in no output and no log."""
    show = "echo [$API_KEY] [$OTHER]; printf %s $API_KEY > made.txt; echo more: ${API_KEY}${API_KEY}; exit $FAIL"
    files = {**PLAIN, **build(show, more="build_env: [API_KEY, FAIL]\n")}
    project = Project.create(platform, tmp_path / "secretive", "secretive", files)
    first = project.push()
    assert first.returncode == 1
    assert "build/no-value" in first.stderr and "dae config set API_KEY=" in first.stderr
    secret = "s3cret-value-of-the-key"
    assert project.dae("config", "set", f"API_KEY={secret}", "OTHER=not-for-builds", "FAIL=0").returncode == 0
    told = accepted(project)
    assert "[[API_KEY]] []" in told
    assert "more: [API_KEY][API_KEY]" in told
    assert secret not in told
    assert project.get()[2] == secret.encode()
    logs = [path.read_text() for path in (platform.home / "logs" / "builds").iterdir()]
    assert any("more: [API_KEY][API_KEY]" in log for log in logs)
    assert not any(secret in log for log in logs)
    assert project.dae("config", "set", "API_KEY=another-value").returncode == 0
    assert "Running echo" in accepted(project, "the same files, another value")
    assert project.get()[2] == b"another-value"
    assert list((platform.home / "builds").rglob("*")) == []


HOSTILE = {
    "a link to /etc": ("ln -s /etc/passwd static/leak", "build/unsafe-tree"),
    "a link out of the tree": ("ln -s ../../../../state static/leak", "build/unsafe-tree"),
    "a socket": ("python -c \"import socket; socket.socket(1).bind('static/s')\"", "build/unsafe-tree"),
    "everything deleted": ("cd .. && rm -rf * .[a-z]*", "build/unsafe-tree"),
    "the folder replaced": ("cd .. && mv code c && ln -s /etc code", "build/unsafe-tree"),
    "killed worker": ("kill -9 $PPID; sleep 600", "build/failed"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_steps(good: Project, what: str) -> None:
    """Nothing of it goes live, and the app serves on."""
    command, code = HOSTILE[what]
    good.write(build(command))
    refused(good, code)


@pytest.mark.skipif(not ROOT, reason="accounts exist on root installs only")
def test_folders_of_others(good: Project) -> None:
    """A step can neither write nor read what belongs to apps and to the platform."""
    home = good.platform.home
    look = f"for f in {home}/apps/* {home}/layers/code/* {home}/layers/env/* {home}/state {home}/builds; do "
    look += "touch $f/planted && echo wrote $f; done; "
    look += (
        f"for f in {home}/layers/code/* {home}/state {home}/builds {home}/repos; do ls $f && echo read $f; done; true"
    )
    good.write(build(look))
    told = accepted(good)
    assert "wrote /" not in told
    assert "read /" not in told
    assert not list(home.rglob("planted"))


def test_links_and_modes(good: Project) -> None:
    """Links inside the tree stay, the commit's and the steps'; set-id bits and write permissions go."""
    (good.folder / "static" / "b.txt").symlink_to("a.txt")
    command = "ln -s a.txt static/c.txt; cp /bin/true helper; chmod 6777 helper; chmod 0777 static; ln helper again"
    good.write(build(command))
    accepted(good)
    (layer,) = [path for path in layers(good) if (path / "helper").exists()]
    assert {(layer / "static" / name).readlink() for name in ("b.txt", "c.txt")} == {Path("a.txt")}
    assert stat.S_IMODE((layer / "helper").stat().st_mode) == 0o555
    assert stat.S_IMODE((layer / "static").stat().st_mode) == 0o555
    if ROOT:
        assert {entry.lstat().st_uid for entry in layer.rglob("*")} == {layer.parent.stat().st_uid}


def test_huge_output(good: Project) -> None:
    """It is cut with a clear last line, and the build goes on."""
    good.write(build("yes | head -c 4000000", "echo done > made.txt"))
    told = accepted(good)
    assert "the rest of it is not shown" in told
    assert len(told) < 1_500_000
    assert good.get()[2] == b"done\n"


@pytest.mark.skipif(not ROOT, reason="what leaves its session is found by its account")
def test_a_daemon_does_not_stay(good: Project) -> None:
    """What a step leaves running ends with the build, and is not waited for."""
    good.write(build("setsid sleep 86399 > /dev/null 2>&1 & echo started > made.txt"))
    accepted(good)
    assert good.get()[2] == b"started\n"
    assert running("86399") == []


@pytest.mark.skipif(not ROOT, reason="what leaves its session is found by its account")
def test_a_client_that_hangs_up(good: Project) -> None:
    """Everything that the step started ends, and the build is known as cancelled."""
    good.write(build("setsid sleep 86397 & sleep 86398"))
    good.commit("endless")
    before = good.remote_head()
    argv = ["git", "push", "dae", "master"]
    pushing = subprocess.Popen(
        argv, cwd=good.folder, env=good.platform.env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    eventually(lambda: running("86397") and running("86398"))
    os.killpg(pushing.pid, signal.SIGKILL)
    pushing.wait()
    eventually(lambda: not running("86397") and not running("86398"))
    eventually(lambda: json.loads(good.dae("builds", "--json").stdout)[0]["state"] == "failed")
    assert json.loads(good.dae("builds", "--json").stdout)[0]["error"] == "push/cancelled"
    assert good.remote_head() == before
    assert good.get()[0] == 200


def test_too_much(good: Project) -> None:
    """What steps make is bounded as a commit is."""
    good.write(build("mkdir many && cd many && seq 50001 | xargs touch"))
    refused(good, "push/too-large")
