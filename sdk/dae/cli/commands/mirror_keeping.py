"""mirror status, search, warm, verify, evict."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

import click

from dae.cli import context, output
from dae.cli.commands.mirror import mirror
from dae.cli.errors import CliError

#: By whether one is in force: None where the mirror does not answer.
_POLICY = {True: "in force", False: "none that can be read: nothing is served", None: "not known"}


@mirror.command("status")
@context.json_option
def status(as_json: bool) -> None:
    """Show what the index holds, how often it had what was asked for, and how upstream and the policy stand."""
    found = context.client().get("mirror")
    if as_json:
        output.as_json(found)
        return
    rate = "nothing was asked yet" if found["hit_rate"] is None else f"{found['hit_rate']:.1%} of requests"
    policy = found["policy"]
    views = ", ".join(policy["views"])
    limit = f" of {output.size(found['limit'])}" if found["limit"] else ""
    for key, value in (
        ("projects", f"{found['projects']}, {found['private_projects']} of them our own"),
        ("files", f"{found['files']} of upstream, {found['private_files']} of our own"),
        ("size", f"{output.size(found['bytes'])}{limit} of upstream, {output.size(found['private_bytes'])} of our own"),
        ("pinned", f"{output.size(found['pinned_bytes'])} of upstream that locks name: they stay whatever the limit"),
        ("hidden", f"{found['held_files']} files, by the policy"),
        ("hits", rate),
        ("saved", f"{output.size(found['bytes_saved'])} that did not come from upstream"),
        ("uploads", found["uploads"]),
        ("refused", f"{found['refused']} requests, by the policy"),
        ("upstream", found["upstream"]),
        ("policy", _POLICY[policy["in_force"]] + (f", views: {views}" if views else "")),
    ):
        output.data(f"{key:10} {value}")
    rows = [
        (each["index"], of, each[of]["state"], _time(each[of]["last_success"]), _error(each[of]))
        for each in found["upstreams"]
        for of in ("pages", "files")
    ]
    output.table(["upstream", "of", "state", "last success", "last error"], rows)
    for problem in policy["problems"]:
        output.warn(problem)


def _time(seconds: Optional[float]) -> str:
    if seconds is None:
        return "-"
    return output.when(datetime.fromtimestamp(seconds, timezone.utc).isoformat())


def _error(health: dict[str, Any]) -> str:
    return f"{_time(health['last_failure'])} {health['last_error']}" if health["last_failure"] else "-"


@mirror.command("search")
@click.argument("word")
@context.json_option
def search(word: str, as_json: bool) -> None:
    """List the projects that the index holds with WORD in their name."""
    found = context.client().get("mirror", "search", word=word)
    if as_json:
        output.as_json(found)
        return
    if not found:
        output.detail(f"the index holds no project with {word} in its name; what upstream has is not looked through")
        return
    rows = [
        (row["project"], "our own" if row["private"] else "upstream", row["newest"], row["files"], row["here"])
        for row in found
    ]
    output.table(["project", "from", "newest", "files", "here"], rows)


@mirror.command("warm")
@click.option("-r", "--requirement", "file", type=click.Path(path_type=Path), required=True, help="The file.")
@context.json_option
def warm(file: Path, as_json: bool) -> None:
    """Have the files that a requirements file or a lock names fetched now, before a build asks for them."""
    text = context.text_of(file, "name a requirements file: -r FILE")
    context.work("POST", "mirror", "warm", body={"requirements": text}, as_json=as_json)


@mirror.command("verify")
@context.json_option
def verify(as_json: bool) -> None:
    """Read every file; a damaged one is removed, and fetched again when somebody asks. Fails if there was one."""
    found = context.work("POST", "mirror", "verify", body={}, as_json=as_json)
    if found.get("problem"):
        raise CliError.from_json(found["problem"])


@mirror.command("evict")
@click.option(
    "--bytes",
    "limit",
    type=context.size,
    metavar="SIZE",
    help="How much may stay, as 5GB; else the setting mirror_bytes.",
)
@context.dry_run_option
@context.json_option
def evict(limit: Optional[int], dry_run: bool, as_json: bool) -> None:
    """Remove files of upstream that nobody asked for the longest; never one that a kept lock names."""
    body = {"dry_run": dry_run, **({} if limit is None else {"bytes": limit})}
    context.work("POST", "mirror", "evict", body=body, as_json=as_json)
