"""Having things here before they are asked for: what a lock or a list of requirements names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from buildpacks.requirements import Line
from buildpacks.requirements import parse as requirements_of
from control.context import Context
from control.mirror_door import answer, have
from control.output import Output
from core.errors import DaeError
from core.files import require_room
from pypi_mirror.model import File, project_name, version_of
from pypi_mirror.pages import file_path
from pypi_mirror.selection import Wanted
from pypi_mirror.store import Store

AT_ONCE = 4
FILE_SECONDS = 3600.0


@dataclass(slots=True)
class Share:
    """A project of the list: the files that are wanted of it, those that are not here yet, and what went wrong."""

    project: str
    wanted: list[File] = field(default_factory=list)
    missing: list[File] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    fetched: int = 0

    def row(self) -> dict[str, Any]:
        """It as the API tells it."""
        return {
            "project": self.project,
            "files": len(self.wanted),
            "fetched": self.fetched,
            "bytes": sum(file.size or 0 for file in self.wanted),
            "failed": self.failed,
        }


def lines_of(text: str, out: Output) -> dict[str, list[Line]]:
    """The lines of a list, by project; without those whose marker does not hold for this machine's Python.

    Raises ``build/bad-requirements``, ``build/unsupported-requirement``.
    """
    found: dict[str, list[Line]] = {}
    for line in requirements_of(text, "the list"):
        marker = Requirement(line.text).marker
        if line.source is not None:
            out.warn(f"{line.name} comes from an address, not from the index: it is left out")
        elif marker is not None and not marker.evaluate():
            out.detail(f"{line.name} is not for this machine ({marker}): it is left out")
        else:
            found.setdefault(project_name(line.name), []).append(line)
    return found


def choose(files: list[File], lines: list[Line], wanted: Wanted) -> list[File]:
    """The files of a project that one of the lines names."""
    chosen = {file for line in lines for file in wanted.choose(files, Requirement(line.text).specifier, line.hashes)}
    return [file for file in files if file in chosen]


def sync(context: Context, text: str, wanted: Wanted, out: Output, *, dry: bool) -> dict[str, Any]:
    """Have all files here that the index shows of the projects in the list, as far as they are wanted.

    What is here is not fetched again, so that who is interrupted begins anew where it ended. Failures of single files
    stand in the answer: ``{"projects": [...], "failed": number}``.
    """
    store, door = Store(context.home), context.home.socket("mirror")
    shares = []
    for name, lines in sorted(lines_of(text, out).items()):
        out.check()
        shares.append(_share(store, door, name, lines, wanted, out))
    every, missing = sum(len(share.wanted) for share in shares), sum(len(share.missing) for share in shares)
    size = sum(file.size or 0 for share in shares for file in share.missing)
    out.step(f"{every} files are wanted, {missing} of them are not here: {size / 1e6:.1f} MB")
    if not dry:
        require_room(context.home.mirror, "fetching them", size, missing)
        for share in shares:
            _fetch(door, share, out)
    failed = sum(len(share.failed) for share in shares)
    out.done(f"{sum(share.fetched for share in shares)} files were fetched, {failed} things failed")
    rows = [share.row() for share in shares]
    return {"projects": rows, "missing": missing, "missing_bytes": size, "failed": failed}


def _share(store: Store, door: Path, name: str, lines: list[Line], wanted: Wanted, out: Output) -> Share:
    share = Share(name)
    try:
        share.wanted = choose(_shown(door, name), lines, wanted)
    except DaeError as error:
        share.failed.append(error.line())
    else:
        share.missing = [f for f in share.wanted if not store.file_path(f.sha256, f.filename).is_file()]
        if not share.wanted:
            share.failed.append(f"the index shows no file of {name} that is wanted")
    for words in share.failed:
        out.warn(words)
    return share


def _fetch(door: Path, share: Share, out: Output) -> None:
    def fetch(file: File) -> str:
        try:
            have(door, _address(file), FILE_SECONDS)
        except DaeError as error:
            return f"{file.filename}: {error.line()}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        todo = iter(share.missing)
        while files := [file for file, _ in zip(todo, range(AT_ONCE), strict=False)]:
            out.check()
            for file, words in zip(files, pool.map(fetch, files), strict=True):
                if words:
                    share.failed.append(words)
                    out.warn(words)
                else:
                    share.fetched += 1
                    out.detail(file.filename)


def _shown(door: Path, name: str) -> list[File]:
    """The files that the index's page of the project shows."""
    page = answer(door, "GET", f"/pypi/simple/{name}/")
    return [
        File(
            entry["filename"],
            entry["hashes"]["sha256"],
            size=entry.get("size"),
            requires_python=entry.get("requires-python"),
            yanked=entry.get("yanked", False),
        )
        for entry in page["files"]
    ]


def _address(file: File) -> str:
    return f"/pypi/files/{file_path(file.sha256, quote(file.filename))}"


def warm(context: Context, text: str, out: Output) -> dict[str, Any]:
    """Have the files of a requirements file here: with hashes those, else what fits this machine's own Python."""
    lines = requirements_of(text, "the requirements file")
    fetched: list[str] = []
    failed: list[str] = []
    for line in lines:
        out.check()
        try:
            fetched += _warmed(context.home.socket("mirror"), line, out)
        except DaeError as error:
            failed.append(line.name)
            out.warn(f"{line.name}: {error.cause}")
    if failed:
        cause = f"{len(fetched)} files are here, and nothing of {', '.join(failed[:10])}"
        raise DaeError("mirror/unavailable", cause, "see above; try again, or correct the file")
    out.done(f"{len(fetched)} files are here")
    return {"files": fetched}


def _warmed(door: Path, line: Line, out: Output) -> Iterator[str]:
    if line.source is not None:
        raise DaeError("input/invalid", "it comes from an address, not from the index", "leave it out")
    files = _shown(door, project_name(line.name))
    chosen = _by_hash(files, line) if line.hashes else _fitting(files, Requirement(line.text).specifier)
    if not chosen:
        raise DaeError("mirror/unknown-file", "the index shows no file that fits", "see: dae mirror search")
    for file in chosen:
        have(door, _address(file), FILE_SECONDS)
        out.detail(file.filename)
        yield file.filename


def _by_hash(files: list[File], line: Line) -> list[File]:
    """Of the files that a lock names those that this machine would take; all of them when it would take none."""
    named = [file for file in files if f"sha256:{file.sha256}" in line.hashes]
    return _fitting(named, SpecifierSet()) or named


def _fitting(files: list[File], wanted: SpecifierSet) -> list[File]:
    """The file of the newest version that this machine's Python would take: a wheel if there is one."""
    rank = {tag: number for number, tag in enumerate(sys_tags())}
    python = ".".join(map(str, sys.version_info[:3]))
    best: tuple[tuple[bool, Version, int], File] | None = None
    for file in files:
        text = version_of(file.filename)
        if text is None or file.yanked is not False or not _for_python(file.requires_python, python):
            continue
        version, score = Version(text), _rank(file.filename, rank)
        if score is None or not wanted.contains(version, prereleases=True):
            continue
        key = not version.is_prerelease, version, -score
        if best is None or key > best[0]:
            best = key, file
    return [best[1]] if best else []


def _for_python(requires: str | None, python: str) -> bool:
    try:
        return not requires or SpecifierSet(requires).contains(python)
    except ValueError:
        return True


def _rank(filename: str, rank: dict[Any, int]) -> int | None:
    if not filename.endswith(".whl"):
        return len(rank)
    try:
        return min((rank[tag] for tag in parse_wheel_filename(filename)[3] if tag in rank), default=None)
    except InvalidWheelFilename:
        return None
