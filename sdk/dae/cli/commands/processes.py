"""ps, restart, logs."""

from __future__ import annotations

import sys
from typing import Optional

import click

from dae.cli import context, output


@click.command()
@context.app_option
@context.stage_option
@context.json_option
def ps(app: Optional[str], stage: str, as_json: bool) -> None:
    """List the running instances of an app in a stage."""
    client, name = context.connected(app)
    answer = client.get("apps", name, "ps", stage=stage)
    if as_json:
        output.as_json(answer)
        return
    columns = ["app", "stage", "release", "process", "instance", "pid", "state", "since"]
    rows = [[*(i[c] for c in columns[:-1]), output.when(i["since"])] for i in answer]
    output.table(columns, rows)


@click.command()
@context.app_option
@context.stage_option
@context.dry_run_option
@context.json_option
def restart(app: Optional[str], stage: str, dry_run: bool, as_json: bool) -> None:
    """Start the live release's instances anew beside the running ones, switch, stop those."""
    _, name = context.connected(app)
    context.work("POST", "apps", name, "restart", body={"stage": stage, "dry_run": dry_run}, as_json=as_json)


@click.command()
@context.app_option
@context.stage_option
@click.option("-f", "--follow", is_flag=True, help="Go on showing lines as they are written.")
@click.option("-n", "--lines", type=click.IntRange(0, 10_000), default=100, show_default=True)
@click.option("-p", "--process", default="", metavar="PROCESS", help="Only this process type, such as web.")
def logs(app: Optional[str], stage: str, follow: bool, lines: int, process: str) -> None:
    """Show what the app's processes write."""
    client, name = context.connected(app)
    release = context.live_release(client.get("apps", name), stage)
    output.step(f"{name}, {stage}, {release}: logs of {process or 'all processes'}")
    query = {"stage": stage, "process": process, "lines": lines, "follow": int(follow)}
    shown = False
    for line in client.text("apps", name, "logs", **query):
        shown = True
        output.data(line)
        if follow:
            sys.stdout.flush()
    if lines and not shown:
        where = f"nothing is live in {stage}" if release == "-" else f"see: dae ps -a {name} -s {stage}"
        output.detail(f"no line has been written; {where}")
