"""What the command asks of git: the remote that ties a repository to an app, and the credential helper."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Optional

from dae.cli import credential_helper
from dae.cli.credentials import ANSWERS, FILE, answer_name
from dae.cli.errors import CliError

REMOTE = "dae"
APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}\Z")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run git quietly in the current folder; raises ``local/git`` when there is no git at all."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise CliError("local/git", "git is not installed", "install the package git") from None


def must(*words: str) -> str:
    """Run git and return what it says; raises ``local/git`` when it fails."""
    done = run(*words)
    if done.returncode:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise CliError("local/git", f"git {words[0]}: {said}")
    return done.stdout.strip()


def top_folder() -> Optional[Path]:
    """The top of the work tree that the current folder is in, or None."""
    done = run("rev-parse", "--show-toplevel")
    return Path(done.stdout.rstrip("\n")) if done.returncode == 0 and done.stdout.strip() else None


def remote_url() -> str:
    """The URL of the remote ``dae`` as it was given (without insteadOf), or an empty text."""
    return run("config", "--get", f"remote.{REMOTE}.url").stdout.strip()


def app_url(platform: str, app: str) -> str:
    """Where an app's repository is."""
    return f"{platform}/git/{app}.git"


def app_of(url: str, platform: str) -> Optional[str]:
    """The app whose repository at ``platform`` is ``url``, or None when it is no such thing."""
    prefix, suffix = f"{platform}/git/", ".git"
    if not (url.startswith(prefix) and url.endswith(suffix)):
        return None
    name = url[len(prefix) : -len(suffix)]
    return name if APP_NAME.match(name) else None


def credential_settings(platform: str, python: str = sys.executable) -> list[tuple[str, str]]:
    """The git settings that have our helper answer for ``platform``, and nobody else.

    The empty value forgets helpers of wider settings, which would be given the token to keep (gitcredentials(7)).
    git hands a helper to the shell, so the words are quoted for it; it also calls it to store and to erase what is
    kept elsewhere, for which nothing is started. The plain case is answered by the shell itself, from the file that
    the login left for it.
    """
    key = f"credential.{platform}.helper"
    words = shlex.join([os.path.abspath(python), "-I", "-S", str(Path(credential_helper.__file__).absolute())])
    return [
        (key, ""),
        (
            key,
            '!f() { test "$1" = get || return 0; q=$(cat); '
            'd="${DAE_CONFIG:-${XDG_CONFIG_HOME:-$HOME/.config}/dae}"; '
            f'a="$d/{ANSWERS}/{answer_name(platform)}"; '
            'case "$DAE_TOKEN|$q" in "|"*username=*) ;; "|"*) '
            f'if test -f "$d/{FILE}" && test -f "$a" && ! test "$d/{FILE}" -nt "$a"; then exec cat "$a"; fi ;; esac; '
            f"printf '%s\\n\\n' \"$q\" | {words}; }}; f",
        ),
    ]


def attach(platform: str, app: str) -> None:
    """Tie the current repository to an app: the remote and the credential helper; raises ``local/git``."""
    key = f"credential.{platform}.helper"
    (_, first), (_, second) = credential_settings(platform)
    must("config", "--local", "--replace-all", key, first)
    must("config", "--local", "--add", key, second)
    must("remote", "add", REMOTE, app_url(platform, app))


def push(platform: str, target: str, refspec: str) -> int:
    """Run ``git push`` in view of the user; returns its exit status."""
    settings: list[str] = []
    for key, value in credential_settings(platform):
        settings += ["-c", f"{key}={value}"]
    return subprocess.call(["git", *settings, "push", target, refspec])
