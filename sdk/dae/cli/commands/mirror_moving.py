"""mirror sync, export, import: what is here before it is asked for, and what travels to where no network is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.commands.mirror import mirror
from dae.cli.commands.slugs import require_no_folder, written
from dae.cli.errors import CliError

KINDS = ("wheel", "sdist", "other")
private_option = click.option("--private", metavar="NAME", multiple=True, help="Also this project of our own.")
all_private_option = click.option("--all-private", is_flag=True, help="Also all projects of our own.")


@mirror.command("sync")
@click.argument("file", metavar="LIST", type=click.Path(path_type=Path))
@click.option("--newest", type=click.IntRange(min=1), help="Of each project only so many versions, the newest.")
@click.option(
    "--platform", "platforms", metavar="TAG", multiple=True, help="Only wheels for it: manylinux*, win_amd64."
)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only files of that kind.")
@context.dry_run_option
@context.json_option
def sync(
    file: Path,
    newest: Optional[int],
    platforms: tuple[str, ...],
    kinds: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have all files here of the projects that LIST names: requirement lines, or a lock. What is here stays."""
    body = {"requirements": _text(file), "newest": newest or 0, "platforms": platforms, "kinds": kinds}
    found = context.client().work("POST", "mirror", "sync", body={**body, "dry_run": dry_run}, on_line=output.progress)
    if as_json:
        output.as_json(found)
    else:
        rows = [
            (row["project"], row["files"], row["fetched"], output.size(row["bytes"]), len(row["failed"]))
            for row in found["projects"]
        ]
        output.table(["project", "files", "fetched", "size", "failed"], rows)
    if found["failed"]:
        cause = f"{found['failed']} things could not be fetched"
        raise CliError("mirror/unavailable", cause, f"see above; then again: dae mirror sync {file}")


@mirror.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("listed", metavar="[LIST]", required=False, type=click.Path(path_type=Path))
@private_option
@all_private_option
@context.dry_run_option
@context.json_option
def export(
    file: Path, listed: Optional[Path], private: tuple[str, ...], all_private: bool, dry_run: bool, as_json: bool
) -> None:
    """Write what is here of upstream, or of what LIST names, into one signed FILE, for another platform."""
    require_no_folder(file)
    body: dict[str, Any] = {"private": private, "all_private": all_private, "dry_run": dry_run}
    if listed is not None:
        body["requirements"] = _text(listed)
    client = context.client()
    found = client.work("POST", "mirror", "exports", body=body, on_line=output.progress)
    number = found.pop("export")
    if not dry_run:
        with written(file) as (part, show):
            client.download("mirror", "exports", number, to=part, on_bytes=show)
    problem = found.pop("problem", None)
    if as_json:
        output.as_json(found)
    else:
        words = f"{found['projects']} projects, {found['files']} files, {output.size(found['bytes'])}"
        output.progress(f"=====> {'would hold' if dry_run else f'{file} holds'} {words}")
    if problem:
        raise CliError.from_json(problem)


@mirror.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@private_option
@all_private_option
@context.json_option
def import_(file: Path, private: tuple[str, ...], all_private: bool, as_json: bool) -> None:
    """Take what another platform exported into FILE. What is here is never replaced."""
    query = {"private": ",".join(private), "all_private": "1" if all_private else ""}
    try:
        with file.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            output.step(f"Sending {file.name}: {output.size(size)}")
            with output.counting("sent") as show:
                answer = context.client().upload(
                    *("mirror", "imports"),
                    file=source,
                    size=size,
                    on_bytes=lambda gone: show(gone, size),
                    on_line=output.progress,
                    query=query,
                )
    except OSError as error:
        raise CliError("local/file", f"{file} cannot be read: {error.strerror}", "name an exported file") from error
    if as_json:
        output.as_json(answer)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(
            "local/file", f"{file} cannot be read: {error}", "name a list of requirements, or a lock"
        ) from error
