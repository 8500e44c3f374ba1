"""config: show, get, set, unset."""

from __future__ import annotations

import sys
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.errors import CliError


def _variables(app: str, stage: str) -> dict[str, Any]:
    answer: dict[str, Any] = context.client().get("apps", app, "config", stage=stage)
    return answer


@click.group(cls=context.Group, invoke_without_command=True)
@context.app_option
@context.stage_option
@click.option("--show", is_flag=True, help="Show the values, too.")
@context.json_option
@click.pass_context
def config(ctx: click.Context, app: Optional[str], stage: str, show: bool, as_json: bool) -> None:
    """List the names of an app's config variables; values are shown only with --show."""
    if ctx.invoked_subcommand:
        return
    _, name = context.connected(app)
    found = _variables(name, stage)
    if as_json:
        output.as_json({key: value if show else None for key, value in found.items()})
        return
    output.step(f"{name}, {stage}: {len(found)} variable(s)")
    output.table(["key", "value"], [(key, found[key] if show else "(hidden; --show)") for key in sorted(found)])


@config.command("get")
@click.argument("key")
@context.app_option
@context.stage_option
def get_value(key: str, app: Optional[str], stage: str) -> None:
    """Print one value, and nothing else."""
    _, name = context.connected(app)
    found = _variables(name, stage)
    if key not in found:
        raise CliError(
            "config/bad-key", f"{name} in {stage} has no variable {key}", f"see: dae config -a {name} -s {stage}"
        )
    click.echo(found[key])  # as it is: it may be multi-line, or bytes for another program


def pairs(words: tuple[str, ...]) -> dict[str, str]:
    """``K=V`` words as a mapping; ``K=-`` takes the value from standard input (once, without its last newline)."""
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{word!r} is not KEY=VALUE")
        if key in values:
            raise click.UsageError(f"{key} is given twice")
        values[key] = value
    from_stdin = [key for key, value in values.items() if value == "-"]
    if len(from_stdin) > 1:
        raise click.UsageError(
            f"standard input can be the value of one variable only, not of {' and '.join(from_stdin)}"
        )
    for key in from_stdin:
        text = sys.stdin.read()
        values[key] = text[:-1] if text.endswith("\n") else text
    return values


@config.command("set")
@click.argument("words", metavar="KEY=VALUE...", nargs=-1, required=True)
@context.app_option
@context.stage_option
@context.dry_run_option
@context.json_option
def set_values(words: tuple[str, ...], app: Optional[str], stage: str, dry_run: bool, as_json: bool) -> None:
    """Set variables; with a release live this makes a new one. KEY=- reads the value from standard input."""
    values = pairs(words)
    _change(app, stage, {"set": values, "unset": []}, dry_run, as_json)


@config.command("unset")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@context.app_option
@context.stage_option
@context.dry_run_option
@context.json_option
def unset_values(keys: tuple[str, ...], app: Optional[str], stage: str, dry_run: bool, as_json: bool) -> None:
    """Remove variables; with a release live this makes a new one."""
    _change(app, stage, {"set": {}, "unset": list(keys)}, dry_run, as_json)


def _change(app: Optional[str], stage: str, changes: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    _, name = context.connected(app)
    body = {"stage": stage, **changes, "dry_run": dry_run}
    context.work("POST", "apps", name, "config", body=body, as_json=as_json)
