"""The platform's verbs in the ``dae`` command. What they do is imported when they are used: the command starts fast."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from core.errors import DaeError

if TYPE_CHECKING:
    from control.output import Output
    from core.config import Settings


def _edge(function: Callable[..., None]) -> Callable[..., None]:
    """Turn the platform's errors into the command's, which its main function prints."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None:
        from dae.cli.errors import CliError

        try:
            function(*arguments, **options)
        except DaeError as error:
            raise CliError.from_json(error.to_json()) from error

    return wrapped


def _settings() -> Settings:
    from core.config import load

    return load()


def _output() -> Output:
    from control.output import Output

    return Output(functools.partial(print, flush=True))


@click.command()
@_edge
def up() -> None:
    """Start the platform here, or bring it up to date."""
    from control.platform.up import up as start

    start(_settings(), _output(), os.environ, uid=os.geteuid())


@click.command()
@click.option("--erase", is_flag=True, help="Also remove the home and the accounts made for it.")
@click.option("--confirm", default="", metavar="HOME", help="The home's path, typed, for --erase.")
@_edge
def down(erase: bool, confirm: str) -> None:
    """Stop the platform and its apps. State is kept."""
    from control.platform import down as stopping

    if erase:
        stopping.erase(_settings(), confirm, _output(), uid=os.geteuid())
    else:
        stopping.down(_settings(), _output())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_edge
def status(as_json: bool) -> None:
    """Show the platform's parts and whether they answer."""
    from control.platform.status import gather
    from dae.cli import output

    parts = gather(_settings(), os.environ)
    if as_json:
        output.as_json({"parts": parts, "ok": all(part["ok"] for part in parts)})
    else:
        columns = ("part", "state", "pid", "since", "address", "detail")
        rows = [{**part, "since": output.when(part.get("since"))} for part in parts]
        output.table(columns, [[part.get(name) for name in columns] for part in rows])
    if not all(part["ok"] for part in parts):
        sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_edge
def doctor(as_json: bool) -> None:
    """Examine this machine and the platform on it."""
    from dataclasses import asdict

    from control.platform.doctor import examine
    from dae.cli import output

    findings = examine(_settings(), uid=os.geteuid())
    if as_json:
        output.as_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            output.data(f"{finding.level:5} {finding.subject:12} {finding.text}")
            if finding.hint and finding.level != "ok":
                output.data(f"{'':18} -> {finding.hint}")
    if any(finding.level == "fail" for finding in findings):
        sys.exit(1)


@click.command()
@_edge
def demo() -> None:
    """Start the platform and take an example app all the way."""
    from control.platform.demo import demo as show
    from control.platform.up import up as start

    settings, out = _settings(), _output()
    start(settings, out, os.environ, uid=os.geteuid())
    show(settings, out, os.environ, uid=os.geteuid())


commands = [up, down, status, doctor, demo]
