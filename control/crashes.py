"""Why an instance ended before it answered, in words: from the last lines that it wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from buildpacks import manifests
from core.errors import DaeError

# dae.runtime.wsgi says it of a handler; else the last line of a traceback does, of whatever the app's command imported.
_HANDLER = re.compile(r"dae: wsgi_app (?P<handler>[\w.:]+) cannot be imported: (?P<error>.+)")
_ERROR = re.compile(r"(?P<error>(?:[A-Za-z_]\w*\.)*(?:\w*(?:Error|Exception)|ImproperlyConfigured)\b(?:: .*)?)\Z")
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '(?P<module>[\w.]+)'")
_NO_KEY = re.compile(r"KeyError: '(?P<key>[A-Z_][A-Z0-9_]{0,127})'\Z")
_CAUSE_CHARS = 300


def explained(crash: DaeError, lines: Sequence[str], code: Path) -> DaeError:
    """``release/crashed`` with what can be known of its cause; ``code``: the folder of the code layer.

    The lines are the app's own words: they are shown and followed by nothing.
    """
    found = next((match for line in reversed(lines) if (match := _HANDLER.search(line))), None)
    handler = found["handler"] if found else ""
    found = found or next((match for line in reversed(lines) if (match := _ERROR.match(line.strip()))), None)
    if found is None:
        return crash
    error = found["error"][:_CAUSE_CHARS]
    what = f"the handler 'wsgi_app: {handler}' cannot be imported" if handler else crash.cause
    return DaeError(crash.code, f"{what}: {error}", _hint(error, handler, code))


def _hint(error: str, handler: str, code: Path) -> str:
    if key := _NO_KEY.match(error):
        return f"if {key['key']} is a config variable, type: dae config set {key['key']}=VALUE"
    missing = _NO_MODULE.match(error)
    if missing is None:
        return "its last lines are above"
    top = missing["module"].split(".")[0]
    if handler and handler.split(":")[0].split(".")[0] == top:
        return f"app.yaml names it, and the commit has no {top}.py; correct one of the two"
    if (code / top).exists() or (code / f"{top}.py").exists():
        return f"the commit has {top}, but not all of it: was a file not committed?"
    return f"add the package that brings '{top}' to {_requirements(code)}"


def _requirements(code: Path) -> str:
    """The file in which this app's requirements stand, or should."""
    try:
        return manifests.find(code).filename
    except DaeError:
        return manifests.FILES[0]
