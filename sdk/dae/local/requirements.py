"""The requirements file as ``dae install`` edits it. Text in, text out."""

from __future__ import annotations

import re
from pathlib import Path

from dae.cli.errors import CliError
from dae.reqfile import NAMES as NAMES

# PEP 508: a name, extras, version specifiers, a marker. What else pip accepts (addresses, paths, options) is written
# into the file by hand, with open eyes.
REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"\s*(?P<extras>\[[A-Za-z0-9._,\s-]*\])?"
    r"\s*(?P<version>(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+(?:\s*,\s*(?:==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+)*)?"
    r"\s*(?P<marker>;[^\n\r#]+)?\Z"
)


def path_in(folder: Path) -> Path:
    """The requirements file of an app: the one of NAMES that is there, else pip-req.txt.

    Raises ``build/bad-requirements`` when both are there, as a build would.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise CliError("build/bad-requirements", f"both {' and '.join(NAMES)} exist", "keep one of the two")
    return found[0] if found else folder / NAMES[0]


def name_of(requirement: str) -> str:
    """The normalised name (PEP 503) of a requirement; raises ``local/bad-requirement``."""
    match = REQUIREMENT.match(requirement.strip())
    if match is None:
        hint = "write it like flask, flask==3.1.0 or 'flask[async]>=3'"
        raise CliError("local/bad-requirement", f"{requirement!r} is not a requirement that can be recorded", hint)
    return re.sub(r"[-_.]+", "-", match["name"]).lower()


def _line_name(line: str) -> str:
    """The normalised name that a line of the file requires; empty when it is a comment, an option or an address."""
    text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
    match = REQUIREMENT.match(text)
    return re.sub(r"[-_.]+", "-", match["name"]).lower() if match else ""


def add(text: str, requirements: tuple[str, ...]) -> str:
    """The file's ``text`` with ``requirements`` in it, each project once.

    A line of the same project is replaced when the new requirement says more than a bare name, and stays otherwise.
    """
    lines = text.splitlines()
    for requirement in requirements:
        wanted, name = requirement.strip(), name_of(requirement)
        places = [index for index, line in enumerate(lines) if _line_name(line) == name]
        if not places:
            lines.append(wanted)
        elif re.sub(r"[-_.]+", "-", wanted).lower() != name:
            lines[places[0]] = wanted
    return "".join(line + "\n" for line in lines)
