"""ci."""

from __future__ import annotations

from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.errors import CliError


@click.group(cls=context.Group, invoke_without_command=True)
@context.app_option
@context.json_option
@click.pass_context
def ci(ctx: click.Context, app: Optional[str], as_json: bool) -> None:
    """List the runs of an app's tests, newest first."""
    if ctx.invoked_subcommand:
        return
    client, name = context.connected(app)
    answer = client.get("apps", name, "ci")
    if as_json:
        output.as_json(answer)
        return
    columns = ["run", "app", "commit", "state", "status", "by", "at", "finished", "error"]
    output.table(columns, [_row(run) for run in answer])


def _row(run: dict[str, Any]) -> tuple[object, ...]:
    times = (output.when(run["created"]), output.when(run["finished"]))
    return (run["id"], run["app"], run["commit"][:12], run["state"], run["status"], run["who"], *times, run["error"])


@ci.command("log")
@click.argument("number", metavar="[RUN]", type=int, required=False)
@context.app_option
@context.json_option
def log(number: Optional[int], app: Optional[str], as_json: bool) -> None:
    """Show a run and what it wrote; without RUN the last one."""
    client, name = context.connected(app)
    if number is None:
        number = next((int(run["id"]) for run in client.get("apps", name, "ci")), None)
    if number is None:
        raise CliError("input/unknown-path", f"no tests of {name} ran yet", f"type: dae ci run -a {name}")
    found = client.get("apps", name, "ci", str(number))
    if as_json:
        output.as_json(found)
        return
    output.step(f"Run {found['id']} of the tests of {found['app']}, commit {found['commit'][:12]}: {found['state']}")
    for line in str(found["log"]).splitlines():
        output.data(line)


@ci.command("run")
@click.argument("what", metavar="[COMMIT|BUILD|SLUG]", default="")
@context.app_option
@context.json_option
def run(what: str, app: Optional[str], as_json: bool) -> None:
    """Have the tests of a commit, a slug, or the build with that number, run again; without: of what was built last."""
    client, name = context.connected(app)
    found = client.post("apps", name, "ci", body={"what": what})
    if as_json:
        output.as_json(found)
    else:
        output.progress(f"=====> run {found['id']}, of commit {found['commit'][:12]}, waits: dae ci log {found['id']}")


@ci.command("require")
@click.argument("stages", metavar="[STAGE]...", nargs=-1, type=click.Choice(["beta", "stable"]))
@click.option("--none", "nowhere", is_flag=True, help="No stage requires tests any more.")
@context.app_option
@context.json_option
def require(stages: tuple[str, ...], nowhere: bool, app: Optional[str], as_json: bool) -> None:
    """Let these stages, and no others, take only what has passed its tests; without any: show which do."""
    if stages and nowhere:
        raise click.UsageError("a STAGE and --none exclude one another")
    client, name = context.connected(app)
    path = ("apps", name, "ci", "require")
    answer = client.post(*path, body={"require": list(stages)}) if stages or nowhere else client.get(*path)
    if as_json:
        output.as_json(answer)
    else:
        output.data(", ".join(answer["require"]) or "no stage requires tests")
