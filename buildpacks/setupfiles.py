"""``setup.cfg`` and ``setup.py`` as far as they say plainly what a project requires. They are read, never run."""

from __future__ import annotations

import configparser
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from buildpacks.sources import read_text
from core import argv
from core.errors import DaeError

NAMES = ("setup.cfg", "setup.py")
SIZE_CAP = 256 * 1024  # bytes

_CODE = "build/bad-requirements"
# Run by the platform's own Python, for it is the platform that reads; see there.
_SCRIPT = Path(__file__).with_name("setup_script.py")
_DYNAMIC = "dynamic"


def requirements(source: Path) -> tuple[str, list[tuple[int, str]]] | None:
    """The file that has ``install_requires``, and its numbered entries; None when neither names any.

    Raises ``build/bad-requirements``, also for requirements that would have to be calculated.
    """
    for name, found in _said(source, "install_requires"):
        if isinstance(found, str) and found != _DYNAMIC:
            raise DaeError(_CODE, f"{name} is not Python: {ascii(found)[1:-1]}", "correct it, commit and push again")
        if not isinstance(found, list) or any(line.startswith(("file:", "attr:")) for line in found):
            cause = f"{name} calculates 'install_requires' when it is run, and it is not run here"
            raise DaeError(_CODE, cause, "write them as a plain list, or one in a line into pip-req.txt")
        return name, list(enumerate(found, start=1))
    return None


def python(source: Path) -> tuple[str, str, str]:
    """``python_requires`` and the file that has it, empty without one; and a line on one that cannot be known.

    Raises ``build/bad-requirements`` for a setup.cfg that cannot be read.
    """
    for name, found in _said(source, "python_requires"):
        if isinstance(found, list) and not any(text.startswith(("file:", "attr:")) for text in found):
            return ",".join(found), name, ""
        how = "name the Python in .python-version"
        return "", "", f"{name} calculates 'python_requires' when it is run, and it is not run here: {how}"
    return "", "", ""


def _said(source: Path, key: str) -> Iterator[tuple[str, object]]:
    """The files that say ``key``, each with a list of texts, or a text that tells why there is none."""
    for name in NAMES:
        text = read_text(source, name, SIZE_CAP, _CODE)
        if not text or key not in text:
            continue
        found = _in_setup_cfg(text, key) if name == NAMES[0] else _in_setup_py(text, key)
        if found is not None:
            yield name, found


def _in_setup_cfg(text: str, key: str) -> list[str] | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        cause = f"setup.cfg cannot be read: {' '.join(str(error).split())[:200]}"
        raise DaeError(_CODE, cause, "correct that line") from None
    value = parser.get("options", key, fallback=None)
    if value is None:
        return None
    lines = value.splitlines() if "\n" in value else value.split(";")
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


@functools.lru_cache(maxsize=4)
def _told(text: str) -> object:
    """What the script says of the text of a setup.py: each key that it looks for, or a text of what is wrong."""
    outcome = argv.run(
        [sys.executable, "-I", "-S", "-W", "ignore", _SCRIPT], stdin=text.encode(), timeout=20, own_session=False
    )
    try:
        return json.loads(outcome.output)
    except ValueError:
        return _DYNAMIC  # it broke the parser


def _in_setup_py(text: str, key: str) -> object:
    found = _told(text)
    return found.get(key) if isinstance(found, dict) else found
