"""Pages of the index, rendered (PEP 503, 592, 629, 691, 700, 714), and the choice of a format (RFC 9110, 12.5.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from urllib.parse import quote

from pypi_mirror.model import File, Project

API_VERSION = "1.1"
NOTES = 200


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


def render_list(names: Iterable[str]) -> dict[Format, bytes]:
    """The list of projects in every format."""
    names = sorted(names)
    links = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in names)
    data = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    return {Format.HTML: _document("Simple index", links), Format.JSON: json.dumps(data).encode()}


def choose(accept: str | None) -> tuple[Format, str] | None:
    """The format and content type to answer an Accept header with; None when nothing acceptable can be served.

    Of equally welcome types one that is named beats one that a wildcard lets in; of two named ones JSON says more;
    a client that takes anything gets HTML, as it always did.
    """
    if accept is None or not accept.strip():
        return CONTENT_TYPES["text/html"]
    ranges = [parsed for part in accept.split(",")[:50] if (parsed := _media_range(part))]
    best: tuple[tuple[float, int, bool], tuple[Format, str]] | None = None
    for kind, served in CONTENT_TYPES.items():
        quality, precision = _quality(kind, ranges)
        score = (quality, precision, served[0] is Format.JSON and precision == 2)
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
    links = "".join(_link(file, metadata) for file in project.files)
    words = "".join(f"<p>{escape(note)}</p>\n" for note in notes[:NOTES])
    more = f"<p>... and {len(notes) - NOTES} more</p>\n" if len(notes) > NOTES else ""
    return _document(f"Links for {project.name}", links + words + more)


def _document(title: str, links: str) -> bytes:
    text = (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta charset="utf-8"><meta name="pypi:repository-version" content="{API_VERSION}">\n'
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
    return f"<a {' '.join(attributes)}>{escape(file.filename)}</a><br>\n"


def _address(file: File) -> str:
    return f"../../files/{file_path(file.sha256, quote(file.filename))}"


def _json(project: Project, metadata: Mapping[str, str]) -> bytes:
    # PEP 700 makes size mandatory from 1.1 on; an HTML upstream does not tell it.
    version = API_VERSION if all(file.size is not None for file in project.files) else "1.0"
    data = {
        "meta": {"api-version": version},
        "name": project.name,
        "versions": list(project.versions),
        "files": [_entry(file, metadata) for file in project.files],
    }
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
    return entry
