"""What ``dae serve`` runs: a pure function from the folder's files to a command and its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dae import appfile, procfile
from dae.cli.errors import CliError
from dae.local.environment import Environment
from dae.runtime import site

#: gunicorn's seconds for idle connections and for running requests when it reloads: nobody waits for a browser.
KEEPALIVE, GRACE = 2, 3


@dataclass(frozen=True)
class Server:
    """A command with its environment. ``reloads``: it takes SIGHUP for a new look at the code."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    reloads: bool


def read(folder: Path, environ: Mapping[str, str], port: int) -> Server:
    """The server of the app in ``folder``: the Procfile's ``web``, else app.yaml's handlers, else its files.

    Raises ``build/bad-app-yaml``, ``build/bad-procfile`` or ``local/no-entry``.
    """
    environment = Environment(folder)
    mine = {
        **environment.environ(environ),
        "PORT": str(port),
        "DAE_CODE": str(folder),
        "DAE_KEEPALIVE": str(KEEPALIVE),
        "DAE_GRACE": str(GRACE),
        "PYTHONUNBUFFERED": "1",
        # Python takes a .pyc for fresh when its source was changed within the same second, to the same length.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(folder),
        "GUNICORN_CMD_ARGS": "-c python:dae.runtime.gunicorn_conf",
    }
    for name in ("DAE_SOCKET", "DAE_ACCEL", "DAE_HANDLERS"):
        mine.pop(name, None)
    file = appfile.parse(_text(folder / "app.yaml")) if (folder / "app.yaml").is_file() else None
    commands = dict(procfile.parse(_text(folder / "Procfile"))) if (folder / "Procfile").is_file() else {}
    if "web" in commands and file and any(handler.wsgi_app for handler in file.handlers):
        cause = "Procfile has a 'web' process and app.yaml has a 'wsgi_app' handler: both would answer"
        raise CliError("build/bad-procfile", cause, "remove one of the two")
    if "web" in commands:
        # The developer's own command, in a shell as on the platform.
        return Server(("/bin/sh", "-c", commands["web"]), mine, reloads=False)
    keys = ("url", "wsgi_app", "static_files", "upload")
    handlers = [{key: asdict(handler)[key] for key in keys} for handler in file.handlers] if file else []
    named = file.buildpacks if file else ()
    if not handlers and ("static" in named or (not named and site.is_site(entry.name for entry in folder.iterdir()))):
        handlers = [dict(site.HANDLER)]
    if not handlers:
        hint = "write an app.yaml with handlers, or a Procfile with web: COMMAND"
        cause = f"nothing in {folder} says what to serve"
        if commands:
            cause = f"{folder / 'Procfile'} has no process 'web'; it has: {', '.join(commands)}"
        raise CliError("local/no-entry", cause, hint)
    mine["DAE_HANDLERS"] = json.dumps(handlers)
    argv = (str(environment.python), "-m", "gunicorn", "dae.runtime.wsgi:application")
    return Server(argv, mine, reloads=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CliError("local/no-entry", f"{path.name} is not UTF-8: {error}", "save it as UTF-8") from None
