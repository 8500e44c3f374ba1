"""hooks, events, status."""

from __future__ import annotations

import json
from typing import Optional

import click

from dae.cli import context, output


@click.group(cls=context.Group, invoke_without_command=True)
@context.json_option
@click.pass_context
def hooks(ctx: click.Context, as_json: bool) -> None:
    """List webhooks: addresses that are told of every event."""
    if ctx.invoked_subcommand:
        return
    answer = context.client().get("hooks")
    if as_json:
        output.as_json(answer)
        return
    output.table(["id", "app", "url"], [(hook["id"], hook["app"] or "(all)", hook["url"]) for hook in answer])


@hooks.command("add")
@click.argument("url")
@context.app_option
@click.option("--all-apps", is_flag=True, help="Events of all apps (administrators).")
@context.json_option
def add_hook(url: str, app: Optional[str], all_apps: bool, as_json: bool) -> None:
    """Add a webhook and print the secret that its deliveries are signed with, which is shown only now."""
    if all_apps and app:
        raise click.UsageError("--all-apps and -a exclude one another")
    client, name = (context.client(), "") if all_apps else context.connected(app)
    answer = client.post("hooks", body={"url": url, **({"app": name} if name else {})})
    if as_json:
        output.as_json(answer)
        return
    output.step(f"Added hook {answer['id']} for {name or 'all apps'}; its secret, which is shown only now:")
    output.data(answer["secret"])


@hooks.command("remove")
@click.argument("number", metavar="ID", type=int)
def remove_hook(number: int) -> None:
    """Remove a webhook."""
    context.client().delete("hooks", str(number))
    output.step(f"Removed hook {number}")


@hooks.command("deliveries")
@click.argument("number", metavar="ID", type=int)
@context.json_option
def deliveries(number: int, as_json: bool) -> None:
    """Show what was sent to a webhook, and what it answered."""
    answer = context.client().get("hooks", str(number), "deliveries")
    if as_json:
        output.as_json(answer)
        return
    columns = ["id", "event", "state", "attempts", "status", "error"]
    output.table(columns, [[delivery[column] for column in columns] for delivery in answer])


@click.command()
@click.option("-a", "--app", metavar="APP", help="Only this app's events.")
@click.option("--after", type=int, default=0, metavar="ID", help="Only events after this one.")
@context.json_option
def events(app: Optional[str], after: int, as_json: bool) -> None:
    """List what happened, the oldest first."""
    answer = context.client().get("events", app=app or "", after=after)
    if as_json:
        output.as_json(answer)
        return
    columns = ["id", "at", "app", "stage", "event", "by", "data"]
    rows = [
        (e["id"], output.when(e["created"]), e["app"], e["stage"], e["kind"], e["who"], json.dumps(e["data"]))
        for e in answer
    ]
    output.table(columns, rows)


@click.command()
@context.json_option
def status(as_json: bool) -> int:
    """Show the platform's parts and their health; exit status 1 when one of them is not well."""
    who = context.login()
    answer = context.client(who).get("status")
    if as_json:
        output.as_json(answer)
    else:
        output.step(who.url)
        output.table(
            ["part", "state", "detail"],
            [(p["part"], "ok" if p["ok"] else "down", p["detail"]) for p in answer["parts"]],
        )
    return 0 if answer["ok"] else 1
