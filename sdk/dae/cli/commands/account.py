"""login, logout, whoami, users."""

from __future__ import annotations

import os
import sys
from typing import Optional

import click

from dae.cli import context, output
from dae.cli.credentials import Credentials, Login, default_folder, normal_url
from dae.cli.errors import CliError


def _saved() -> Credentials:
    return Credentials(default_folder(os.environ))


def _wanted_url(given: Optional[str]) -> str:
    """The address to log in to: the one given, DAE_URL, or the current platform's."""
    if given or os.environ.get("DAE_URL"):
        return normal_url(given or os.environ["DAE_URL"])
    current = _saved().current()
    if current is None:
        raise CliError("local/no-platform", "no platform is known yet", "dae login --url http://HOST:8080")
    return current.url


def _token(from_stdin: bool) -> str:
    if from_stdin or not sys.stdin.isatty():
        token = sys.stdin.readline().strip()
    else:
        token = click.prompt("Token", hide_input=True, err=True).strip()
    if not token or not token.isascii() or any(letter.isspace() for letter in token):
        raise CliError("local/no-token", "no token was given", "ask an administrator: dae users add NAME")
    return token


@click.command()
@click.option("--url", metavar="URL", help="The platform's address, such as http://HOST:8080.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
def login(url: Optional[str], token_stdin: bool) -> None:
    """Log in to a platform; it becomes the current one.

    A platform that you are logged in to already is only made the current one, as long as its token is good.
    """
    address = _wanted_url(url)
    known = None if token_stdin else _saved().get(address)
    who = known and _known(known)
    if not who:
        token = _token(token_stdin)
        who = Login(address, str(context.client(Login(address, "", token)).get("whoami")["user"]), token)
    _saved().put(who)
    output.step(f"Logged in to {address} as {who.user}")


def _known(saved: Login) -> Optional[Login]:
    """The saved login if its token is still good."""
    try:
        context.client(saved).get("whoami")
    except CliError as error:
        if error.code != "auth/required":
            raise
        return None
    return saved


@click.command()
@click.option("--url", metavar="URL", help="The platform's address; else the current one.")
def logout(url: Optional[str]) -> None:
    """Forget a platform's token on this machine."""
    address = _wanted_url(url)
    known = _saved().remove(address)
    output.step(f"Logged out of {address}" if known else f"There was no login at {address}")


@click.command()
@context.json_option
def whoami(as_json: bool) -> None:
    """Show who you are, and on which platform."""
    who = context.login()
    answer = context.client(who).get("whoami")
    if as_json:
        output.as_json({**answer, "url": who.url})
        return
    output.data(f"{answer['user']} at {who.url}" + (" (administrator)" if answer.get("admin") else ""))


@click.group(cls=context.Group, invoke_without_command=True)
@context.json_option
@click.pass_context
def users(ctx: click.Context, as_json: bool) -> None:
    """List users; ``users add NAME`` adds one."""
    if ctx.invoked_subcommand:
        return
    answer = context.client().get("users")
    if as_json:
        output.as_json(answer)
        return
    output.table(["user", "admin"], [(user["user"], "yes" if user["admin"] else "") for user in answer])


@users.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@context.json_option
def add_user(name: str, admin: bool, as_json: bool) -> None:
    """Add a user and print its token, which is shown only now."""
    answer = context.client().post("users", body={"name": name, "admin": admin})
    if as_json:
        output.as_json(answer)
        return
    output.step(f"Added {answer['user']}; this is the token, which is shown only now:")
    output.data(answer["token"])
