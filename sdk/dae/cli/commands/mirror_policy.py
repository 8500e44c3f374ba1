"""mirror policy: show, check, approve, revoke."""

from __future__ import annotations

from pathlib import Path

import click

from dae.cli import context, output
from dae.cli.commands.mirror import mirror


@mirror.group("policy", cls=context.Group, invoke_without_command=True)
@context.json_option
@click.pass_context
def policy(ctx: click.Context, as_json: bool) -> None:
    """Show the policy in force: what the index lets through."""
    if ctx.invoked_subcommand is None:
        _show(as_json)


@policy.command("show")
@context.json_option
def show(as_json: bool) -> None:
    """Show the policy in force, and what was approved."""
    _show(as_json)


def _show(as_json: bool) -> None:
    found = context.client().get("mirror", "policy")
    if as_json:
        output.as_json(found)
        return
    output.progress(f"-----> {found['file']}")
    for line in (found["text"] or "# everything may come").splitlines():
        output.data(line)
    for one in found["approvals"]:
        by = f" by {one['by']}, {output.when(one['at'])}" if one["by"] else ""
        output.data(f"# approved: {one['project']} {one['version']}{by}")
    for problem in found["state"]["problems"]:
        output.warn(problem)


@policy.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@context.json_option
def check(file: Path, as_json: bool) -> None:
    """Try a policy file: whether it can be read, and what it would refuse of what is here."""
    text = context.text_of(file, "name a policy file")
    found = context.client().post("mirror", "policy", "check", body={"text": text})
    if as_json:
        output.as_json(found)
        return
    output.progress(f"=====> {file} is a policy with the views {', '.join(found['views'])}")
    if found["refused"]:
        rows = [(row["view"], row["file"], row["rule"], row["reason"]) for row in found["refused"]]
        output.table(["view", "file", "rule", "reason"], rows)
    else:
        output.detail("it would refuse nothing of what is here")


@policy.command("approve")
@click.argument("name")
@click.argument("version")
@context.json_option
def approve(name: str, version: str, as_json: bool) -> None:
    """Let VERSION of the project NAME out of quarantine; * is all its versions."""
    found = context.client().post("mirror", "policy", "approve", body={"name": name, "version": version})
    if as_json:
        output.as_json(found)
        return
    output.progress(f"=====> {found['project']} {found['version']} may come")


@policy.command("revoke")
@click.argument("name")
@click.argument("version")
@context.json_option
def revoke(name: str, version: str, as_json: bool) -> None:
    """Take an approval back: VERSION (or *) of the project NAME is in quarantine again, where the policy says so."""
    found = context.client().post("mirror", "policy", "revoke", body={"name": name, "version": version})
    if as_json:
        output.as_json(found)
        return
    output.progress(f"=====> {found['project']} {found['version']} is not approved any more")
