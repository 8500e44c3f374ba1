"""create, remote, apps, info, rename, destroy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Optional

import click

from dae.cli import context, git, output
from dae.cli.errors import CliError

TEMPLATES = Path(__file__).parents[2] / "templates"


def _require_no_remote(platform: str) -> None:
    """Nothing is made before it is known that the remote can be: an app without one would be left."""
    if git.REMOTE not in git.run("remote").stdout.split():
        return
    url = git.remote_url()
    app = git.app_of(url, platform)
    cause = f"this repository has a git remote {git.REMOTE} already: {url or 'without an address'}"
    again = "try again after: git remote rename dae OTHER, or: git remote remove dae"
    if app:
        cause = f"this repository is tied to the app {app} already ({url})"
        again = f"deploy it: git push dae {_branch()}\nfor another app: git remote rename dae {app}, and try again"
    raise CliError("local/remote-exists", cause, again)


def _require_repository() -> None:
    if git.top_folder() is None:
        hint = "make one: git init\nor begin with a starter: dae create --template flask NAME"
        raise CliError("local/no-repository", "this folder is in no git repository", hint)


def _branch() -> str:
    """The branch to name in the next step; a branch that deploys nowhere is pushed as master."""
    branch = git.run("symbolic-ref", "--short", "HEAD").stdout.strip()
    return branch if branch in ("master", "main") else "HEAD:refs/heads/master"


@click.command()
@click.argument("name")
@click.option("--template", type=click.Choice(["flask"]), help="Write a starter into this folder, too.")
@click.option("--no-remote", is_flag=True, help="Only make the app: what it runs is imported, not pushed from here.")
@context.json_option
def create(name: str, template: Optional[str], no_remote: bool, as_json: bool) -> None:
    """Make an app and tie this repository to it: git push dae master deploys."""
    who = context.login()
    if no_remote:
        if template:
            raise click.UsageError("--no-remote and --template exclude one another")
        app = context.client(who).post("apps", body={"name": name})
        if as_json:
            output.as_json(app)
        else:
            output.step(f"Made {name}")
            output.data(app["url"])
        return
    top = git.top_folder()
    if template and top and top != Path.cwd().resolve():
        raise CliError("local/not-top", f"this folder is inside the repository {top}", "change to a folder of its own")
    files = _template_files(template) if template else {}
    if not template:
        _require_repository()
    if top:
        _require_no_remote(who.url)
    app = context.client(who).post("apps", body={"name": name})
    if template:
        _write_template(files)
    git.attach(who.url, name)
    if as_json:
        output.as_json(app)
        return
    output.step(f"Made {name}; the git remote dae is {git.app_url(who.url, name)}")
    if template:
        output.detail('next: git add . && git commit -m "Begin"')
    output.detail(f"deploy: git push dae {_branch()}")
    output.data(app["url"])


def _template_files(name: str) -> dict[str, bytes]:
    """The starter's files by relative path; raises ``local/file-exists`` when one of them is here already."""
    folder = TEMPLATES / name
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {relative: path for relative, path in files.items() if "__pycache__" not in relative.parts}
    for relative in files:
        if relative.exists() or relative.is_symlink():
            hint = "begin in an empty folder, or leave --template out"
            raise CliError("local/file-exists", f"{relative} is here already", hint)
    return {str(relative): path.read_bytes() for relative, path in files.items()}


def _write_template(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        output.detail(f"wrote {name}")
    if git.top_folder() is None:
        git.must("init", "--quiet")
        # Whatever git calls a first branch here: this one deploys.
        git.must("symbolic-ref", "HEAD", "refs/heads/master")
        output.detail("made a git repository")


@click.command()
@click.argument("name")
def remote(name: str) -> None:
    """Tie this repository to an app that exists, as after a clone: the git remote dae and its credential helper."""
    who = context.login()
    _require_repository()
    _require_no_remote(who.url)
    context.client(who).get("apps", context.checked_name(name))
    git.attach(who.url, name)
    output.step(f"The git remote dae is {git.app_url(who.url, name)}")
    output.detail(f"deploy: git push dae {_branch()}")


@click.command()
@context.json_option
def apps(as_json: bool) -> None:
    """List your apps and what is live in each stage."""
    answer = context.client().get("apps")
    if as_json:
        output.as_json(answer)
        return
    rows = [
        (a["name"], a["owner"], *(context.live_release(a, stage) for stage in context.STAGES), a["url"]) for a in answer
    ]
    output.table(["app", "owner", *context.STAGES, "url"], rows)


@click.command()
@context.app_option
@context.json_option
def info(app: Optional[str], as_json: bool) -> None:
    """Show an app: what is live in each stage, since when, by whom."""
    client, name = context.connected(app)
    answer = client.get("apps", name)
    if as_json:
        output.as_json(answer)
        return
    output.data(f"{answer['name']}, owned by {answer['owner']} since {output.when(answer['created'])}")
    output.data(f"git: {answer['git']}")
    output.table(["stage", "release", "commit", "by", "since", "url"], [_stage_row(answer, s) for s in context.STAGES])


def _stage_row(app: dict[str, Any], stage: str) -> tuple[str, ...]:
    live = app["stages"].get(stage)
    if not live:
        return (stage, "-", "", "", "", "")
    return (stage, live["release"], live["commit"][:12], live["who"], output.when(live["created"]), live["url"])


@click.command()
@click.argument("to", metavar="NEW-NAME")
@context.app_option
@context.dry_run_option
@context.json_option
def rename(to: str, app: Optional[str], dry_run: bool, as_json: bool) -> None:
    """Give an app another name; it is away while its things move."""
    who = context.login()
    name = context.app_name(app, who.url)
    context.work("POST", "apps", name, "rename", body={"to": to, "dry_run": dry_run}, as_json=as_json)
    if not dry_run and git.remote_url() == git.app_url(who.url, name):
        git.must("remote", "set-url", git.REMOTE, git.app_url(who.url, to))
        output.detail(f"the git remote dae is {git.app_url(who.url, to)} now")


@click.command()
@click.argument("name", required=False)
@context.app_option
@click.option("--confirm", metavar="NAME", help="The app's name once more, instead of typing it.")
@context.dry_run_option
@context.json_option
def destroy(name: Optional[str], app: Optional[str], confirm: Optional[str], dry_run: bool, as_json: bool) -> None:
    """Remove an app and all that it has: repository, releases' code, config, logs, data."""
    if name and app and name != app:
        raise click.UsageError(f"two apps are named: {name} and {app}")
    who = context.login()
    target = context.app_name(name or app, who.url)
    if not dry_run:
        confirm = confirm if confirm is not None else _typed(target)
        if confirm != target:
            raise CliError("app/confirm", f"{confirm!r} is not {target!r}: nothing was done", _again(target))
    body = {"confirm": confirm or "", "dry_run": dry_run}
    context.work("DELETE", "apps", target, body=body, as_json=as_json)
    if not dry_run and git.remote_url() == git.app_url(who.url, target):
        git.must("remote", "remove", git.REMOTE)
        output.detail("removed the git remote dae")


def _again(app: str) -> str:
    return f"type: dae destroy {app} --confirm {app}"


def _typed(app: str) -> str:
    """The name as a person types it; raises ``app/confirm`` when there is no person."""
    if not sys.stdin.isatty():
        raise CliError("app/confirm", f"destroying {app} cannot be undone", _again(app))
    output.warn(f"This removes {app} with its repository, config, logs and data, in every stage.")
    return str(click.prompt("Type the app's name", err=True)).strip()
