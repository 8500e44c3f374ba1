"""mirror: the verbs for private projects of the index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.commands.mirror import mirror
from dae.cli.errors import CliError

STATUSES = ("active", "archived", "quarantined", "deprecated")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; it is kept, and shown.")
confirm_option = click.option("--confirm", metavar="NAME", help="The project's name again.")


@mirror.command("upload")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@context.json_option
def upload(files: tuple[Path, ...], as_json: bool) -> None:
    """Upload wheels and sdists. A name that is free becomes yours; identical files change nothing."""
    for path in files:
        _upload(path)
    if as_json:
        output.as_json({"files": [path.name for path in files]})


def _upload(path: Path) -> None:
    if not all(letter.isascii() and (letter.isalnum() or letter in "._+!~-") for letter in path.name):
        raise CliError("local/file", f"{path.name!r} is no distribution's name", "name a wheel or an sdist")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            output.step(f"Uploading {path.name}: {output.size(size)}")
            with output.counting("sent") as show:
                context.client().publish(path.name, file=file, size=size, on_bytes=lambda gone: show(gone, size))
    except OSError as error:
        raise CliError("local/file", f"{path} cannot be read: {error.strerror}", "name a wheel or an sdist") from error
    output.progress(f"=====> {path.name} is published")


@mirror.command("projects")
@click.argument("name", required=False)
@context.json_option
def projects(name: Optional[str], as_json: bool) -> None:
    """List private projects; with a NAME show that one, its files and what was done to it."""
    if name is not None:
        _show(context.client().get("mirror", "projects", name), as_json)
        return
    answer = context.client().get("mirror", "projects")
    if as_json:
        output.as_json(answer)
        return
    if not answer:
        output.detail("there are no private projects; dae mirror upload FILE makes one")
        return
    rows = [(p["project"], p["owner"] or "(platform)", _last(p["versions"]), p["status"]) for p in answer]
    output.table(["project", "owner", "newest upload", "status"], rows)


def _last(versions: list[str]) -> str:
    return versions[-1] if versions else "-"


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.as_json(found)
        return
    for key in ("project", "owner", "status", "status_reason"):
        if found[key]:
            output.data(f"{key.replace('_', ' '):14} {found[key]}")
    rows = [(f["filename"], output.size(f["size"]), output.when(f["uploaded"]), _yanked(f)) for f in found["files"]]
    output.table(["file", "size", "uploaded", "yanked"], rows)
    done = [(a["at"], a["who"], a["what"], a["subject"], a["reason"]) for a in found["actions"]]
    output.table(["at", "by", "done", "to", "reason"], done)


def _yanked(file: dict[str, Any]) -> str:
    return "yes" if file["yanked"] is True else str(file["yanked"] or "")


@mirror.command("yank")
@click.argument("name")
@click.argument("version")
@reason_option
@context.json_option
def yank(name: str, version: str, reason: str, as_json: bool) -> None:
    """Take a version out of the choice: only who names it exactly still gets it."""
    answer = _post(name, "yank", {"version": version, "reason": reason})
    _tell(answer, as_json, f"=====> {answer['project']} {version} is yanked")


@mirror.command("unyank")
@click.argument("name")
@click.argument("version")
@context.json_option
def unyank(name: str, version: str, as_json: bool) -> None:
    """Let a yanked version be chosen again."""
    answer = _post(name, "unyank", {"version": version})
    _tell(answer, as_json, f"=====> {answer['project']} {version} can be chosen again")


@mirror.command("delete")
@click.argument("name")
@click.argument("version", required=False)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept.")
@confirm_option
@context.json_option
def delete(name: str, version: Optional[str], reason: str, confirm: Optional[str], as_json: bool) -> None:
    """Remove a version's files for good, or all files of a project. The names stay taken."""
    body = {"version": version or "", "reason": reason, "confirm": confirm or ""}
    answer = _post(name, "delete", body)
    _tell(answer, as_json, f"=====> {version or 'all'} of {answer['project']} is deleted; the name stays reserved")


@mirror.command("mark")
@click.argument("name")
@click.argument("status", type=click.Choice(STATUSES))
@reason_option
@context.json_option
def mark(name: str, status: str, reason: str, as_json: bool) -> None:
    """Say of a project that it is active, archived, quarantined (administrators) or deprecated."""
    answer = _post(name, "status", {"status": status, "reason": reason})
    _tell(answer, as_json, f"=====> {answer['project']} is {answer['status']}")


@mirror.command("claim")
@click.argument("name")
@click.option("--owner", metavar="USER", help="Whose it is to be; else yours.")
@context.json_option
def claim(name: str, owner: Optional[str], as_json: bool) -> None:
    """Make a name private, also one that upstream has, or give it another owner (administrators)."""
    answer = context.client().post("mirror", "projects", body={"name": name, **({"owner": owner} if owner else {})})
    _tell(answer, as_json, f"=====> {answer['project']} belongs to {answer['owner']}; upstream's is not seen any more")


@mirror.command("release")
@click.argument("name")
@confirm_option
@context.json_option
def release(name: str, confirm: Optional[str], as_json: bool) -> None:
    """Give a name without files back: upstream's project of that name is seen again (administrators)."""
    answer = _post(name, "release", {"confirm": confirm or ""})
    _tell(answer, as_json, f"=====> {answer['project']} is free")


def _tell(answer: Any, as_json: bool, words: str) -> None:
    """What was done: for programs on stdout, for people on stderr."""
    if as_json:
        output.as_json(answer)
    else:
        output.progress(words)


def _post(name: str, action: str, body: dict[str, Any]) -> Any:
    return context.client().post("mirror", "projects", name, action, body=body)
