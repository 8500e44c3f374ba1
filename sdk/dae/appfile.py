"""``app.yaml``: how an app describes itself. Text in, a frozen :class:`AppFile` out.

How its YAML is read: :mod:`dae.nodes`. What only a build looks at (``build``, ``build_env``, ``assets``,
``collectstatic``, ``release_timeout``, ``ci``) is checked here all the same, so that ``dae serve`` finds the mistake,
too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dae import nodes
from dae.nodes import GrammarError as GrammarError

SIZE_CAP = 64 * 1024  # bytes of the whole file
BUILD_CAP = 50  # commands
MOST_SECONDS = 3600  # of a release command, and of tests

TOP_KEYS = (
    "application", "version", "runtime", "api_version", "irc_report_channel", "report_observer_emails",
    "handlers", "health", "workers", "installer", "build", "build_env", "assets", "collectstatic", "release_timeout",
    "buildpacks", "ci",
)  # fmt: skip
HANDLER_KEYS = ("url", "wsgi_app", "static_files", "upload")
HEALTH_KEYS = ("path", "timeout")
CI_KEYS = ("run", "requires", "timeout")
INSTALLERS = ("uv", "pip")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
WSGI_APP = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*\Z")
RUNTIME = re.compile(r"python([23](\.?[0-9]{1,2})?)?\Z")
HEALTH_PATH = re.compile(r"/[!-~]*\Z")  # printable ASCII without a blank: it becomes a request line
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}\Z")
BUILDPACK = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
BUILDPACKS_CAP = 10
CI_FILE = re.compile(r"(?!/)(?:(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]{1,100}(?:/(?!\Z)|\Z)){1,10}\Z")


@dataclass(frozen=True)
class AppHandler:
    """One handler, first match wins: ``url`` must match the whole path; ``wsgi_app`` or ``static_files`` answers."""

    url: str
    wsgi_app: str = ""
    static_files: str = ""
    upload: str = ""


@dataclass(frozen=True)
class AppHealth:
    """The path that proves an instance healthy (empty: none was named) and how many seconds it may take."""

    path: str = ""
    timeout: int = 30


@dataclass(frozen=True)
class AppCi:
    """The commands that test the app (none: it has no tests), the file of what they need beside what the app requires
    (empty: none was named), and how many seconds they may take in all (0: as long as a build)."""

    run: tuple[str, ...] = ()
    requires: str = ""
    timeout: int = 0


@dataclass(frozen=True)
class AppFile:
    """A whole ``app.yaml``. What the file does not say is empty; ``workers`` is then 1, and the switches are on.

    ``build``: commands of the build. ``build_env``: names of the config variables that the build sees. ``assets`` and
    ``collectstatic``: whether package.json and Django's static files are built. ``release_timeout``: seconds, 0: as
    the platform has it. ``buildpacks``: names of buildpacks, in their order; empty: the platform chooses.
    ``ci``: its tests.
    """

    application: str = ""
    version: str = ""
    runtime: str = ""
    api_version: str = ""
    irc_report_channel: str = ""
    report_observer_emails: tuple[str, ...] = ()
    handlers: tuple[AppHandler, ...] = ()
    health: AppHealth = AppHealth()
    workers: int = 1
    installer: str = ""
    build: tuple[str, ...] = ()
    build_env: tuple[str, ...] = ()
    assets: bool = True
    collectstatic: bool = True
    release_timeout: int = 0
    buildpacks: tuple[str, ...] = ()
    ci: AppCi = AppCi()


def parse(text: str) -> AppFile:
    """The app.yaml in ``text``; raises :class:`GrammarError` ``build/bad-app-yaml``, whose cause names the line."""
    if len(text.encode("utf-8", "replace")) > SIZE_CAP:
        raise nodes.wrong(f"it is larger than {SIZE_CAP // 1024} KiB", "describe the app only; data belongs elsewhere")
    node = nodes.compose(text)
    if node is None:
        raise nodes.wrong("it is empty", "write at least 'handlers:' with one handler")
    return _app(nodes.mapping(node, TOP_KEYS, "app.yaml"))


# --- from plain values to the app's description


def _app(items: dict[str, Any]) -> AppFile:
    def text(key: str) -> str:
        return nodes.scalar(items[key], f"'{key}'") if key in items else ""

    return AppFile(
        application=text("application"),
        version=text("version"),
        runtime=_runtime(items["runtime"]) if "runtime" in items else "",
        api_version=text("api_version"),
        irc_report_channel=text("irc_report_channel"),
        report_observer_emails=_emails(items["report_observer_emails"]) if "report_observer_emails" in items else (),
        handlers=tuple(_handler(n) for n in nodes.sequence(items["handlers"], "'handlers'"))
        if "handlers" in items
        else (),
        health=_health(items["health"]) if "health" in items else AppHealth(),
        workers=nodes.number(items["workers"], "'workers'", 1, 64) if "workers" in items else 1,
        installer=_installer(items["installer"]) if "installer" in items else "",
        build=_build(items["build"]) if "build" in items else (),
        build_env=_build_env(items["build_env"]) if "build_env" in items else (),
        assets=nodes.switch(items["assets"], "'assets'") if "assets" in items else True,
        collectstatic=nodes.switch(items["collectstatic"], "'collectstatic'") if "collectstatic" in items else True,
        release_timeout=nodes.number(items["release_timeout"], "'release_timeout'", 1, MOST_SECONDS)
        if "release_timeout" in items
        else 0,
        buildpacks=_buildpacks(items["buildpacks"]) if "buildpacks" in items else (),
        ci=_ci(items["ci"]) if "ci" in items else AppCi(),
    )


def _build(node: Any) -> tuple[str, ...]:
    return _commands(node, "'build'")


def _commands(node: Any, what: str) -> tuple[str, ...]:
    found = nodes.sequence(node, what)
    if len(found) > BUILD_CAP:
        raise nodes.wrong(f"{what} has more than {BUILD_CAP} commands", "put them into a script", nodes.line_of(node))
    return tuple(nodes.scalar(item, f"a command of {what}") for item in found)


def _ci(node: Any) -> AppCi:
    """One command, or ``run`` (one, or a list) with what it needs."""
    if node.id == "scalar":
        return AppCi((nodes.scalar(node, "'ci'"),))
    items = nodes.mapping(node, CI_KEYS, "'ci'")
    run = items.get("run")
    if run is None or (run.id == "sequence" and not run.value):
        raise nodes.wrong("'ci' has no 'run'", "name a command that tests the app: 'ci: pytest'", nodes.line_of(node))
    commands = (nodes.scalar(run, "'run'"),) if run.id == "scalar" else _commands(run, "'run'")
    requires = nodes.scalar(items["requires"], "'requires'") if "requires" in items else ""
    if requires and not CI_FILE.match(requires):
        cause = f"'requires' is {nodes.show(requires)}, which is no file of the commit"
        raise nodes.wrong(cause, "name it by its path, as in 'dev-req.txt'", nodes.line_of(items["requires"]))
    seconds = nodes.number(items["timeout"], "'timeout'", 1, MOST_SECONDS) if "timeout" in items else 0
    return AppCi(commands, requires, seconds)


def _build_env(node: Any) -> tuple[str, ...]:
    names: list[str] = []
    for item in nodes.sequence(node, "'build_env'"):
        name = nodes.scalar(item, "a name in 'build_env'")
        if not VARIABLE.match(name):
            cause = f"{nodes.show(name)} in 'build_env' is not a config variable's name"
            raise nodes.wrong(
                cause, "list names only, of A-Z, 0-9 and '_'; values: dae config set", nodes.line_of(item)
            )
        if name in names:
            raise nodes.wrong(f"{name} stands twice in 'build_env'", "remove one of the two", nodes.line_of(item))
        names.append(name)
    return tuple(names)


def _buildpacks(node: Any) -> tuple[str, ...]:
    names: list[str] = []
    for item in nodes.sequence(node, "'buildpacks'"):
        name = nodes.scalar(item, "a name in 'buildpacks'")
        if not BUILDPACK.match(name):
            cause = f"{nodes.show(name)} in 'buildpacks' is not a buildpack's name"
            hint = "name one that the operator installed, of a-z, 0-9 and '-': no address, no path"
            raise nodes.wrong(cause, hint, nodes.line_of(item))
        if name in names:
            raise nodes.wrong(f"{name} stands twice in 'buildpacks'", "remove one of the two", nodes.line_of(item))
        names.append(name)
    if len(names) > BUILDPACKS_CAP:
        raise nodes.wrong(f"'buildpacks' has more than {BUILDPACKS_CAP} names", "use fewer", nodes.line_of(node))
    return tuple(names)


def _runtime(node: Any) -> str:
    text = nodes.scalar(node, "'runtime'")
    if not RUNTIME.match(text):
        raise nodes.wrong(
            f"the runtime {nodes.show(text)} is not known", "write 'python' or, say, 'python3.11'", nodes.line_of(node)
        )
    return text


def _installer(node: Any) -> str:
    text = nodes.scalar(node, "'installer'")
    if text not in INSTALLERS:
        raise nodes.wrong(
            f"the installer {nodes.show(text)} is not known", f"use {' or '.join(INSTALLERS)}", nodes.line_of(node)
        )
    return text


def _emails(node: Any) -> tuple[str, ...]:
    """A list, or one line of addresses with commas between them."""
    what = "'report_observer_emails'"
    items = nodes.sequence(node, what) if node.id == "sequence" else [node]
    return tuple(part for n in items for part in nodes.scalar(n, what).replace(",", " ").split())


def _health(node: Any) -> AppHealth:
    items = nodes.mapping(node, HEALTH_KEYS, "'health'")
    path = nodes.scalar(items["path"], "'path'") if "path" in items else ""
    if path and not HEALTH_PATH.match(path):
        raise nodes.wrong(
            f"the health path {nodes.show(path)} is not a path", "begin it with '/'", nodes.line_of(items["path"])
        )
    return AppHealth(path, nodes.number(items["timeout"], "'timeout'", 1, 300) if "timeout" in items else 30)


def _handler(node: Any) -> AppHandler:
    items = nodes.mapping(node, HANDLER_KEYS, "a handler")
    line = nodes.line_of(node)
    if "url" not in items:
        raise nodes.wrong("a handler has no 'url'", "add a regular expression, such as 'url: /.*'", line)
    if ("wsgi_app" in items) == ("static_files" in items):
        raise nodes.wrong("a handler needs either 'wsgi_app' or 'static_files'", "give it exactly one of the two", line)
    if "upload" in items and "static_files" not in items:
        raise nodes.wrong("'upload' belongs to 'static_files'", "remove it", nodes.line_of(items["upload"]))
    url = nodes.regex(items["url"], "'url'")
    return AppHandler(
        url=url.pattern,
        wsgi_app=_wsgi_app(items["wsgi_app"]) if "wsgi_app" in items else "",
        static_files=_static_files(items["static_files"], url.groups) if "static_files" in items else "",
        upload=nodes.regex(items["upload"], "'upload'").pattern if "upload" in items else "",
    )


def _wsgi_app(node: Any) -> str:
    text = nodes.scalar(node, "'wsgi_app'")
    if not WSGI_APP.match(text):
        raise nodes.wrong(
            f"{nodes.show(text)} names no WSGI application",
            "write 'module:callable', as in 'app:app'",
            nodes.line_of(node),
        )
    return text


def _static_files(node: Any, groups: int) -> str:
    r"""A path in the commit, in which ``\1`` to ``\99`` stand for the groups of the handler's ``url``."""
    text = nodes.scalar(node, "'static_files'")
    for reference in re.findall(r"\\([0-9]*)", text):
        if not reference or reference.startswith("0") or len(reference) > 2:
            raise nodes.wrong(
                r"'static_files' holds a backslash that is no \1", r"write \1 for the first group", nodes.line_of(node)
            )
        if int(reference) > groups:
            cause = rf"'static_files' refers to group \{reference}, and 'url' has {groups} group(s)"
            raise nodes.wrong(cause, "put the wanted part of 'url' in parentheses", nodes.line_of(node))
    if text.startswith(("/", "~")) or ".." in text.split("/"):
        raise nodes.wrong(
            f"the path {nodes.show(text)} leads out of the app",
            "use a path below the app's folder",
            nodes.line_of(node),
        )
    return text
