"""serve, install, venv: the app on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

import click

from dae.cli import context, output
from dae.local import lockfile, requirements
from dae.local.environment import Environment, keep_out_of_git, run
from dae.local.files import write_atomically

ENTRIES = ("app.yaml", "Procfile", *requirements.NAMES)
python_option = click.option("--python", default="", metavar="PYTHON", help="The interpreter to make .venv with.")


def app_folder() -> Path:
    """The app's folder: the nearest one upwards with an app.yaml, Procfile or requirements; else the current one."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if any((f / name).is_file() for name in ENTRIES)), here)


def ready(python: str) -> Environment:
    """The app's environment, made and filled when it is not what the requirements say."""
    environment = Environment(app_folder())
    if not environment.is_current():
        platform = context.login().url
        environment.make(python)
        environment.install(platform)
    return environment


@click.command(context_settings={"allow_interspersed_args": False})
@python_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def venv(python: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the app's environment: dae venv python -m pytest. Ends with its exit status."""
    run(ready(python), command)


@click.command()
@python_option
@click.argument("packages", metavar="PACKAGE...", nargs=-1, required=True)
def install(python: str, packages: tuple[str, ...]) -> None:
    """Record dependencies in pip-req.txt (or requirements.txt) and install them here.

    When they cannot be installed, the file is as it was.
    """
    environment = Environment(app_folder())
    file = requirements.path_in(environment.folder)
    before = file.read_bytes() if file.is_file() else None
    after = requirements.add((before or b"").decode(), packages).encode()
    platform = context.login().url
    environment.make(python)
    if after != before:
        write_atomically(file, after)
    locked = environment.folder / lockfile.FILE
    lock_before = locked.read_bytes() if locked.is_file() else None
    try:
        if lock_before is not None:
            _locked(None, environment.folder, {})
        environment.install(platform)
    except BaseException:
        _put_back(file, before)
        if lock_before is not None:
            _put_back(locked, lock_before)
        raise
    where = f"{file.name}, {locked.name}" if lock_before is not None else file.name
    output.step(f"{', '.join(packages)}: in {where} and in .venv")


def _put_back(file: Path, before: bytes | None) -> None:
    if before is None:
        file.unlink()
    elif file.read_bytes() != before:
        write_atomically(file, before)


@click.command()
@context.app_option
@click.option("--check", is_flag=True, help="Only tell whether the lock is of the present requirements.")
@context.json_option
def lock(app: Optional[str], check: bool, as_json: bool) -> None:
    """Write the exact versions and hashes of everything that the app requires into dae.lock, to be committed.

    What is locked already stays as it is, as long as it fits.
    """
    answer = _locked(app, app_folder(), {"check": True} if check else {})
    if as_json:
        output.as_json({key: answer[key] for key in ("packages", "changes")})


@click.command()
@context.app_option
@click.argument("packages", metavar="[PACKAGE]...", nargs=-1)
@context.json_option
def upgrade(app: Optional[str], packages: tuple[str, ...], as_json: bool) -> None:
    """Take the newest versions that the requirements allow into dae.lock: of all packages, or of those named."""
    names = [requirements.name_of(package) for package in packages]
    answer = _locked(app, app_folder(), {"upgrade": names} if names else {"anew": True})
    if as_json:
        output.as_json({key: answer[key] for key in ("packages", "changes")})


def _locked(app: Optional[str], folder: Path, how: dict[str, object]) -> dict[str, object]:
    """Have the platform lock what stands in the folder, and write its answer; returns that."""
    client, name = context.connected(app)
    body = {"files": lockfile.described(folder), **how}
    answer: dict[str, object] = client.work("POST", "apps", name, "lock", body=body, on_line=output.progress)
    if how.get("check"):
        return answer
    path, text = folder / lockfile.FILE, str(answer["lock"]).encode()
    if path.is_file() and path.read_bytes() == text:
        output.progress(f"=====> {lockfile.FILE} is as it was: {answer['packages']} packages")
        return answer
    write_atomically(path, text)
    changes = answer["changes"]
    for line in changes if isinstance(changes, list) else []:
        output.detail(str(line))
    output.progress(f"=====> {lockfile.FILE} holds {answer['packages']} packages: commit it")
    return answer


@click.command()
@python_option
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
def serve(python: str, port: int) -> None:
    """Run the app of this folder at http://localhost:PORT/, reloading it when its files change."""
    from dae.local import plan
    from dae.local.server import DevServer  # late: it brings the file watcher

    plan.read(app_folder(), os.environ, port)  # before anything is made: there may be nothing to serve here
    environment = ready(python)
    keep_out_of_git(environment.folder / ".dae")
    DevServer(environment.folder, port).run()
