"""From a release's file and its slug's manifest to how an instance is started. Pure, but for the two loaders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.config import Settings
from core.errors import DaeError
from core.nouns import DIGEST, Instance, Process, ProcessType, Slug, config_pair
from core.paths import Home
from runner.limits import instance_limits
from runner.spec import LaunchSpec, Sandbox

_PORT = re.compile(r"\$(?:PORT\b|\{PORT\})")
_FILE_BYTES = 16 << 20
# How a process of classic buildpacks begins: their scripts, then the app's own, then the command. Not in a function:
# what the scripts declare would end with it.
_PROFILE = (
    'for script in .profile.d/*.sh .profile; do if [ -r "$script" ]; then . "./$script"; fi; done; '
    'unset script; exec "$@"'
)
#: Sockets that an instance makes must let its group in, where nginx's workers are; its folders keep all others out.
UMASK = 0o007


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """What control wrote for the agent: which slug, with which config. ``port`` 0: a unix socket."""

    app: str
    number: int
    stage: str
    slug: str
    config: Mapping[str, str]
    port: int

    @classmethod
    def parse(cls, text: str, app: str, number: int) -> ReleaseFile:
        """The file of release ``number`` of ``app``; raises ``release/unknown`` when it is not that."""
        try:
            data = json.loads(text)
            found = cls(
                data["app"], int(data["number"]), data["stage"], data["slug"], dict(data["config"]), int(data["port"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise _unknown(app, number, f"its file cannot be read: {error}") from error
        if (found.app, found.number) != (app, number):
            raise _unknown(app, number, "its file is another release's")
        if not DIGEST.match(found.slug) or not 0 <= found.port <= 65535:
            raise _unknown(app, number, "its file names no slug, or a port that there is not")
        for key, value in found.config.items():
            config_pair(key, value)
        return found


def load_release(home: Home, app: str, number: int) -> ReleaseFile:
    """Read the release's file; raises ``release/unknown``."""
    try:
        with home.release(app, number).open("rb") as file:
            text = file.read(_FILE_BYTES)
    except OSError as error:
        raise _unknown(app, number, f"it has no file: {error.strerror}") from error
    return ReleaseFile.parse(text.decode(errors="replace"), app, number)


def load_slug(home: Home, digest: str) -> Slug:
    """Read a manifest; raises ``slug/unknown`` or ``slug/damaged``."""
    try:
        with home.slug(digest).open("rb") as file:
            data = json.loads(file.read(_FILE_BYTES))
    except OSError as error:
        raise DaeError(
            "slug/unknown", f"there is no slug {digest[:12]}: {error.strerror}", "push the commit again"
        ) from error
    except ValueError as error:
        raise DaeError("slug/damaged", f"the manifest of {digest[:12]} is not JSON", "push the commit again") from error
    slug = Slug.from_json(data)
    if slug.digest != digest:
        raise DaeError(
            "slug/damaged", f"the manifest of {digest[:12]} is not the one its name says", "push the commit again"
        )
    return slug


def uses_port(command: str) -> bool:
    """Does a web command ask for a TCP port?

    >>> uses_port("gunicorn -b 127.0.0.1:${PORT} app"), uses_port("gunicorn app")
    (True, False)
    """
    return _PORT.search(command) is not None


def process_of(instance: Instance, slug: Slug) -> Process:
    """The slug's process that the instance runs; raises ``runner/refused``."""
    for process in slug.processes:
        if process.name == instance.process:
            return process
    raise DaeError("runner/refused", f"{instance.key}: the slug has no process {instance.process}")


def spec_for(
    instance: Instance,
    release: ReleaseFile,
    slug: Slug,
    settings: Settings,
    home: Home,
    account: str | None,
    sandbox: Sandbox | None = None,
) -> LaunchSpec:
    """How an instance is started; ``account`` is its app's, None on a plain-user install."""
    if release.stage != instance.stage:
        raise _unknown(instance.app, instance.release, f"it is not in {instance.stage}")
    process = process_of(instance, slug)
    return LaunchSpec(
        name=instance.key,
        argv=_argv(process, slug, home),
        environ=_environ(instance, process, release, slug, home),
        cwd=str(home.code(instance.app, slug.code)),
        account=account,
        umask=UMASK,
        limits=instance_limits(settings, root=account is not None),
        sandbox=sandbox,
    )


def _argv(process: Process, slug: Slug, home: Home) -> tuple[str, ...]:
    if slug.classic:
        command = ("/bin/bash", "-c", process.command) if process.command else _server(process, slug, home)
        return ("/bin/bash", "-c", _PROFILE, "bash", *command)
    if process.command:
        return ("/bin/sh", "-c", process.command)  # the app's words, in the app's account
    return _server(process, slug, home)


def _server(process: Process, slug: Slug, home: Home) -> tuple[str, ...]:
    """What serves the handlers."""
    if process.kind is not ProcessType.WEB or not slug.handlers:
        raise DaeError("runner/refused", f"the process {process.name} has no command")
    return (str(home.environment(slug.environment) / "bin/python"), "-m", "gunicorn", "dae.runtime.wsgi:application")


def _environ(instance: Instance, process: Process, release: ReleaseFile, slug: Slug, home: Home) -> dict[str, str]:
    """The whole environment. The app's config comes first: it can never replace what the platform sets."""
    environment, code = home.environment(slug.environment), home.code(instance.app, slug.code)
    folder = home.app_home(instance.app)
    platform: dict[str, Any] = {
        "DAE_APP": instance.app,
        "DAE_STAGE": instance.stage,
        "DAE_RELEASE": f"v{instance.release}",
        "DAE_ENV": instance.stage,
        "DAE_SOCKET": "",
        "DAE_CODE": code,
        "DAE_HANDLERS": json.dumps([asdict(handler) for handler in slug.handlers]),
        "DAE_WORKERS": slug.workers,
        "DAE_PERMDIR": folder / "perm",
        "DAE_ACCEL": "1",
        "HOME": folder,
        "TMPDIR": folder / "tmp",
        "PATH": f"{environment / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": environment,
        "PYTHONPATH": ":".join(str(folder) for folder in (code, *(code / name for name in slug.python_path))),
        "PYTHONUNBUFFERED": "1",
        "GUNICORN_CMD_ARGS": "-c python:dae.runtime.gunicorn_conf",
    }
    if slug.classic:
        platform.update(HOME=code, DYNO=f"{process.name}.{instance.index}")  # as buildpacks and their scripts expect
        if process.command and not slug.python:
            for name in ("PYTHONPATH", "VIRTUAL_ENV", "GUNICORN_CMD_ARGS"):
                del platform[name]
    if process.kind is ProcessType.WEB:
        if release.port:
            platform["PORT"] = release.port
        else:
            platform["DAE_SOCKET"] = home.app_socket(instance.app, instance.stage, instance.release, instance.index)
    defaults = {"LANG": "C.UTF-8"}
    return {**defaults, **release.config, **{key: str(value) for key, value in platform.items()}}


def _unknown(app: str, number: int, cause: str) -> DaeError:
    return DaeError("release/unknown", f"{app} v{number}: {cause}", "deploy again")
