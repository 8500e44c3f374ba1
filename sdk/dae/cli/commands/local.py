"""serve, install, venv: the app on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dae.cli import context, output
from dae.local import requirements
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
    try:
        environment.install(platform)
    except BaseException:
        _put_back(file, before)
        raise
    output.step(f"{', '.join(packages)}: in {file.name} and in .venv")


def _put_back(file: Path, before: bytes | None) -> None:
    if before is None:
        file.unlink()
    else:
        write_atomically(file, before)


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
