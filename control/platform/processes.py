"""From the platform's Procfile to what its supervisor runs: launch specs, and supervisord's configuration. Pure."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from core.argv import CLEAN_ENVIRON
from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from dae.appfile import GrammarError
from dae.procfile import parse
from runner.spec import LaunchSpec

#: The parts that start as root on a root install; nginx's workers and what the agent starts give that up.
ROOT_PARTS = frozenset({"nginx", "agent"})
#: nginx is told everything by its configuration: other settings need not restart it.
PLAIN_PARTS = frozenset({"nginx"})
#: The part that asks the index and the part that calls webhooks need what the network is reached with; others do not.
NETWORK_PARTS = frozenset({"mirror", "hooks"})

_VARIABLE = re.compile(r"\$(?:\{([A-Z_]+)\}|([A-Z_]+))")
_LOG_BYTES = 10 << 20


def commands(text: str, python: Path, variables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The argv of each part in the Procfile's order; ``python`` and ``$NAME`` stand for what is passed.

    Raises ``platform/internal``: the file is the platform's own.
    """
    try:
        return {name: _argv(command, python, variables) for name, command in parse(text)}
    except (GrammarError, ValueError, KeyError) as error:
        raise DaeError("platform/internal", f"the platform's Procfile cannot be read: {error}") from error


def _argv(command: str, python: Path, variables: Mapping[str, str]) -> tuple[str, ...]:
    words = shlex.split(command)
    words[0] = str(python) if words[0] == "python" else _program_path(words[0])
    # After the split: a blank in a value makes no second word.
    return tuple(_VARIABLE.sub(lambda match: variables[match[1] or match[2]], word) for word in words)


def _program_path(name: str) -> str:
    """Where the system has a program: the launcher looks nothing up."""
    found = shutil.which(name, path=CLEAN_ENVIRON["PATH"])
    if found is None:
        raise DaeError("platform/missing", f"{name} cannot be found on this machine", "type: dae doctor")
    return found


def settings_environ(settings: Settings) -> dict[str, str]:
    """The settings as the environment that :func:`core.config.load` reads them from."""
    values = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values["DAE_" + field.name.upper()] = ",".join(value) if isinstance(value, tuple) else str(value)
    return values


def specs(
    text: str, python: Path, settings: Settings, account: str | None, network: Mapping[str, str]
) -> list[LaunchSpec]:
    """How each of the platform's parts is started, in the Procfile's order.

    ``account`` is the platform's UNIX account, None on a plain-user install; ``network`` what the index is reached
    with. The working folder is the platform's copy, where its account can write nothing that Python would import.
    """
    environ = settings_environ(settings)
    plain = {"DAE_SOCKET": str(Home(settings.home).socket("index"))}  # the launcher removes what a killed nginx left
    found = []
    for name, argv in commands(text, python, environ).items():
        values = plain if name in PLAIN_PARTS else {**environ, **(network if name in NETWORK_PARTS else {})}
        found.append(
            LaunchSpec(
                name=name,
                argv=argv,
                environ={**CLEAN_ENVIRON, "HOME": "/nonexistent", **values},
                cwd="/" if name in PLAIN_PARTS else str(python.parent.parent),
                account=None if name in ROOT_PARTS else account,
                # The agent's children start with privileges of their own choosing; nginx's workers need none back.
                no_new_privs=name != "agent",
            )
        )
    return found


def supervisor_config(home: Home, parts: Iterable[str], python: Path, *, uid: int, files: int) -> str:
    """supervisord's configuration. ``python`` starts the launcher; ``files`` is the limit of open files to ask for.

    Paths were checked to be free of what this format reads as its own (``checks.SAFE_PATH``).
    """
    sections = [
        _section("unix_http_server", {"file": home.socket("supervisor"), "chmod": "0600"}),
        _section(
            "supervisord",
            {
                "pidfile": pid_file(home),
                "logfile": home.logs / "supervisord.log",
                "logfile_maxbytes": _LOG_BYTES,
                "logfile_backups": 1,
                "childlogdir": home.logs,
                "nocleanup": "true",
                "directory": "/",
                "umask": "022",
                "minfds": files,
                **({"user": "root"} if uid == 0 else {}),
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        _section("rpcinterface:dae", {"supervisor.rpcinterface_factory": "runner.supervisor_plugin:make"}),
    ]
    sections += [_program(home, name, python, priority) for priority, name in enumerate(parts, start=1)]
    return "\n".join(sections)


def _program(home: Home, name: str, python: Path, priority: int) -> str:
    return _section(
        f"program:{name}",
        {
            "command": f"{python} -I -m runner.launch {home.root} {name}",
            "directory": "/",
            "priority": priority,
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 1000,
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": 10,
            "redirect_stderr": "true",
            "stdout_logfile": part_log(home, name),
            "stdout_logfile_maxbytes": _LOG_BYTES,
            "stdout_logfile_backups": 1,
        },
    )


def _section(name: str, values: Mapping[str, object]) -> str:
    return "".join([f"[{name}]\n", *(f"{key} = {value}\n" for key, value in values.items())])


def part_log(home: Home, name: str) -> Path:
    """Where a part's output goes."""
    return home.logs / f"{name}.log"


def pid_file(home: Home) -> Path:
    """supervisord's; in the agent's folder, where only root writes."""
    return home.agent_state / "supervisord.pid"


def config_file(home: Home) -> Path:
    return home.agent_state / "supervisord.conf"
