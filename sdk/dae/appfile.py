"""``app.yaml``: how an app describes itself. Text in, a frozen :class:`AppFile` out.

The YAML is read as a tree of nodes (YAML 1.1, PyYAML) and never turned into objects: every complaint can then name its
line, a key that stands twice is seen, and nothing is resolved silently. Aliases are refused, because a few bytes of
them can mean gigabytes.
"""

from __future__ import annotations

import difflib
import re
import warnings
from dataclasses import dataclass
from typing import Any

SIZE_CAP = 64 * 1024  # bytes of the whole file
TEXT_CAP = 512  # characters of one value; regular expressions, paths and names are never longer in good faith
HANDLERS_CAP = 200
DEPTH_CAP = 8

TOP_KEYS = (
    "application", "version", "runtime", "api_version", "irc_report_channel", "report_observer_emails",
    "handlers", "health", "workers", "installer",
)  # fmt: skip
HANDLER_KEYS = ("url", "wsgi_app", "static_files", "upload")
HEALTH_KEYS = ("path", "timeout")
INSTALLERS = ("uv", "pip")

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
WSGI_APP = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*\Z")
RUNTIME = re.compile(r"python([23](\.?[0-9]{1,2})?)?\Z")
HEALTH_PATH = re.compile(r"/[!-~]*\Z")  # printable ASCII without a blank: it becomes a request line
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class GrammarError(Exception):
    """A file does not follow its grammar: a stable code, the cause with its line, and what to change."""

    def __init__(self, code: str, cause: str, hint: str = "") -> None:
        self.code = code
        self.cause = cause
        self.hint = hint
        super().__init__(f"{code}: {cause}")


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
class AppFile:
    """A whole ``app.yaml``. What the file does not say is empty; ``workers`` is then 1."""

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


def parse(text: str) -> AppFile:
    """The app.yaml in ``text``; raises :class:`GrammarError` ``build/bad-app-yaml``, whose cause names the line."""
    if len(text.encode("utf-8", "replace")) > SIZE_CAP:
        raise _error(f"it is larger than {SIZE_CAP // 1024} KiB", "describe the app only; data belongs elsewhere")
    node = _compose(text)
    if node is None:
        raise _error("it is empty", "write at least 'handlers:' with one handler")
    return _app(_mapping(node, TOP_KEYS, "app.yaml"))


def _error(cause: str, hint: str = "", line: int = 0) -> GrammarError:
    where = f"app.yaml line {line}: " if line else "app.yaml: "
    return GrammarError("build/bad-app-yaml", where + cause, hint)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


# --- from text to nodes


def _compose(text: str) -> Any:
    import yaml  # late: only those who read an app.yaml need it

    class Loader(yaml.SafeLoader):
        """SafeLoader's grammar up to its nodes, without anchors and aliases, and not deeper than we need."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise _error("anchors and aliases (& and *) are not accepted", "write the value out", _line(event))
            if self.depth >= DEPTH_CAP:
                raise _error("lists and mappings are nested too deeply", "see the example in the docs", _line(event))
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    loader: Any = None
    try:
        loader = Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from None
    except yaml.YAMLError as error:
        raise _error(" ".join(str(error).split())[:200], "write it as UTF-8 text") from None
    except (ValueError, OverflowError) as error:  # PyYAML lets chr() of a bad escape through
        raise _error(f"a value cannot be read: {error}", "put the value in single quotes") from None
    finally:
        if loader is not None:
            loader.dispose()


def _marked(error: Any) -> GrammarError:
    mark = error.problem_mark or error.context_mark
    cause = ", ".join(part for part in (error.context, error.problem) if part) or "it is not YAML"
    return _error(cause, "check the indentation and the colons of that line", mark.line + 1 if mark else 0)


# --- from nodes to plain values


def _mapping(node: Any, known: tuple[str, ...], what: str) -> dict[str, Any]:
    """The items of a mapping node, by key; keys that stand twice or are not ``known`` are refused."""
    if node.id != "mapping":
        raise _error(f"{what} must be 'key: value' lines", f"known keys: {', '.join(known)}", _line(node))
    lines: dict[str, int] = {}
    items: dict[str, Any] = {}
    for key_node, value in node.value:
        key = _scalar(key_node, "a key")
        if key in lines:
            cause = f"the key {_show(key)} stands twice, on line {lines[key]} and on line {_line(key_node)}"
            raise _error(cause, "join the two into one", _line(key_node))
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise _error(f"unknown key {_show(key)} in {what}", hint, _line(key_node))
        lines[key], items[key] = _line(key_node), value
    return items


def _show(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _scalar(node: Any, what: str) -> str:
    """A single value as it is written: ``version: 1.10`` means the text 1.10."""
    if node.id != "scalar" or not node.tag.startswith("tag:yaml.org,2002:") or node.tag.endswith(":binary"):
        raise _error(f"{what} must be a single value", "write it as text on one line", _line(node))
    text = str(node.value)
    if not text:
        raise _error(f"{what} is empty", "give it a value or remove the line", _line(node))
    if len(text) > TEXT_CAP:
        raise _error(f"{what} is longer than {TEXT_CAP} characters", "shorten it", _line(node))
    if CONTROL.search(text) or not text.isprintable():
        raise _error(f"{what} holds control characters", "remove them", _line(node))
    return text


def _number(node: Any, what: str, low: int, high: int) -> int:
    text = _scalar(node, what)
    if not re.match(r"[0-9]{1,6}\Z", text, re.ASCII) or not low <= int(text) <= high:
        raise _error(f"{what} is {_show(text)}", f"use a whole number from {low} to {high}", _line(node))
    return int(text)


def _list(node: Any, what: str) -> list[Any]:
    if node.id != "sequence":
        raise _error(f"{what} must be a list", "begin each of its items with '- '", _line(node))
    if len(node.value) > HANDLERS_CAP:
        raise _error(f"{what} has more than {HANDLERS_CAP} items", "use fewer, wider ones", _line(node))
    return list(node.value)


# --- from plain values to the app's description


def _app(items: dict[str, Any]) -> AppFile:
    def text(key: str) -> str:
        return _scalar(items[key], f"'{key}'") if key in items else ""

    return AppFile(
        application=text("application"),
        version=text("version"),
        runtime=_runtime(items["runtime"]) if "runtime" in items else "",
        api_version=text("api_version"),
        irc_report_channel=text("irc_report_channel"),
        report_observer_emails=_emails(items["report_observer_emails"]) if "report_observer_emails" in items else (),
        handlers=tuple(_handler(n) for n in _list(items["handlers"], "'handlers'")) if "handlers" in items else (),
        health=_health(items["health"]) if "health" in items else AppHealth(),
        workers=_number(items["workers"], "'workers'", 1, 64) if "workers" in items else 1,
        installer=_installer(items["installer"]) if "installer" in items else "",
    )


def _runtime(node: Any) -> str:
    text = _scalar(node, "'runtime'")
    if not RUNTIME.match(text):
        raise _error(f"the runtime {_show(text)} is not known", "write 'python' or, say, 'python3.11'", _line(node))
    return text


def _installer(node: Any) -> str:
    text = _scalar(node, "'installer'")
    if text not in INSTALLERS:
        raise _error(f"the installer {_show(text)} is not known", f"use {' or '.join(INSTALLERS)}", _line(node))
    return text


def _emails(node: Any) -> tuple[str, ...]:
    """A list, or one line of addresses with commas between them."""
    what = "'report_observer_emails'"
    nodes = _list(node, what) if node.id == "sequence" else [node]
    return tuple(part for n in nodes for part in _scalar(n, what).replace(",", " ").split())


def _health(node: Any) -> AppHealth:
    items = _mapping(node, HEALTH_KEYS, "'health'")
    path = _scalar(items["path"], "'path'") if "path" in items else ""
    if path and not HEALTH_PATH.match(path):
        raise _error(f"the health path {_show(path)} is not a path", "begin it with '/'", _line(items["path"]))
    return AppHealth(path, _number(items["timeout"], "'timeout'", 1, 300) if "timeout" in items else 30)


def _handler(node: Any) -> AppHandler:
    items = _mapping(node, HANDLER_KEYS, "a handler")
    line = _line(node)
    if "url" not in items:
        raise _error("a handler has no 'url'", "add a regular expression, such as 'url: /.*'", line)
    if ("wsgi_app" in items) == ("static_files" in items):
        raise _error("a handler needs either 'wsgi_app' or 'static_files'", "give it exactly one of the two", line)
    if "upload" in items and "static_files" not in items:
        raise _error("'upload' belongs to 'static_files'", "remove it", _line(items["upload"]))
    url = _regex(items["url"], "'url'")
    return AppHandler(
        url=url.pattern,
        wsgi_app=_wsgi_app(items["wsgi_app"]) if "wsgi_app" in items else "",
        static_files=_static_files(items["static_files"], url.groups) if "static_files" in items else "",
        upload=_regex(items["upload"], "'upload'").pattern if "upload" in items else "",
    )


def _regex(node: Any, what: str) -> re.Pattern[str]:
    text = _scalar(node, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        cause = f"{what} is not a regular expression Python accepts: {error}"
        raise _error(cause, "put a backslash before characters that are meant literally", _line(node)) from None


def _wsgi_app(node: Any) -> str:
    text = _scalar(node, "'wsgi_app'")
    if not WSGI_APP.match(text):
        raise _error(
            f"{_show(text)} names no WSGI application", "write 'module:callable', as in 'app:app'", _line(node)
        )
    return text


def _static_files(node: Any, groups: int) -> str:
    r"""A path in the commit, in which ``\1`` to ``\99`` stand for the groups of the handler's ``url``."""
    text = _scalar(node, "'static_files'")
    for reference in re.findall(r"\\([0-9]*)", text):
        if not reference or reference.startswith("0") or len(reference) > 2:
            raise _error(
                r"'static_files' holds a backslash that is no \1", r"write \1 for the first group", _line(node)
            )
        if int(reference) > groups:
            cause = rf"'static_files' refers to group \{reference}, and 'url' has {groups} group(s)"
            raise _error(cause, "put the wanted part of 'url' in parentheses", _line(node))
    if text.startswith(("/", "~")) or ".." in text.split("/"):
        raise _error(f"the path {_show(text)} leads out of the app", "use a path below the app's folder", _line(node))
    return text
