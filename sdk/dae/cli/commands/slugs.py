"""slugs, gc."""

from __future__ import annotations

import json
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.errors import CliError


@click.group(invoke_without_command=True)
@context.app_option
@context.json_option
@click.pass_context
def slugs(ctx: click.Context, app: Optional[str], as_json: bool) -> None:
    """List what is kept of an app: its slugs, who made use of them, and how large they are."""
    if ctx.invoked_subcommand:
        return
    client, name = context.connected(app)
    answer = client.get("apps", name, "slugs")
    if as_json:
        output.as_json(answer)
        return
    columns = ["slug", "app", "commit", "built", "code", "environment", "packages", "releases", "state"]
    output.table(columns, [_row(name, slug) for slug in answer])


def _row(app: str, slug: dict[str, Any]) -> tuple[str, ...]:
    return (
        slug["slug"][:12],
        app,
        slug["commit"][:12],
        output.when(slug["built"]),
        output.size(slug["code_bytes"]),
        output.size(slug["environment_bytes"]),
        str(slug["packages"]),
        ", ".join(slug["releases"][:3]) + (" ..." if len(slug["releases"]) > 3 else ""),
        "damaged" if slug["damage"] else "whole",
    )


@slugs.command("show")
@click.argument("slug")
@context.app_option
@context.json_option
def show(slug: str, app: Optional[str], as_json: bool) -> None:
    """Show a slug: its manifest and its packages. SLUG is a digest or the beginning of one."""
    found = _one(app, slug)
    if as_json:
        output.as_json(found)
        return
    for key in ("slug", "commit", "code", "environment", "interpreter", "buildpack", "built", "damage"):
        if found[key]:
            output.data(f"{key:12} {found[key]}")
    output.data(f"{'releases':12} {', '.join(found['releases'])}")
    sizes = [output.size(found[key]) for key in ("code_bytes", "environment_bytes")]
    output.data(f"{'size':12} code {sizes[0]}, packages {sizes[1]}")
    packages = [entry for entry in found["bill"]["components"] if entry["type"] == "library"]
    rows = [(entry["name"], entry["version"], entry["properties"][0]["value"]) for entry in packages]
    output.table(["package", "version", "file"], rows)


@slugs.command("sbom")
@click.argument("slug")
@context.app_option
def sbom(slug: str, app: Optional[str]) -> None:
    """Print the software bill of materials of a slug (CycloneDX 1.6, JSON)."""
    click.echo(json.dumps(_one(app, slug)["bill"], indent=2))


@slugs.command("lock")
@click.argument("slug")
@context.app_option
def lock(slug: str, app: Optional[str]) -> None:
    """Print the lock that a slug was installed from: versions and hashes, as pip reads them."""
    click.echo(_one(app, slug)["lock"], nl=False)


def _one(app: Optional[str], slug: str) -> dict[str, Any]:
    """The slug whose digest begins with ``slug``."""
    client, name = context.connected(app)
    found = [row["slug"] for row in client.get("apps", name, "slugs") if row["slug"].startswith(slug)]
    if len(found) != 1 or not slug:
        cause = f"{len(found) or 'no'} slugs of {name} begin with {slug!r}"
        raise CliError("slug/unknown", cause, f"see: dae slugs -a {name}")
    answer: dict[str, Any] = client.get("apps", name, "slugs", found[0])
    return answer


@slugs.command("verify")
@context.app_option
@click.option("--all-apps", is_flag=True, help="Everything that is kept (administrators).")
@context.json_option
def verify(app: Optional[str], all_apps: bool, as_json: bool) -> None:
    """Read every byte of an app's layers; what is damaged is not run any more, and built again where it is live."""
    if all_apps and app:
        raise click.UsageError("--all-apps and -a exclude one another")
    path = ("slugs", "verify") if all_apps else ("apps", context.connected(app)[1], "slugs", "verify")
    context.work("POST", *path, body={}, as_json=as_json)


@click.command()
@context.dry_run_option
@context.json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove slugs, layers and packages that nothing needs (administrators)."""
    context.work("POST", "gc", body={"dry_run": dry_run}, as_json=as_json)
