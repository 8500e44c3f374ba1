"""tokens."""

from __future__ import annotations

import click

from dae.cli import context, output

ACTIONS = ("read", "upload", "yank")


@click.group(cls=context.Group, invoke_without_command=True)
@context.json_option
@click.pass_context
def tokens(ctx: click.Context, as_json: bool) -> None:
    """List tokens for single projects of the index; their texts are shown only when they are made."""
    if ctx.invoked_subcommand:
        return
    answer = context.client().get("tokens")
    if as_json:
        output.as_json(answer)
        return
    rows = [(t["id"], t["project"], ", ".join(t["actions"]), t["user"], output.when(t["created"])) for t in answer]
    output.table(["id", "project", "for", "user", "made"], rows)


@tokens.command("create")
@click.option("--project", required=True, metavar="NAME", help="The private project that it is for.")
@click.option("--action", "actions", multiple=True, required=True, type=click.Choice(ACTIONS), help="May be repeated.")
@context.json_option
def create(project: str, actions: tuple[str, ...], as_json: bool) -> None:
    """Make a token for some actions on one project and print it; it is shown only now."""
    answer = context.client().post("tokens", body={"project": project, "actions": list(actions)})
    if as_json:
        output.as_json(answer)
        return
    output.step(f"Made token {answer['id']}, to {' and '.join(answer['actions'])} {answer['project']}; shown only now:")
    output.data(answer["token"])


@tokens.command("revoke")
@click.argument("number", metavar="ID", type=int)
def revoke(number: int) -> None:
    """Make a token worthless, from now on."""
    context.client().delete("tokens", str(number))
    output.step(f"Revoked token {number}")
