"""``dae demo``: an example app goes all the way before the reader's eyes, by the commands that a developer types."""

from __future__ import annotations

import http.client
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control.output import Output
from control.platform import person
from core.argv import CLEAN_ENVIRON, run
from core.config import Settings
from core.errors import DaeError
from core.paths import Home

APP = "hello"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flask-hello"
_COMMAND_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Shell:
    """A developer's terminal: commands are shown as typed, then run in the app's repository."""

    out: Output
    folder: Path
    environ: Mapping[str, str]

    def type(self, *argv: str) -> None:
        """Run a command that must succeed; raises ``platform/start-failed``."""
        self.out.raw("")
        self.out.raw(f"$ {shlex.join(argv)}")
        outcome = run(argv, environ=self.environ, cwd=self.folder, on_line=self.out.raw, timeout=_COMMAND_SECONDS)
        if not outcome.ok:
            cause = f"{' '.join(argv)} ended with status {outcome.status}"
            raise DaeError("platform/start-failed", cause, "see the lines above, and: dae doctor")

    def quietly(self, *argv: str) -> bool:
        """Run a command that is no part of the story; returns whether it succeeded."""
        return run(argv, environ=self.environ, cwd=self.folder, timeout=_COMMAND_SECONDS).ok


def demo(settings: Settings, out: Output, environ: Mapping[str, str], *, uid: int) -> None:
    """Push, promote, change, push and promote again, roll back; each step is checked by asking the app for its page.

    A second time it only shows that everything is still so. Raises ``platform/start-failed`` or ``app/exists``.
    """
    work = Home(settings.home).root / "demo"
    work.mkdir(exist_ok=True)
    shell = Shell(out, work / APP, developer(settings, environ, uid))
    done = work / "done"
    if not done.exists():
        begin(shell)
        story(settings, shell)
        done.touch()
    else:
        out.step(f"{APP} has been shown already; nothing changed (again: remove {done})")
        look(settings, out, "dev", "2")
        look(settings, out, "stable", "1")
    farewell(settings, out)


def developer(settings: Settings, environ: Mapping[str, str], uid: int) -> dict[str, str]:
    """The environment of the developer's commands; no configuration of git's but the repository's own."""
    who = person.invoker(environ, uid)
    signature = {f"GIT_{part}_{key}": value for part in ("AUTHOR", "COMMITTER") for key, value in _SIGNATURE.items()}
    return {
        **signature,
        "HOME": str(Path(environ.get("HOME", "/"))),
        "PATH": f"{Path(sys.executable).parent}:{CLEAN_ENVIRON['PATH']}",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "DAE_URL": settings.url,
        "DAE_CONFIG": str(who.folder),
        "NO_COLOR": "1",
    }


_SIGNATURE = {"NAME": "A developer", "EMAIL": "developer@localhost"}


def begin(shell: Shell) -> None:
    """A fresh folder with the example in it; an app that an interrupted demo left, with its folder, is removed."""
    if not EXAMPLE.is_dir():
        raise DaeError("platform/missing", "the examples are not beside this code", "run it from a checkout: make demo")
    if shell.folder.exists():
        if shell.quietly("dae", "info", "-a", APP):
            shell.type("dae", "destroy", "-a", APP, "--confirm", APP)
        shutil.rmtree(shell.folder)
    shutil.copytree(EXAMPLE, shell.folder, ignore=shutil.ignore_patterns("__pycache__"))


def story(settings: Settings, shell: Shell) -> None:
    """The main job of the platform, once."""
    out = shell.out
    out.step(f"An app: {EXAMPLE.name}, in {shell.folder}")
    shell.type("git", "init", "--quiet", "--initial-branch=master")
    shell.type("git", "add", ".")
    shell.type("git", "commit", "--quiet", "-m", "Version 1")
    shell.type("dae", "create", APP)
    shell.type("git", "push", "dae", "master")
    look(settings, out, "dev", "1")
    promote(shell)
    look(settings, out, "stable", "1")
    out.step("A change")
    change(shell.folder / "app.py")
    shell.type("git", "commit", "--quiet", "-a", "-m", "Version 2")
    shell.type("git", "push", "dae", "master")
    look(settings, out, "dev", "2")
    look(settings, out, "stable", "1")
    promote(shell)
    look(settings, out, "stable", "2")
    out.step("And back")
    shell.type("dae", "rollback", "-s", "stable")
    look(settings, out, "stable", "1")
    shell.type("dae", "releases")


def promote(shell: Shell) -> None:
    """From dev to stable, the same bytes."""
    shell.type("dae", "promote", "--from", "dev")
    shell.type("dae", "promote", "--from", "beta")


def change(path: Path) -> None:
    """Edit the one line."""
    path.write_text(path.read_text().replace('VERSION = "1"', 'VERSION = "2"'))


def look(settings: Settings, out: Output, stage: str, version: str) -> None:
    """Ask the app for its page through the router; raises ``platform/start-failed`` unless it is that version's."""
    url = settings.app_url(APP, stage)
    connection = http.client.HTTPConnection(settings.local_address, settings.port, timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": url.removeprefix("http://").rstrip("/")})
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise DaeError("platform/start-failed", f"GET {url}: {error}", "see: dae doctor") from error
    finally:
        connection.close()
    out.raw("")
    out.raw(f"$ curl {url}")
    said = "version " + version if shows(body, version) else "another page"
    out.detail(f"{answer.status} {answer.reason}, X-DAE-Release: {answer.headers.get('X-DAE-Release')}: {said}")
    if answer.status != 200 or not shows(body, version):
        raise DaeError("platform/start-failed", f"{url} does not show version {version}", "see: dae logs -a hello")


def shows(body: str, version: str) -> bool:
    """Does the example's page say that it is of this version?"""
    return f"version {version}" in body.lower()


def farewell(settings: Settings, out: Output) -> None:
    """What is left to click."""
    out.raw("")
    out.done("That was the whole way. Left to click:")
    for stage, text in (("dev", "version 2"), ("beta", "version 2"), ("stable", "version 1, rolled back")):
        out.detail(f"{settings.app_url(APP, stage):45} {text}")
    out.detail(f"{settings.url + '/':45} the platform's pages")
