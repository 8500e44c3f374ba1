"""What the index has in place of what was asked for: versions near one that is not there, and a package's extras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from buildpacks.index import Index, IndexFile
from core.errors import DaeError

SHOWN, NAMES, EXTRAS = 5, 3, 20
_NAME = r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[^\]]*\])?"
#: How uv and pip say which version they did not find.
_ASKED = re.compile(
    r"(?:no versions? of|you require|depends on|No matching distribution found for) "
    rf"{_NAME}\s*[=<>~!]=?=?\s*([0-9][\w.!+]*)"
)
#: How they say that a package has no such extra; both go on without it.
_NO_EXTRA = (
    re.compile(r"The package `([\w.-]+)==([\w.!+]+)` does not have an extra named `([\w.-]+)`"),
    re.compile(r"WARNING: ([\w.-]+) ([\w.!+]+) does not provide the extra '([\w.-]+)'"),
)


def versions(index: Index, output: str) -> str:
    """Which versions the index has of what a tool found none of, says its ``output``; empty where it has none."""
    found = {str(canonicalize_name(name)): text for name, text in _ASKED.findall(" ".join(output.split()))}
    told = [
        f"{name} {', '.join(map(str, near))}"
        for name, text in list(found.items())[:NAMES]
        if (near := _near(index, name, text))
    ]
    return f"the index has {' and '.join(told)}" if told else ""


def _near(index: Index, name: str, asked: str) -> list[Version]:
    """At most five: the newest, and where the one that was ``asked`` for is older, the nearest to it; newest first."""
    try:
        page = index.page(name)
        wanted = Version(asked.rstrip(".*,"))
    except (DaeError, InvalidVersion):
        return []
    there = sorted({version for file in (page.files if page else ()) if (version := _version(file))}, reverse=True)
    there = [version for version in there if not version.is_prerelease] or there
    if wanted in there:
        return []  # it is there: something else is in the way
    chosen = {*there[:1], *[version for version in there if version > wanted][-2:]}
    older = [version for version in there if version < wanted and version not in chosen]
    return sorted({*chosen, *older[: SHOWN - len(chosen)]}, reverse=True)


def missing_extras(index: Index, output: str) -> Iterator[str]:
    """A line for each extra that was asked for and is none, with those that the package has."""
    for name, version, extra in dict.fromkeys(triple for pattern in _NO_EXTRA for triple in pattern.findall(output)):
        known = _extras(index, str(canonicalize_name(name)), version)
        has = f"it has {', '.join(known[:EXTRAS])}" if known else "nothing is installed for it"
        yield f"{name} {version} has no extra {extra!r}: {has}"


def _extras(index: Index, name: str, version: str) -> list[str]:
    try:
        page = index.page(name)
        files = [file for file in (page.files if page else ()) if _version(file) == Version(version)]
        wheels = [file for file in files if file.filename.endswith(".whl")]
        text = index.metadata(wheels[0]) if wheels else ""
    except (DaeError, InvalidVersion):
        return []
    return sorted(value for value in HeaderParser().parsestr(text).get_all("Provides-Extra", []) if value.isprintable())


def _version(file: IndexFile) -> Version | None:
    try:
        if file.filename.endswith(".whl"):
            return parse_wheel_filename(file.filename)[1]
        return parse_sdist_filename(file.filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
