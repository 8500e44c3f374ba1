"""deploy, builds, releases, promote, rollback."""

from __future__ import annotations

from typing import Any, Optional

import click

from dae.cli import context, git, output
from dae.cli.commands.slugs import one_digest
from dae.cli.errors import CliError

BRANCHES = {"dev": "master", "beta": "beta", "stable": "release"}


@click.command()
@context.app_option
@context.stage_option
@click.option("--allow-dirty", is_flag=True, help="Deploy the last commit although there are changes after it.")
@click.option("--slug", metavar="SLUG", help="Release this slug of the app (dae slugs) instead of pushing a commit.")
@context.untested_option
def deploy(app: Optional[str], stage: str, allow_dirty: bool, slug: Optional[str], untested: bool) -> int:
    """Push the current commit to a stage: git push dae HEAD:BRANCH. Ends with git's own exit status."""
    if slug is not None:
        if allow_dirty:
            raise click.UsageError("--slug and --allow-dirty exclude one another")
        client, name = context.connected(app)
        body = {"slug": one_digest(client, name, slug), "stage": stage, "untested": untested}
        context.work("POST", "apps", name, "deploy", body=body)
        return 0
    if untested:
        raise click.UsageError("--untested goes with --slug: git has no word for it")
    who = context.login()
    name = context.app_name(app, who.url)
    if git.top_folder() is None:
        raise CliError("local/no-repository", "this folder is in no git repository", "change to the app's folder")
    _look_at_changes(allow_dirty)
    url = git.app_url(who.url, name)
    target = git.REMOTE if git.remote_url() == url else url
    branch = _branch(stage)
    output.step(f"git push {target} HEAD:refs/heads/{branch}")
    return git.push(who.url, target, f"HEAD:refs/heads/{branch}")


def _branch(stage: str) -> str:
    """The branch that deploys to a stage; for dev the current one, if it is one that does."""
    current = git.run("symbolic-ref", "--short", "HEAD").stdout.strip()
    return current if stage == "dev" and current in ("master", "main") else BRANCHES[stage]


def _look_at_changes(allow_dirty: bool) -> None:
    """Refuse to deploy while tracked files have changes that are in no commit; files git doesn't know are named."""
    changes = git.must("status", "--porcelain").splitlines()
    new = [line[3:] for line in changes if line.startswith("??")]
    tracked = [line for line in changes if not line.startswith("??")]
    if new:
        output.warn(f"not in git, and so not deployed: {', '.join(new[:5])}" + (" ..." if len(new) > 5 else ""))
    if tracked and allow_dirty:
        output.warn(f"{len(tracked)} changed file(s) are in no commit, and so not deployed")
    elif tracked:
        hint = "git commit -a\nor deploy the last commit as it is: dae deploy --allow-dirty"
        raise CliError("local/uncommitted", f"{len(tracked)} changed file(s) are in no commit", hint)


@click.command()
@click.argument("number", metavar="[ID]", type=int, required=False)
@context.app_option
@context.json_option
@click.option("--purge-cache", is_flag=True, help="Remove what the app's buildpacks kept for its next build.")
def builds(number: Optional[int], app: Optional[str], as_json: bool, purge_cache: bool) -> None:
    """List builds, or show one with its log; or have the next one begin with an empty cache."""
    if number and purge_cache:
        raise click.UsageError("the cache is the app's, not a build's: give no ID with --purge-cache")
    client, name = context.connected(app)
    if purge_cache:
        emptied = client.delete("apps", name, "cache")
        if as_json:
            output.as_json(emptied)
        else:
            output.step(f"The cache of {name} is empty ({output.size(emptied['bytes'])} removed)")
        return
    answer = client.get("apps", name, "builds", *([str(number)] if number else []))
    if as_json:
        output.as_json(answer)
    elif number:
        _show_build(answer)
    else:
        rows = [
            (
                b["id"],
                b["app"],
                b["commit"][:12],
                b["state"],
                b["tests"],
                b["who"],
                output.when(b["created"]),
                b["error"],
            )
            for b in answer
        ]
        output.table(["id", "app", "commit", "state", "tests", "by", "at", "error"], rows)


def _show_build(build: dict[str, Any]) -> None:
    output.step(f"Build {build['id']} of {build['app']}, commit {build['commit'][:12]}: {build['state']}")
    for line in str(build.get("log", "")).splitlines():
        output.data(line)


@click.command()
@context.app_option
@click.option("-s", "--stage", type=click.Choice(context.STAGES), help="Only this stage's releases.")
@context.json_option
def releases(app: Optional[str], stage: Optional[str], as_json: bool) -> None:
    """List releases."""
    client, name = context.connected(app)
    answer = [r for r in client.get("apps", name, "releases") if stage in (None, r["stage"])]
    if as_json:
        output.as_json(answer)
        return
    columns = ["release", "app", "stage", "state", "what", "commit", "by", "at", "error"]
    output.table(columns, [_release_row(release) for release in answer])


def _release_row(release: dict[str, Any]) -> tuple[str, ...]:
    what = release["action"] + (f" of {release['source']}" if release.get("source") else "")
    return (
        release["release"],
        release["app"],
        release["stage"],
        release["state"],
        what,
        release["commit"][:12],
        release["who"],
        output.when(release["created"]),
        release["error"],
    )


@click.command()
@context.app_option
@click.option("--from", "source", type=click.Choice(["dev", "beta"]), default="dev", show_default=True)
@context.untested_option
@context.dry_run_option
@context.json_option
def promote(app: Optional[str], source: str, untested: bool, dry_run: bool, as_json: bool) -> None:
    """Put what is live in a stage live one stage up: dev to beta, beta to stable. Nothing is built anew."""
    _, name = context.connected(app)
    body = {"from": source, "untested": untested, "dry_run": dry_run}
    context.work("POST", "apps", name, "promote", body=body, as_json=as_json)


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in "vV" else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(digits) < 1:
        raise click.BadParameter(f"{text!r} is no release; write it like v3", param_hint="RELEASE")
    return int(digits)


@click.command()
@click.argument("release", required=False)
@context.app_option
@context.stage_option
@context.dry_run_option
@context.json_option
def rollback(release: Optional[str], app: Optional[str], stage: str, dry_run: bool, as_json: bool) -> None:
    """Put an earlier release live again, its code and its config; without vN the one before."""
    number = _number(release) if release else None
    _, name = context.connected(app)
    body = {"stage": stage, "to": number, "dry_run": dry_run}
    context.work("POST", "apps", name, "rollback", body=body, as_json=as_json)
