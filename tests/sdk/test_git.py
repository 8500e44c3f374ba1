"""A repository and its app: the remote, the credential helper, deploying. With the real git throughout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dae.cli import credential_helper
from dae.cli.credentials import Credentials, Login
from dae.cli.git import app_of, credential_settings
from tests.sdk.conftest import DAE, Person
from tests.sdk.platform import BLOG, TOKEN, Platform, ndjson


@pytest.fixture
def repository(ann: Person, platform: Platform) -> Person:
    """Ann in a repository with one commit, on a platform that lets her make the app blog."""
    platform.answers["POST", "apps"] = (201, BLOG)
    ann.git("init", "--quiet")
    ann.git("symbolic-ref", "HEAD", "refs/heads/master")
    (ann.folder / "app.py").write_text("1\n")
    ann.git("add", ".")
    ann.git("commit", "--quiet", "-m", "Begin")
    return ann


def bare(person: Person, platform: Platform) -> Path:
    """A real repository that git reaches at the app's URL."""
    path = person.home / "blog.git"
    person.git("init", "--quiet", "--bare", str(path))
    person.git("config", "--global", f"url.{person.home}/.insteadOf", f"{platform.url}/git/")
    return path


def test_create_ties_the_repository_to_the_app(repository: Person, platform: Platform) -> None:
    """The remote dae, a helper that is this very command, and the app's address on stdout."""
    done = repository.dae("create", "blog")
    assert platform.last().body == {"name": "blog"}
    assert done.stdout == "http://blog.localhost/\n"
    assert "git push dae master" in done.stderr
    assert repository.git("remote", "get-url", "dae") == f"{platform.url}/git/blog.git"
    helpers = repository.git("config", "--get-all", f"credential.{platform.url}.helper")
    assert "credential_helper.py" in helpers and "\n" not in helpers, "the empty value before it forgets all others"
    assert repository.dae("info").stdout.startswith("blog, owned by ann")


def test_git_gets_the_token_for_the_platform_only(repository: Person, platform: Platform) -> None:
    """git credential fill, which push asks, is answered for this host and port; for others git asks a person."""
    repository.dae("create", "blog")
    repository.environ["GIT_TERMINAL_PROMPT"] = "0"
    host = platform.url.removeprefix("http://")
    asked = ["git", "credential", "fill"]
    answer = repository.run(asked, f"protocol=http\nhost={host}\n\n").stdout.splitlines()
    assert {"username=ann", f"password={TOKEN}"} <= set(answer)
    for other in (f"protocol=https\nhost={host}\n\n", "protocol=http\nhost=localhost:1\n\n"):
        done = repository.run(asked, other)
        assert done.returncode != 0
        assert TOKEN not in done.stdout
    wrong = repository.run([str(DAE), "credential", "get"], f"protocol=http\nhost={host}\nusername=bob\n\n")
    assert (wrong.returncode, wrong.stdout) == (0, "")
    assert repository.dae("credential", "store", stdin="password=x\n\n").stdout == ""


def test_git_without_a_login_is_told_how_to_log_in(repository: Person, platform: Platform) -> None:
    """git itself would only ask for a name that nobody has; of other hosts the command knows nothing."""
    repository.dae("create", "blog")
    repository.dae("logout")
    host = platform.url.removeprefix("http://")
    done = repository.dae("credential", "get", stdin=f"protocol=http\nhost={host}\n\n")
    assert (done.stdout, done.stderr) == (
        "",
        f" !     local/no-platform: not logged in at {platform.url}\n       dae login --url {platform.url}\n",
    )
    assert repository.dae("credential", "get", stdin="protocol=http\nhost=other\n\n").stderr == ""


def test_a_token_of_the_environment_is_given_with_its_users_name(repository: Person, platform: Platform) -> None:
    """The platform wants the user that the token belongs to, and git wants a user at all."""
    repository.dae("create", "blog")
    repository.dae("logout")
    repository.environ.update(DAE_URL=platform.url, DAE_TOKEN=TOKEN)
    host = platform.url.removeprefix("http://")
    done = repository.dae("credential", "get", stdin=f"protocol=http\nhost={host}\n\n")
    assert done.stdout == f"username=ann\npassword={TOKEN}\n"
    filled = repository.run(["git", "credential", "fill"], f"protocol=http\nhost={host}\n\n").stdout.splitlines()
    assert {"username=ann", f"password={TOKEN}"} <= set(filled)
    assert repository.dae("credential", "get", stdin="protocol=http\nhost=other\n\n").stdout == ""


def test_the_helper_survives_an_awkward_path(tmp_path: Path) -> None:
    """git hands the helper to a shell: a blank or a quote in the interpreter's path is quoted for it."""
    python = tmp_path / "a b" / "it's" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "username=$1$2"; echo password=x\n')
    python.chmod(0o755)
    (key, reset), (_, value) = credential_settings("http://x", str(python))
    assert (reset, key) == ("", "credential.http://x.helper")
    settings = ["-c", f"{key}={reset}", "-c", f"{key}={value}"]
    done = subprocess.run(
        ["git", *settings, "credential", "fill"], input="protocol=http\nhost=x\n\n", capture_output=True, text=True
    )
    assert "username=-I-S" in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("request_", "known"),
    [
        ("protocol=http\nhost=box:8080\n\n", True),
        ("protocol=https\nhost=Example.org:443\n\n", True),
        ("protocol=https\nhost=example.org\nusername=ann\n\n", True),
        ("protocol=https\nhost=example.org\nusername=bob\n\n", False),
        ("protocol=http\nhost=example.org\n\n", False),
        ("protocol=ftp\nhost=box:8080\n\n", False),
        ("host=box:8080\n\n", False),
        ("\n", False),
    ],
)
def test_the_helper_says_what_the_command_says(tmp_path: Path, request_: str, known: bool) -> None:
    """It reads the saved logins by itself, for the sake of time, and in the very same way."""
    for url in ("http://box:8080", "https://example.org"):
        Credentials(tmp_path).put(Login(url, "ann", f"token of {url}"))
    environ = {"DAE_CONFIG": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    helper = [sys.executable, "-I", "-S", credential_helper.__file__]
    answers = [
        subprocess.run(command, input=request_, capture_output=True, text=True, env=environ)
        for command in (helper, [sys.executable, "-I", "-m", "dae", "credential", "get"])
    ]
    assert [done.returncode for done in answers] == [0, 0]
    assert answers[0].stdout == answers[1].stdout
    assert bool(answers[0].stdout) is known


@pytest.mark.parametrize(
    ("case", "answered"),
    [
        ("plain", True),
        ("another user", False),
        ("DAE_TOKEN", False),
        ("edited", False),
        ("removed", False),
        ("logged out", False),
        ("store", None),
    ],
)
def test_the_shell_answers_the_plain_case(tmp_path: Path, case: str, answered: bool | None) -> None:
    """From what the login left for it; all else is asked of the helper, with git's own words."""
    saved = Credentials(tmp_path / "it's" / "dae")
    for url in ("http://other:8080", "http://box:8080", "https://example.org"):
        saved.put(Login(url, "ann", f"token of {url}"))
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "it's"), "PATH": "/usr/bin:/bin"}
    asked = "protocol=http\nhost=box:8080\n"
    if case == "another user":
        asked += "username=bob\n"
    elif case == "DAE_TOKEN":
        environ["DAE_TOKEN"] = "x"
    elif case == "edited":
        later = time.time() + 10
        os.utime(saved.path, (later, later))
    elif case == "removed":
        saved.path.unlink()
    elif case == "logged out":
        saved.remove("http://box:8080")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho asked; cat\n")
    python.chmod(0o755)
    script = credential_settings("http://box:8080", str(python))[1][1].removeprefix("!")
    action = "store" if case == "store" else "get"
    done = subprocess.run(
        ["sh", "-c", f"{script} {action}"], input=asked + "\n", capture_output=True, text=True, env=environ
    )
    told = {True: "username=ann\npassword=token of http://box:8080\n", False: f"asked\n{asked}\n", None: ""}[answered]
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
    for path in (tmp_path / "it's" / "dae" / "git").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "it's" / "dae" / "git").stat().st_mode & 0o777 == 0o700


def test_create_needs_a_repository_and_says_so(ann: Person, platform: Platform) -> None:
    """Outside of a repository nothing is asked of the platform."""
    assert "git init" in ann.dae("create", "blog", status=1).stderr
    assert platform.last().path.endswith("whoami")


def test_create_leaves_a_remote_that_is_there(repository: Person, platform: Platform) -> None:
    """A second app for the same repository is refused before it is made."""
    repository.dae("create", "blog")
    done = repository.dae("create", "shop", status=1)
    assert done.stderr.startswith(" !     local/remote-exists: this repository is tied to the app blog already")
    assert "git push dae master" in done.stderr
    assert "git remote rename dae blog" in done.stderr
    assert platform.last().body == {"name": "blog"}


@pytest.mark.parametrize(
    ("setting", "told"),
    [("remote.dae.url=https://elsewhere.example/x.git", "https://elsewhere.example/x.git"), ("remote.dae.fetch=x", "")],
)
def test_a_remote_of_that_name(repository: Person, platform: Platform, setting: str, told: str) -> None:
    """Whatever it leads to: no app is made that would have none, and the commands to type are named."""
    repository.git("config", *setting.split("="))
    for words in (("create", "blog"), ("remote", "blog")):
        done = repository.dae(*words, status=1)
        assert "local/remote-exists: this repository has a git remote dae already: " + told in done.stderr
        assert "git remote rename dae OTHER" in done.stderr
    assert platform.last().path.endswith("whoami")


def test_a_starter_is_ready_to_be_pushed(ann: Person, platform: Platform) -> None:
    """In an empty folder --template makes the files and the repository, on a branch that deploys."""
    platform.answers["POST", "apps"] = (201, BLOG)
    ann.dae("create", "--template", "flask", "blog")
    names = {str(p.relative_to(ann.folder)) for p in ann.folder.rglob("*") if p.is_file() and ".git/" not in str(p)}
    assert names == {"app.py", "app.yaml", "pip-req.txt", "static/style.css", ".gitignore"}
    assert ann.git("symbolic-ref", "HEAD") == "refs/heads/master"
    done = ann.dae("create", "--template", "flask", "blog", status=1)
    assert done.stderr.startswith(" !     local/file-exists")


def test_a_starter_overwrites_nothing(ann: Person, platform: Platform) -> None:
    """A file of the same name stops it before the app is made."""
    (ann.folder / "app.py").write_text("mine")
    assert "app.py is here already" in ann.dae("create", "--template", "flask", "blog", status=1).stderr
    assert (ann.folder / "app.py").read_text() == "mine"
    assert platform.last().path.endswith("whoami")


def test_a_clone_is_tied_to_an_app_that_exists(repository: Person, platform: Platform) -> None:
    """dae remote asks for the app, and makes the same settings as create."""
    assert "input/unknown-path" in repository.dae("remote", "nope", status=1).stderr
    repository.dae("remote", "blog")
    assert repository.git("remote", "get-url", "dae") == f"{platform.url}/git/blog.git"


def test_deploy_pushes_the_commit_to_the_stages_branch(repository: Person, platform: Platform) -> None:
    """dev, beta and stable are the branches master (or main, when one is on it), beta and release."""
    repository.dae("create", "blog")
    path = bare(repository, platform)
    head = repository.git("rev-parse", "HEAD")
    for stage, branch in (("dev", "master"), ("beta", "beta"), ("stable", "release")):
        repository.dae("deploy", "-s", stage)
        assert repository.git("--git-dir", str(path), "rev-parse", f"refs/heads/{branch}") == head
    repository.git("checkout", "--quiet", "-b", "main")
    repository.dae("deploy")
    assert repository.git("--git-dir", str(path), "rev-parse", "refs/heads/main") == head


def test_deploy_ends_with_gits_own_status(repository: Person, platform: Platform) -> None:
    """A push that the platform rejects is a failure of the command, with git's words."""
    repository.dae("create", "blog")
    hook = bare(repository, platform) / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho ' !     build/unresolvable: no' >&2\nexit 1\n")
    hook.chmod(0o755)
    assert "build/unresolvable" in repository.dae("deploy", status=1).stderr


def test_deploy_refuses_what_is_not_committed(repository: Person, platform: Platform) -> None:
    """A changed file stops it, unless told otherwise; a file that git doesn't know is named."""
    repository.dae("create", "blog")
    bare(repository, platform)
    (repository.folder / "app.py").write_text("2\n")
    (repository.folder / "notes.txt").write_text("n")
    done = repository.dae("deploy", status=1)
    assert "local/uncommitted" in done.stderr
    assert "notes.txt" in done.stderr
    repository.dae("deploy", "--allow-dirty")


def test_the_app_comes_from_the_remote_of_this_platform_only(repository: Person, platform: Platform) -> None:
    """Without a remote, or with one that belongs elsewhere, the app must be named."""
    assert repository.dae("ps", status=1).stderr.startswith(" !     local/no-app")
    repository.git("remote", "add", "dae", "http://elsewhere/git/blog.git")
    assert repository.dae("ps", status=1).stderr.startswith(" !     local/other-platform")
    repository.dae("info", "-a", "blog")


@pytest.mark.parametrize(
    "url, app",
    [
        ("http://x:1/git/blog.git", "blog"),
        ("http://x:1/git/blog", None),
        ("http://x:1/git/a/b.git", None),
        ("http://x:1/git/..git", None),
        ("http://x:11/git/blog.git", None),
        ("http://x:1.evil/git/blog.git", None),
        ("https://x:1/git/blog.git", None),
    ],
)
def test_only_the_very_url_names_an_app(url: str, app: str | None) -> None:
    """Scheme, host, port and path must be those of the platform."""
    assert app_of(url, "http://x:1") == app


def test_renaming_and_destroying_follow_in_the_remote(repository: Person, platform: Platform) -> None:
    """The remote of the renamed app is the new one's; the destroyed app's is removed."""
    repository.dae("create", "blog")
    platform.answers["POST", "apps/blog/rename"] = ndjson({"ok": {"app": "shop", "git": "x"}})
    repository.dae("rename", "shop", "--dry-run")
    assert repository.git("remote", "get-url", "dae").endswith("/git/blog.git")
    repository.dae("rename", "shop")
    assert repository.git("remote", "get-url", "dae") == f"{platform.url}/git/shop.git"
    platform.answers["DELETE", "apps/shop"] = ndjson({"ok": {"app": "shop"}})
    repository.dae("destroy", "--confirm", "shop")
    assert repository.git("remote") == ""
