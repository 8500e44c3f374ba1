"""Why an instance ended before it answered, in words: from the last lines that it wrote."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildpacks import commands, manifests, modules
from core.errors import DaeError

# dae.runtime.wsgi says it of a handler; else the last line of a traceback does, of whatever the app's command imported.
_HANDLER = re.compile(r"dae: wsgi_app (?P<handler>[\w.:]+) cannot be imported: (?P<error>.+)")
_ERROR = re.compile(r"(?P<error>(?:[A-Za-z_]\w*\.)*(?:\w*(?:Error|Exception)|ImproperlyConfigured)\b(?:: .*)?)\Z")
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '(?P<module>[\w.]{1,200})'", re.ASCII)
_NO_KEY = re.compile(r"KeyError: '(?P<key>[A-Z_][A-Z0-9_]{0,127})'\Z")
#: How Python tells that a module was found, and has not what was looked for in it: perhaps it is another one.
_OTHER = re.compile(
    r"(?:cannot import name '\w+' from (?:partially initialized module )?|module |partially initialized module |; )"
    r"'(?P<module>\w{1,200})(?:\.[\w.]*)?'",
    re.ASCII,
)
_CAUSE_CHARS = 300
#: How dae.runtime.wsgi, and a call of one as if it were WSGI, tell an ASGI application; and what runs one.
_ASGI, _ASGI_HOW = " is an ASGI application", ": take that handler"
_ASGI_CALLED = re.compile(r"TypeError: [\w.<>]{1,200}\(\) missing 1 required positional argument: 'send'\Z", re.ASCII)
_ASGI_WORKER = "gunicorn -k uvicorn_worker.UvicornWorker"
#: How the managers whose lock is in the commit add a package.
_ADD: Mapping[str, str] = {
    "uv.lock": "uv add {}",
    "poetry.lock": "poetry add {}",
    "Pipfile.lock": "pipenv install {}",
    "pylock.toml": "add {} to [project] of pyproject.toml, and lock again",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What ended: the folders of its code layer and its environment, and the process's own command, if it has one."""

    code: Path
    environment: Path
    command: str = ""


def explained(crash: DaeError, lines: Sequence[str], ran: Ran) -> DaeError:
    """``release/crashed``, ``release/command-failed`` or ``release/unhealthy`` with what can be known of its cause.

    The lines are the app's own words: they are shown and followed by nothing.
    """
    code, environment = ran.code, ran.environment
    if crash.code == "release/unhealthy":
        called = any(_ASGI_CALLED.match(line.strip()) for line in lines)
        how = f"it is an ASGI application: write '{_ASGI_WORKER} MODULE:app' into Procfile, and require uvicorn-worker"
        return DaeError(crash.code, crash.cause, how) if called else crash
    if ran.command and (start := commands.hint(lines, ran.command, code, environment)):
        return DaeError(crash.code, crash.cause, start)
    found = next((match for line in reversed(lines) if (match := _HANDLER.search(line))), None)
    handler = found["handler"] if found else ""
    found = found or next((match for line in reversed(lines) if (match := _ERROR.match(line.strip()))), None)
    if found is None:
        return crash
    error = found["error"].partition(_ASGI_HOW)[0][:_CAUSE_CHARS]
    what = f"the handler 'wsgi_app: {handler}' cannot be imported" if handler else crash.cause
    return DaeError(crash.code, f"{what}: {error}", _hint(error, handler, code, environment))


def _hint(error: str, handler: str, code: Path, environment: Path) -> str:
    if key := _NO_KEY.match(error):
        return f"if {key['key']} is a config variable, type: dae config set {key['key']}=VALUE"
    if other := _OTHER.search(error):
        name = other["module"]
        if modules.is_outdone(code, name):
            return _rename(code, name, f"Python's own module '{name}' is imported in place of your {{}}")
        if hidden := modules.shadowed(code, environment, name):
            return _rename(code, name, f"your {{}} is imported in place of {hidden}")
    if handler and _ASGI in error:
        start = f"web: {_ASGI_WORKER} {handler}"
        return f"take that handler out of app.yaml, write '{start}' into Procfile, and require uvicorn-worker"
    missing = _NO_MODULE.match(error)
    return _missing(missing["module"], handler, code) if missing else "its last lines are above"


def _rename(code: Path, name: str, what: str) -> str:
    """Of two modules of one name, one of which is the commit's, the other one is imported; ``what`` says which."""
    is_file = (code / f"{name}.py").is_file()
    mine, other = (f"{name}.py", f"my_{name}.py") if is_file else (f"{name}/", f"my_{name}/")
    return f"{what.format(mine)}; give it another name: git mv {mine} {other}"


def _missing(module: str, handler: str, code: Path) -> str:
    top = module.split(".")[0]
    if modules.is_in(code, top) or (code / top).is_dir():
        return f"the commit has {top}, but not all of it: was a file not committed?"
    if folders := modules.below(code, top):
        return _start_below(top, folders, handler)
    if handler and handler.split(":")[0].split(".")[0] == top:
        return f"app.yaml names it, and the commit has no {top}.py; correct one of the two"
    name, where = modules.distribution(module), _requirements(code)
    if where in _ADD:
        return f"type: {_ADD[where].format(name)}" if name else f"{_ADD[where].format('PACKAGE')}, which brings '{top}'"
    return (
        f"add {name}, which brings '{top}', to {where}" if name else f"add the package that brings '{top}' to {where}"
    )


def _start_below(top: str, folders: Sequence[str], handler: str) -> str:
    """The app's own module, in a folder that nothing is imported from."""
    folder = folders[0]
    where = " and ".join(f"{ascii(each)[1:-1]}/" for each in folders[:3])
    module = handler.removeprefix(f"{folder.replace('/', '.')}.") or "MODULE:app"
    start = f"web: gunicorn --chdir {shlex.quote(folder)} {module}"
    how = f"in place of the handler, write into Procfile: {start}" if handler else f"start it there: {start}"
    return f"your module '{top}' is in {where}, and imports begin at the top; {how}"


def _requirements(code: Path) -> str:
    """The file in which this app's requirements stand, or should."""
    try:
        return manifests.find(code).filename
    except DaeError:
        return manifests.FILES[0]
