"""What ``bin/release`` of a classic buildpack says: YAML with ``default_process_types`` and ``config_vars``.

It is kept in the code itself, as ``.release``: so it is known whenever that code is, and a build that is not run again
needs nothing else. The config variables become a script of ``.profile.d``, which gives them to what has none.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildpacks.sources import read_text
from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import PROCESS_NAME
from dae import nodes

FILE = ".release"
PROFILE = Path(".profile.d") / "000-config-vars.sh"
SIZE_CAP = 64 * 1024  # bytes
_CODE = "build/step-failed"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_KEYS = ("default_process_types", "config_vars", "addons")  # the last is read by nobody: there are no add-ons


@dataclass(frozen=True, slots=True)
class Released:
    """``processes``: commands by the name of their process. ``config``: values that hold where the app's has none."""

    processes: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Released:
    """What bin/release wrote; nothing when that is empty. Raises ``build/step-failed``."""
    try:
        node = nodes.compose(text)
        items = nodes.mapping(node, _KEYS, "it") if node is not None and not _is_null(node) else {}
        found = Released(_texts(items, "default_process_types"), _texts(items, "config_vars"))
    except nodes.GrammarError as error:
        raise _wrong(error.cause.removeprefix("app.yaml").strip(": ")) from None
    for name, command in found.processes.items():
        if not PROCESS_NAME.match(name) or not command:
            raise _wrong(f"{name[:40]!a} cannot be a process's name, or has no command")
    for name in found.config:
        if not _NAME.match(name):
            raise _wrong(f"{name[:40]!a} cannot be a variable's name")
    return found


def _texts(items: Mapping[str, Any], key: str) -> dict[str, str]:
    if key not in items or _is_null(items[key]):
        return {}
    known = tuple(str(name.value) for name, _ in items[key].value) if items[key].id == "mapping" else ()
    found = nodes.mapping(items[key], known, key)
    return {name: _text(value, f"{name[:40]!a} of {key}") for name, value in found.items()}


def _text(node: Any, what: str) -> str:
    """A value, which unlike one of app.yaml may be empty."""
    return "" if node.id == "scalar" and not node.value else nodes.scalar(node, what)


def _is_null(node: Any) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _wrong(cause: str) -> DaeError:
    return DaeError(_CODE, f"what bin/release wrote cannot be used: {cause}", "mend the buildpack")


def keep(code: Path, found: Released) -> None:
    """Write it into the code; whatever stood in those places goes."""
    remove_tree(code / FILE)
    data = {"default_process_types": dict(found.processes), "config_vars": dict(found.config)}
    write_atomically(code / FILE, json.dumps(data, indent=1).encode() + b"\n", 0o644)
    remove_tree(code / PROFILE)
    if found.config:
        (code / PROFILE).parent.mkdir(exist_ok=True)
        write_atomically(code / PROFILE, _script(found.config).encode(), 0o644)


def _script(config: Mapping[str, str]) -> str:
    """
    >>> print(_script({"LANG": "it's C"}), end="")
    if [ -z "${LANG+x}" ]; then export LANG='it'"'"'s C'; fi
    """
    lines = (f'if [ -z "${{{name}+x}}" ]; then export {name}={shlex.quote(text)}; fi' for name, text in config.items())
    return "".join(f"{line}\n" for line in lines)


def read(folder: Path, name: str = FILE) -> Released:
    """What stands in a file of a folder, which somebody else may have written; raises ``build/step-failed``."""
    return parse(read_text(folder, name, SIZE_CAP, _CODE) or "")
