"""The WSGI application of an app that describes itself by app.yaml's handlers: ``dae.runtime.wsgi:application``.

The first handler whose ``url`` matches the whole path answers. WSGI apps are imported when the application is made,
so that a crash at import is a crash of the instance, seen at once, and not an error page later. That is a push's check
of imports: it has the app's config, and no second import is paid for it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

from dae.runtime.static import GROUP, Environ, StartResponse, StaticFiles, plain

WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Rule = tuple[re.Pattern[str], Union[StaticFiles, WsgiApp]]

#: Why the application could not be made, in one line, for :mod:`dae.runtime.gunicorn_conf` to say last of all.
failures: list[str] = []


class Application:
    """Asks the rules in order; the first whose pattern matches the whole path answers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raw = environ.get("PATH_INFO") or "/"
        path = decoded(raw)
        for pattern, answer in self.rules:
            match = pattern.fullmatch(raw if path is None else path)
            if match is None:
                continue
            if not isinstance(answer, StaticFiles):
                return answer(environ, start_response)
            if path is None:
                return plain(start_response, "404 Not Found", "not found")
            return answer.answer(match, environ, start_response)
        return plain(start_response, "404 Not Found", "no handler of app.yaml matches this path")


def decoded(raw: str) -> Optional[str]:
    """The text of a PATH_INFO, whose letters stand for bytes (PEP 3333); None when those are not UTF-8."""
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None


def load(name: str) -> WsgiApp:
    """Import ``module:callable``; raises ImportError when there is none, and whatever the module raises."""
    module_name, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ImportError(f"app.yaml says wsgi_app: {name}, but {module_name} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(
            f"app.yaml says wsgi_app: {name}, but that is a {type(found).__name__}, not a WSGI application"
        )
    if is_asgi(found):
        raise ImportError(
            f"app.yaml says wsgi_app: {name}, but that is an ASGI application, which no WSGI server can call:"
            f" take that handler out of app.yaml, write 'web: gunicorn -k uvicorn_worker.UvicornWorker {name}'"
            " into Procfile, and require uvicorn-worker"
        )
    app: WsgiApp = found
    return app


def is_asgi(app: Any) -> bool:
    """Whether ``app`` awaits its server, as ASGI 3 has it, and as no WSGI application does (PEP 3333).

    >>> is_asgi(lambda environ, start_response: [])
    False
    """
    called = getattr(type(app), "__call__", None)  # noqa: B004 - what it is counts, not whether it is there
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(called)


def _loaded(name: str) -> WsgiApp:
    try:
        return load(name)
    except BaseException as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        failures.append(f"dae: wsgi_app {name} cannot be imported: {words[:500]}")
        raise


def build(handlers: Sequence[Mapping[str, str]], root: Path, accel: bool) -> Application:
    """The application of ``handlers`` (``url`` and ``wsgi_app``, or ``static_files`` and ``upload``).

    Raises re.error, ValueError or ImportError when a handler cannot work.
    """
    rules: list[Rule] = []
    for handler in handlers:
        pattern = re.compile(handler["url"])
        template = handler.get("static_files", "")
        if not template:
            rules.append((pattern, _loaded(handler["wsgi_app"])))
            continue
        wanted = max((int(digit) for digit in GROUP.findall(template)), default=0)
        if wanted > pattern.groups:
            raise ValueError(
                f"static_files {template!r} uses group {wanted}, and url {handler['url']!r} has not so many"
            )
        rules.append((pattern, StaticFiles(template, handler.get("upload", ""), root, accel)))
    return Application(rules)


def from_environ(environ: Mapping[str, str]) -> Application:
    """The application that DAE_HANDLERS (JSON), DAE_CODE (the commit's folder) and DAE_ACCEL describe."""
    code = environ.get("DAE_CODE") or str(Path.cwd())
    if code not in sys.path:
        sys.path.insert(0, code)
    return build(json.loads(environ["DAE_HANDLERS"]), Path(code), environ.get("DAE_ACCEL") == "1")


def __getattr__(name: str) -> Application:  # PEP 562: made when a server asks for it, not when a test imports us
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = from_environ(os.environ)
    except (AttributeError, SystemExit) as error:
        # gunicorn takes an AttributeError for "no such name", hiding where the app's own module went wrong, and starts
        # a worker that exits again and again. Any other exception ends it, with a traceback.
        raise RuntimeError(f"the app cannot be imported: {error!r}") from error
    globals()["application"] = made
    return made
