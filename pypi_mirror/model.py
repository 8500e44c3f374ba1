"""Projects and files of an index: frozen, and validated where they are made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from core.errors import DaeError

# PEP 508: "The name ... must consist of ASCII letters, numbers, ., - and _, and start and end with one of the former".
PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
PROJECT_NAME_LENGTH = 128
# What wheels and sdists are called, and nothing that could be a folder, hidden, or somebody's option.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*\Z")
FILE_NAME_LENGTH = 240  # of the 255 that file systems allow; ".metadata" is appended
#: PEP 792, "Project status markers".
STATUSES = ("active", "archived", "quarantined", "deprecated")
#: What sdists are called; installers unpack the odd ones, too, and a rule that knew fewer could be got round by one.
SDIST_ENDINGS = (
    ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.lzma", ".tar.lz", ".tar.zst", ".tar", ".tgz", ".tbz", ".tbz2",
    ".txz", ".tlz",
)  # fmt: skip
METADATA_SUFFIX = ".metadata"  # PEP 658: the metadata of FILE is at FILE.metadata
SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# PEP 700: ISO 8601 in UTC, with at most microseconds.
UPLOAD_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z", re.ASCII)
ACTIVE, QUARANTINED = "active", "quarantined"  # PEP 792; a project "always has exactly one status"
STATUS = re.compile(r"[a-z][a-z-]{0,31}\Z")


def normalize(name: str) -> str:
    """The one spelling of a project's name that addresses use (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project_name(text: str) -> str:
    """Return the normalised name; raises ``mirror/bad-name`` when no project may be called ``text``."""
    if len(text) > PROJECT_NAME_LENGTH or not PROJECT_NAME.match(text):
        shown = ascii(text if len(text) <= 40 else text[:37] + "...")
        raise DaeError(
            "mirror/bad-name", f"{shown} cannot be a project's name", "use letters, digits, '.', '-' and '_'"
        )
    return normalize(text)


def is_file_name(text: str) -> bool:
    """Whether a file of that name may be stored and served."""
    return len(text) <= FILE_NAME_LENGTH and bool(FILE_NAME.match(text)) and not text.endswith(METADATA_SUFFIX)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a project. ``url`` is where upstream has it; empty for a private file, which is always on disk.

    ``size`` is in bytes, None when unknown. ``yanked`` is True or the reason in words (PEP 592). ``core_metadata`` is
    the sha256 of the metadata file that upstream says it has beside the wheel (PEP 658), "" when it has one and does
    not say which. ``provenance`` is the address of the file's attestations (PEP 740). ``signed``: whether upstream has
    a GPG signature of the file, None when it does not say.
    """

    filename: str
    sha256: str
    url: str = ""
    size: int | None = None
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: bool | str = False
    core_metadata: str | None = None
    provenance: str | None = None
    signed: bool | None = None

    def __post_init__(self) -> None:
        if not is_file_name(self.filename):
            raise DaeError("mirror/unknown-file", f"{self.filename[:80]!a} cannot be a file's name")
        if not SHA256.match(self.sha256):
            raise DaeError("mirror/unknown-file", f"{self.sha256[:80]!a} is not a sha256")
        if self.core_metadata and not SHA256.match(self.core_metadata):
            raise DaeError("mirror/unknown-file", f"{self.core_metadata[:80]!a} is not a sha256")

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")


@dataclass(frozen=True, slots=True)
class Project:
    """A project's page as data: the normalised name, its files in the index's order, and its versions.

    ``status`` is PEP 792's, with a reason in words.
    ``tracks``: the addresses of this very project in the indexes that own its name (PEP 708); none for a private one.
    ``alternate_locations``: where its owners say that more of it is.
    """

    name: str
    files: tuple[File, ...] = ()
    versions: tuple[str, ...] = ()
    status: str = ACTIVE
    status_reason: str = ""
    tracks: tuple[str, ...] = ()
    alternate_locations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if project_name(self.name) != self.name:
            raise DaeError("mirror/bad-name", f"{self.name[:40]!a} is not a normalised name")
        if not STATUS.match(self.status):
            raise DaeError("mirror/bad-upstream", f"{self.status[:40]!a} cannot be a project's status")

    @property
    def offered(self) -> tuple[File, ...]:
        """The files that may be downloaded: none of a project in quarantine (PEP 792)."""
        return () if self.status == QUARANTINED else self.files

    def file(self, sha256: str, filename: str) -> File | None:
        """The file of that content and name, if the project has it."""
        return next((file for file in self.files if file.sha256 == sha256 and file.filename == filename), None)


def sdist_stem(filename: str) -> str | None:
    """The name without its ending, of what is called as an sdist is; None for anything else."""
    ending = next((ending for ending in SDIST_ENDINGS if filename.lower().endswith(ending)), None)
    return None if ending is None else filename[: -len(ending)]


def version_of(filename: str, project: str = "") -> str | None:
    """The version that a wheel's or sdist's file name states; None when it states none.

    ``project``: its normalised name, if that is known. Without it ``a-1-2.zip`` is version 2 of ``a-1``; installers,
    who know that they want ``a``, take it for version 1.post2 of that.
    """
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        stem = sdist_stem(filename)
        if stem is None:
            return None
        if project:
            ends = (place for place, letter in enumerate(stem) if letter == "-" and normalize(stem[:place]) == project)
            found = next((stem[place + 1 :] for place in ends), None)
            return None if found is None else str(Version(found))
        return str(parse_sdist_filename(f"{stem}.tar.gz")[1])
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):  # ValueError: more digits than Python reads
        return None


def is_of_version(filename: str, text: str) -> bool:
    """Whether a file of that name is of that version, however it is spelt."""
    try:
        return Version(version_of(filename) or "0") == Version(text)
    except InvalidVersion:
        return False


def completed(versions: Iterable[str], files: Iterable[File]) -> tuple[str, ...]:
    """The versions, normalised where they can be, and those of files that none of them names (PEP 700)."""
    found = dict.fromkeys(_normal_version(text) for text in versions)
    unnamed = [file for file in files if _stated_version(file.filename) not in found]
    return tuple(found | dict.fromkeys(versions_of(unnamed)))


def _normal_version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return text  # of before PEP 440; it "cannot be required to be valid"


def _stated_version(filename: str) -> str:
    """What stands in the version's place: quick, and good enough to know a version again."""
    if filename.endswith(".whl"):
        return "".join(filename.split("-", 2)[1:2])
    return (sdist_stem(filename) or filename).rpartition("-")[2]


def versions_of(files: Iterable[File]) -> tuple[str, ...]:
    """The versions of these files, each once, in the files' order."""
    return tuple(dict.fromkeys(version for file in files if (version := version_of(file.filename))))


def possible_projects(filename: str) -> tuple[str, ...]:
    """The projects that a file of this name can belong to, the likeliest first.

    A wheel's name says it; an sdist's ``a-b-1.0.tar.gz`` may be of ``a-b`` or of ``a``.
    """
    if filename.endswith(".whl"):
        candidates = [filename.split("-", 1)[0]]
    else:
        words = filename.split("-")
        candidates = ["-".join(words[:end]) for end in range(len(words) - 1, 0, -1)]
    return tuple(dict.fromkeys(normalize(text) for text in candidates[:4] if PROJECT_NAME.match(text)))
