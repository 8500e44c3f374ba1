"""What every command works out first: which platform, which app, which stage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Optional, TypeVar

import click

from dae.cli import credentials, git, output
from dae.cli.errors import CliError

STAGES = ("dev", "beta", "stable")
F = TypeVar("F", bound=Callable[..., Any])

app_option = click.option("-a", "--app", metavar="APP", help="The app; else the one of the git remote dae.")
stage_option = click.option("-s", "--stage", type=click.Choice(STAGES), default="dev", show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON on standard output.")
untested_option = click.option(
    "--untested", is_flag=True, help="Also without the tests that the stage requires; this is recorded."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show the steps and do none of them.")


def size(text: str) -> int:
    """Bytes, with a unit or without, as an option has them: ``5000000000``, ``5GB``, ``500 MB``, ``2GiB``."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgt]?)(i?)b?", text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise click.BadParameter(f"{text!r} is no size: a number of bytes, or 500MB, 5GB, 2GiB")
    return int(Decimal(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2] or " "))


def text_of(path: Path, hint: str) -> str:
    """The text of a file that was named; raises ``local/file``."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        cause = f"{path} cannot be read: {(error.strerror or 'it is no file').lower()}"
    except UnicodeDecodeError:
        cause = f"{path} is no text in UTF-8"
    raise CliError("local/file", cause, hint)


class Group(click.Group):
    """A group whose own options, said before a subcommand, hold for that: ``dae config -a shop set A=1``.

    Raises UsageError for an option that the subcommand does not have: it would be passed over in silence.
    """

    def invoke(self, ctx: click.Context) -> Any:
        given = {
            name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        }
        words = [*getattr(ctx, "protected_args", ()), *ctx.args]
        command = self.get_command(ctx, words[0]) if words else None
        if command is not None:
            if strange := given - {parameter.name for parameter in command.params}:
                option = next(one for one in self.params if one.name in strange)
                raise click.UsageError(f"{option.opts[0]} is nothing that '{words[0]}' takes", ctx)
            ctx.default_map = {words[0]: {name: ctx.params[name] for name in given}}
        return super().invoke(ctx)


def login() -> credentials.Login:
    """The chosen platform; raises ``local/no-platform``."""
    return credentials.chosen(os.environ)


def client(who: Optional[credentials.Login] = None) -> Any:
    """A connection to the chosen platform."""
    from dae.cli.client import Client  # late: --help and the local commands need no HTTP

    return Client(who or login())


def app_name(given: Optional[str], platform: str) -> str:
    """The app that was named, or the one whose repository the git remote ``dae`` is.

    Raises ``local/no-app``, ``local/other-platform`` or ``app/bad-name``.
    """
    if given:
        return checked_name(given)
    url = git.remote_url()
    if not url:
        raise CliError(
            "local/no-app", "no app is named, and there is no git remote dae", "name it: -a APP (see: dae apps)"
        )
    name = git.app_of(url, platform)
    if name is None:
        hint = "name the app: -a APP\nor change the platform: dae login --url URL"
        raise CliError("local/other-platform", f"the git remote dae is {url}, and the platform is {platform}", hint)
    return name


def checked_name(name: str) -> str:
    """``name`` if it can be an app's; raises ``app/bad-name``: it becomes part of an address."""
    if not git.APP_NAME.match(name):
        raise CliError("app/bad-name", f"{name!r} cannot be an app's name", "see: dae apps")
    return name


def connected(app: Optional[str]) -> tuple[Any, str]:
    """A connection to the chosen platform, and the app's name."""
    who = login()
    name = app_name(app, who.url)
    return client(who), name


def live_release(info: Mapping[str, Any], stage: str) -> str:
    """``v3``, or a dash when nothing is live in that stage."""
    entry = info["stages"].get(stage)
    return str(entry["release"]) if entry else "-"


def work(method: str, *path: str, body: Mapping[str, Any], as_json: bool = False) -> dict[str, Any]:
    """Have the platform do something that takes a while; its words go to stderr, a plan or JSON to stdout."""
    result: dict[str, Any] = client().work(method, *path, body=body, on_line=output.progress)
    if as_json:
        output.as_json(result)
    elif body.get("dry_run"):
        for number, text in enumerate(result.get("plan", []), start=1):
            output.data(f"{number}. {text}")
    return result
