"""slugs, gc."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.errors import CliError


@click.group(cls=context.Group, invoke_without_command=True)
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
    answer: dict[str, Any] = client.get("apps", name, "slugs", one_digest(client, name, slug))
    return answer


def one_digest(client: Any, name: str, slug: str) -> str:
    """The digest that begins with ``slug``, of a slug of that app; raises ``slug/unknown``."""
    found = [str(row["slug"]) for row in client.get("apps", name, "slugs") if row["slug"].startswith(slug)]
    if len(found) != 1 or not slug:
        cause = f"{len(found) or 'no'} slugs of {name} begin with {slug!r}"
        raise CliError("slug/unknown", cause, f"see: dae slugs -a {name}")
    return found[0]


@slugs.command("export")
@click.argument("slug", required=False)
@context.app_option
@context.stage_option
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="The file; else APP-SLUG.dae.tar.zst.")
def export(slug: Optional[str], app: Optional[str], stage: str, target: Optional[Path]) -> None:
    """Write a slug into one signed file, for another platform. Without SLUG: what is live in the stage."""
    if target is not None and target.is_dir():
        raise CliError("local/file", f"{target} is a folder", f"name a file in it: -o {target / 'NAME.dae.tar.zst'}")
    client, name = context.connected(app)
    digest = one_digest(client, name, slug) if slug else _live(client, name, stage)
    target = target or Path(f"{name}-{digest[:12]}.dae.tar.zst")
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")  # two exports to one file do not meet
    try:
        with part.open("xb") as file:  # "x": no link that somebody put there is followed
            output.step(f"Exporting slug {digest[:12]} of {name}")
            with output.counting("received") as show:
                client.download("apps", name, "slugs", digest, "archive", to=file, on_bytes=show)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise CliError(
            "local/file", f"{target} cannot be written: {error.strerror}", "choose another: -o FILE"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    output.progress(f"=====> {target} holds slug {digest[:12]} of {name}: {output.size(target.stat().st_size)}")
    output.data(str(target))


def _live(client: Any, name: str, stage: str) -> str:
    live = client.get("apps", name)["stages"].get(stage)
    if not live:
        raise CliError("slug/unknown", f"{name} has no release in {stage}", f"name a slug; see: dae slugs -a {name}")
    return str(live["slug"])


@slugs.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@context.app_option
@context.json_option
def import_(file: Path, app: Optional[str], as_json: bool) -> None:
    """Take a slug that another platform exported, as one of the app (administrators)."""
    client, name = context.connected(app)
    try:
        with file.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            output.step(f"Sending {file.name}: {output.size(size)}")
            with output.counting("sent") as show:
                answer = client.upload(
                    *("apps", name, "slugs"),
                    file=source,
                    size=size,
                    on_bytes=lambda gone: show(gone, size),
                    on_line=output.progress,
                )
    except OSError as error:
        raise CliError("local/file", f"{file} cannot be read: {error.strerror}", "name an exported file") from error
    if as_json:
        output.as_json(answer)


@slugs.command("keys")
@context.json_option
def keys(as_json: bool) -> None:
    """Show the public key by which others know what this platform exported, and the keys that it trusts."""
    answer = context.client().get("keys")
    if as_json:
        output.as_json(answer)
        return
    rows = [("(this platform)", answer["own"]), *((entry["name"], entry["key"]) for entry in answer["trusted"])]
    output.table(["name", "key"], rows)


@slugs.command("trust")
@click.argument("name")
@click.argument("key")
def trust(name: str, key: str) -> None:
    """Take slugs that another platform exported: KEY is what `dae slugs keys` shows there (administrators)."""
    answer = context.client().post("keys", body={"name": name, "key": key})
    output.progress(f"=====> slugs signed by {answer['name']} may be imported")


@slugs.command("untrust")
@click.argument("name")
def untrust(name: str) -> None:
    """Take no more slugs of that platform; those that are here stay (administrators)."""
    answer = context.client().delete("keys", name)
    output.progress(f"=====> slugs signed by {answer['name']} are refused from now on")


@slugs.command("verify")
@context.app_option
@click.option("--all-apps", is_flag=True, help="Everything that is kept (administrators).")
@context.json_option
def verify(app: Optional[str], all_apps: bool, as_json: bool) -> None:
    """Read every byte of an app's layers; what is damaged is not run any more, and built again where it is live.

    The exit status is 1 when something was.
    """
    if all_apps and app:
        raise click.UsageError("--all-apps and -a exclude one another")
    path = ("slugs", "verify") if all_apps else ("apps", context.connected(app)[1], "slugs", "verify")
    verdict = context.work("POST", *path, body={}, as_json=as_json)
    if damaged := len(verdict["damaged"]):
        rebuilt = verdict["rebuilt"]
        cause = f"{damaged} layer{' was' if damaged == 1 else 's were'} damaged, as said above"
        hint = "what is live is built again; type: dae restart" if rebuilt else "each is made anew before it is used"
        raise CliError("slug/damaged", cause, hint)


@click.command()
@context.dry_run_option
@context.json_option
def gc(dry_run: bool, as_json: bool) -> None:
    """Remove slugs, layers and packages that nothing needs (administrators)."""
    context.work("POST", "gc", body={"dry_run": dry_run}, as_json=as_json)
