"""What travels from one index to another, as a document: projects, as far as their files travel with them.

It is read from elsewhere: what is not exactly as :func:`Bundle.to_bytes` would have written it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from core.documents import read_exactly
from core.errors import DaeError
from core.nouns import canonical_json
from pypi_mirror.model import UPLOAD_TIME, File, Project, possible_projects, versions_of

FORMAT = 1
FILES_CAP = 200_000
FILE_BYTES = (8 << 30) - 1  # what a tar header without extensions can say
TEXT_CAP = 4000
#: Where a file is that came with a bundle: upstream's own page says it, once that is asked.
ELSEWHERE = "unknown:"


def bad_archive(cause: str) -> DaeError:
    """The error of a file that is no bundle, or not whole."""
    return DaeError("mirror/bad-archive", cause, "nothing was changed; export it again and copy the file anew")


@dataclass(frozen=True, slots=True)
class Bundle:
    """``upstream``: projects from upstream; ``private``: projects of one's own. Each in the order of their names."""

    upstream: tuple[Project, ...] = ()
    private: tuple[Project, ...] = ()

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same projects give the same bytes."""
        kinds = {"upstream": self.upstream, "private": self.private}
        return canonical_json(
            {"format": FORMAT, **{kind: [asdict(project) for project in found] for kind, found in kinds.items()}}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """The inverse of :meth:`to_bytes`; raises ``mirror/bad-archive`` for anything that it would not write."""
        return read_exactly(data, FORMAT, cls._made, bad_archive)

    @classmethod
    def _made(cls, facts: Mapping[str, Any]) -> Bundle:
        bundle = cls(*(tuple(_project(entry) for entry in facts[kind]) for kind in ("upstream", "private")))
        bundle._check()
        return bundle

    @property
    def files(self) -> dict[str, int]:
        """The distinct files by sha256, with their sizes, in the order in which they travel."""
        return {file.sha256: file.size or 0 for project in (*self.upstream, *self.private) for file in project.files}

    def of(self, private: frozenset[str] | None) -> Bundle:
        """The bundle with these of its private projects only; None: with all."""
        chosen = self.private if private is None else tuple(p for p in self.private if p.name in private)
        return replace(self, private=chosen)

    def _check(self) -> None:
        sizes: dict[str, int] = {}
        count = 0
        names = [project.name for project in (*self.upstream, *self.private)]
        if len(set(names)) != len(names):
            raise ValueError("a project is there twice")
        for found, url in ((self.upstream, ELSEWHERE), (self.private, "")):
            if any(before.name >= after.name for before, after in pairwise(found)):
                raise ValueError("its projects are not sorted")
            for project in found:
                count += len(project.files)
                _check_project(project, url, sizes)
        if count > FILES_CAP:
            raise ValueError(f"it has more than {FILES_CAP} files")


def travelling(project: Project, files: Mapping[File, int], *, private: bool) -> Project:
    """The project with these of its files only, whose true sizes are given."""
    url = "" if private else ELSEWHERE
    chosen = tuple(
        replace(file, url=url, size=files[file], core_metadata=None) for file in project.files if file in files
    )
    return replace(project, files=chosen, versions=versions_of(chosen))


def _project(entry: Mapping[str, Any]) -> Project:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    fields["files"] = tuple(File(**file) for file in entry["files"])
    return Project(**fields)


def _check_project(project: Project, url: str, sizes: dict[str, int]) -> None:
    texts = (project.status_reason, *project.versions, *project.tracks, *project.alternate_locations)
    if not all(_is_text(text) for text in texts):
        raise ValueError(f"{project.name} says what cannot be said of a project")
    if project.versions != versions_of(project.files):
        raise ValueError(f"{project.name} has other versions than its files")
    if len({file.filename for file in project.files}) != len(project.files):
        raise ValueError(f"{project.name} has a file twice")
    for file in project.files:
        if project.name not in possible_projects(file.filename) or file.url != url or file.core_metadata is not None:
            raise ValueError(f"{file.filename} cannot be a file of {project.name}")
        _check_file(file)
        if sizes.setdefault(file.sha256, file.size or 0) != file.size:
            raise ValueError(f"{file.filename} cannot have {file.size} bytes")


def _check_file(file: File) -> None:
    texts = (file.requires_python, file.provenance, file.upload_time, file.yanked if file.yanked is not True else None)
    good = (
        type(file.size) is int and 0 <= file.size <= FILE_BYTES,
        all(text is None or text is False or _is_text(text) for text in texts),
        file.upload_time is None or UPLOAD_TIME.match(file.upload_time),
        file.provenance is None or file.provenance.startswith("https://"),
        file.signed in (None, True, False),
        file.yanked is not False or type(file.yanked) is bool,
    )
    if not all(good):
        raise ValueError(f"{file.filename} says what cannot be said of a file")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CAP and "\0" not in value
