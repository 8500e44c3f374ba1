"""credential: what git asks when it needs a user and a password (git-credential(1))."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Optional

import click

from dae.cli import context, git, output
from dae.cli.credentials import Credentials, Login, chosen, default_folder, normal_url
from dae.cli.errors import CliError


def parse(lines: Iterable[str]) -> dict[str, str]:
    """The ``key=value`` lines of a request, up to the first blank one."""
    asked: dict[str, str] = {}
    for line in lines:
        if not line.strip("\n"):
            break
        key, _, value = line.rstrip("\n").partition("=")
        asked[key] = value
    return asked


@click.command(hidden=True)
@click.argument("action")
def credential(action: str) -> None:
    """Answer ``get`` with the saved token of the platform that git names; do nothing for ``store`` and ``erase``."""
    if action != "get":
        return
    asked = parse(sys.stdin)
    try:
        url = normal_url(f"{asked.get('protocol', '')}://{asked.get('host', '')}")
    except CliError:
        return  # not ours; git asks the next helper
    found = _login(url)
    if not found and git.app_of(git.remote_url(), url):
        # git goes on to ask for a name and a password, which nobody has here.
        output.error(CliError("local/no-platform", f"not logged in at {url}", f"dae login --url {url}"))
    if found and asked.get("username", found.user) == found.user:
        click.echo(f"username={found.user}\npassword={found.token}")


def _login(url: str) -> Optional[Login]:
    """Who we are at ``url``; DAE_TOKEN counts for the platform that commands talk to, and for no other."""
    if os.environ.get("DAE_TOKEN"):
        login = chosen(os.environ)
        if login.url == url:
            # git wants a user, and the platform wants it to be the token's.
            return Login(url, str(context.client(login).get("whoami")["user"]), login.token)
    return Credentials(default_folder(os.environ)).get(url)
