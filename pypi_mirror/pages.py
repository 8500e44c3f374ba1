"""Pages of the index, rendered, and the choice of a format (RFC 9110, 12.5.1).

PEP 503, 592, 629, 658, 691, 700, 708, 714, 740 and 792; docs/mirror.md says what of each.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from urllib.parse import quote

from pypi_mirror.model import ACTIVE, File, Project

GZIP_LEVEL = 4  # of a page of 2 MB: 20 ms instead of 60 for 6, and 10 % larger
API_VERSION = "1.1"  # of the list of projects, and of a page that holds nothing newer
NOTES = 200  # lines that a page says of what it hides


class Format(Enum):
    """A format that pages are rendered in; its value is the name of the page's file."""

    HTML = "index.html"
    JSON = "index.json"


#: The content types that can be asked for, and what each is served as. The first is for those who take anything.
CONTENT_TYPES: Mapping[str, tuple[Format, str]] = {
    "text/html": (Format.HTML, "text/html; charset=utf-8"),
    "application/vnd.pypi.simple.v1+json": (Format.JSON, "application/vnd.pypi.simple.v1+json"),
    "application/vnd.pypi.simple.latest+json": (Format.JSON, "application/vnd.pypi.simple.v1+json"),
    "application/vnd.pypi.simple.v1+html": (Format.HTML, "application/vnd.pypi.simple.v1+html; charset=utf-8"),
    "application/vnd.pypi.simple.latest+html": (Format.HTML, "application/vnd.pypi.simple.v1+html; charset=utf-8"),
}


def file_path(sha256: str, filename: str) -> str:
    """Where a file is below ``files``: in the address and on the disk."""
    return f"{sha256[:2]}/{sha256}/{filename}"


def stamp(body: bytes) -> int:
    """The mtime (ns) that a page's file gets: 33 bits of its content, as whole seconds, which file systems keep."""
    return (int.from_bytes(hashlib.sha256(body).digest()[:5], "big") >> 7) * 10**9


def etag(mtime: float, size: int) -> str:
    """The strong entity tag of a page's file, as nginx writes it (ngx_http_set_etag)."""
    return f'"{int(mtime):x}-{size:x}"'


def render(project: Project, metadata: Mapping[str, str], notes: Sequence[str] = ()) -> dict[Format, bytes]:
    """The project's page in every format.

    ``metadata`` maps a file's sha256 to the sha256 of its metadata, for the files that have theirs at hand. ``notes``:
    what a person is told of files that are not shown.
    """
    return {Format.HTML: _html(project, metadata, notes), Format.JSON: _json(project, metadata)}


def api_version(project: Project) -> str:
    """The version of the API that first had all that the project's page holds."""
    if project.status != ACTIVE or project.status_reason:
        return "1.4"  # PEP 792
    if any(file.provenance for file in project.offered):
        return "1.3"  # PEP 740
    return "1.2" if project.tracks or project.alternate_locations else API_VERSION  # PEP 708


def with_twins(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files by name, each with its compressed twin."""
    return dict(files) | {f"{name}.gz": gzip.compress(body, GZIP_LEVEL, mtime=0) for name, body in files.items()}


def render_list(names: Iterable[str]) -> dict[Format, bytes]:
    """The list of projects in every format."""
    names = sorted(names)
    links = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in names)
    data = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    body = json.dumps(data, separators=(",", ":")).encode()
    return {Format.HTML: _document("Simple index", [("repository-version", API_VERSION)], links), Format.JSON: body}


def choose(accept: str | None) -> tuple[Format, str] | None:
    """The format and content type to answer an Accept header with; None when nothing acceptable can be served.

    Of equally welcome types one that is named beats one that a wildcard lets in; of named ones JSON says most, and
    text/html is the last resort; a client that takes anything gets that, as it always did.
    """
    if accept is None or not accept.strip():
        return CONTENT_TYPES["text/html"]
    ranges = [parsed for part in accept.split(",")[:50] if (parsed := _media_range(part))]
    best: tuple[tuple[float, int, int], tuple[Format, str]] | None = None
    for kind, served in CONTENT_TYPES.items():
        quality, precision = _quality(kind, ranges)
        expressive = 2 if served[0] is Format.JSON else int(kind != "text/html")
        score = (quality, precision, expressive if precision == 2 else 0)
        if quality > 0 and (best is None or score > best[0]):
            best = score, served
    return best[1] if best else None


def _quality(kind: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """How welcome ``kind`` is: the quality that its most precise range gives it, and that precision (0 to 2)."""
    found = (0.0, -1)
    for pattern, quality in ranges:
        for precision, candidate in enumerate(("*/*", kind.split("/")[0] + "/*", kind)):
            if pattern == candidate and precision > found[1]:
                found = (quality, precision)
    return found


def _media_range(text: str) -> tuple[str, float] | None:
    pattern, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
    return (pattern, quality) if 0 <= quality <= 1 else None


def _html(project: Project, metadata: Mapping[str, str], notes: Sequence[str]) -> bytes:
    said = [("repository-version", api_version(project))]
    if project.status != ACTIVE:
        said.append(("project-status", project.status))
    if project.status_reason:
        said.append(("project-status-reason", project.status_reason))
    said += [("tracks", url) for url in project.tracks]
    said += [("alternate-locations", url) for url in project.alternate_locations]
    links = "".join(_link(file, metadata) for file in project.offered)
    words = "".join(f"<p>{escape(note)}</p>\n" for note in notes[:NOTES])
    more = f"<p>... and {len(notes) - NOTES} more</p>\n" if len(notes) > NOTES else ""
    return _document(f"Links for {project.name}", said, links + words + more)


def _document(title: str, said: Iterable[tuple[str, str]], links: str) -> bytes:
    meta = "".join(f'<meta name="pypi:{name}" content="{escape(content)}">\n' for name, content in said)
    text = (
        f'<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n{meta}'
        f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n{links}</body>\n</html>\n"
    )
    return text.encode("ascii", "xmlcharrefreplace")  # upstream's words may hold what UTF-8 cannot


def _link(file: File, metadata: Mapping[str, str]) -> str:
    attributes = [f'href="{_address(file)}#sha256={file.sha256}"']
    if file.requires_python:
        attributes.append(f'data-requires-python="{escape(file.requires_python)}"')
    if file.yanked is not False:
        attributes.append(f'data-yanked="{escape(file.yanked) if isinstance(file.yanked, str) else ""}"')
    if file.sha256 in metadata:
        # PEP 714's name only: pip 23.0 refuses a wheel whose page uses PEP 658's.
        attributes.append(f'data-core-metadata="sha256={metadata[file.sha256]}"')
    if file.provenance:
        attributes.append(f'data-provenance="{escape(file.provenance)}"')
    if file.signed is False:
        attributes.append('data-gpg-sig="false"')
    return f"<a {' '.join(attributes)}>{escape(file.filename)}</a><br>\n"


def _address(file: File) -> str:
    return f"../../files/{file_path(file.sha256, quote(file.filename))}"


def _json(project: Project, metadata: Mapping[str, str]) -> bytes:
    # PEP 700 makes size mandatory from 1.1 on; an HTML upstream does not tell it.
    version = api_version(project) if all(file.size is not None for file in project.offered) else "1.0"
    data: dict[str, object] = {
        "meta": {"api-version": version} | ({"tracks": project.tracks} if project.tracks else {}),
        "name": project.name,
        "versions": project.versions,
        "files": [_entry(file, metadata) for file in project.offered],
    }
    if project.status != ACTIVE or project.status_reason:
        reason = {"reason": project.status_reason} if project.status_reason else {}
        data["project-status"] = {"status": project.status} | reason
    if project.alternate_locations:
        data["alternate-locations"] = project.alternate_locations
    return json.dumps(data, separators=(",", ":")).encode()


def _entry(file: File, metadata: Mapping[str, str]) -> dict[str, object]:
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": _address(file),
        "hashes": {"sha256": file.sha256},
        "yanked": file.yanked,
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if file.size is not None:
        entry["size"] = file.size
    if file.upload_time:
        entry["upload-time"] = file.upload_time
    if file.sha256 in metadata:
        entry["core-metadata"] = {"sha256": metadata[file.sha256]}
    if file.provenance:
        entry["provenance"] = file.provenance
    if file.signed is False:
        entry["gpg-sig"] = False  # never true: a signature "MUST live alongside that file", and none does here
    return entry
