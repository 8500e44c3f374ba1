"""What an upstream index answers -> Project. An odd file is left out, an odd page is refused."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from core.errors import DaeError
from pypi_mirror.model import SHA256, UPLOAD_TIME, File, Project, is_file_name, normalize, versions_of


def parse_json(body: bytes, name: str, base: str) -> Project:
    """Read a PEP 691 project page (api-version 1.x) of the project ``name`` that was found at the URL ``base``.

    Files without a sha256, with a name that cannot be stored or with an address that is not HTTP are left out.
    Raises ``mirror/bad-upstream`` when it is no such page.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad(name, "not JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("files"), list):
        raise _bad(name, "no list of files")
    meta = data.get("meta")
    if not isinstance(meta, dict) or str(meta.get("api-version", "")).split(".")[0] != "1":
        raise _bad(name, "an api-version that is not 1.x")
    if normalize(str(data.get("name", ""))) != name:
        raise _bad(name, "the page of another project")
    files = _once([file for entry in data["files"] if (file := _json_file(entry, base))])
    versions = data.get("versions")
    if isinstance(versions, list) and all(isinstance(text, str) for text in versions):
        return Project(name, files, tuple(dict.fromkeys(versions)))
    return Project(name, files, versions_of(files))


def parse_html(body: bytes, name: str, base: str) -> Project:
    """Read a PEP 503 project page, with the same care and errors as :func:`parse_json`.

    An HTML page does not say whose it is. One without a single link is accepted only if it says that it is an index
    (PEP 629), since a proxy's login page is HTML too.
    """
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    parser.close()
    files = _once([file for attributes in parser.anchors if (file := _html_file(attributes, base))])
    if not files and not parser.is_index:
        raise _bad(name, "an HTML page that is not an index's")
    return Project(name, files, versions_of(files))


def _bad(name: str, what: str) -> DaeError:
    return DaeError("mirror/bad-upstream", f"upstream answered {what} for {name}", "check the upstream setting")


def _once(files: list[File]) -> tuple[File, ...]:
    """A file name stands for one content: the first that the index names."""
    return tuple({file.filename: file for file in reversed(files)}.values())[::-1]


def _json_file(entry: Any, base: str) -> File | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("hashes"), dict):
        return None
    size = entry.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        return None
    upload_time, requires = entry.get("upload-time"), entry.get("requires-python")
    yanked = entry.get("yanked", False)
    if not isinstance(requires, str | None) or not isinstance(yanked, bool | str):
        return None
    return _file(
        entry.get("filename"),
        entry["hashes"].get("sha256"),
        entry.get("url"),
        base,
        size=size,
        requires_python=requires or None,
        upload_time=upload_time if isinstance(upload_time, str) and UPLOAD_TIME.match(upload_time) else None,
        yanked=yanked,
        core_metadata=_metadata_hash(entry),
    )


def _metadata_hash(entry: dict[str, Any]) -> str | None:
    """The sha256 of the metadata beside a file, by PEP 714's name, else PEP 658's; None when no hash is stated."""
    stated = entry.get("core-metadata", entry.get("dist-info-metadata"))
    sha256 = stated.get("sha256") if isinstance(stated, dict) else None
    return sha256.lower() if isinstance(sha256, str) and SHA256.match(sha256.lower()) else None


def _html_file(attributes: dict[str, str], base: str) -> File | None:
    url, fragment = urldefrag(attributes.get("href", ""))
    algorithm, _, digest = fragment.partition("=")
    if algorithm != "sha256":
        return None
    yanked: bool | str = (attributes["data-yanked"] or True) if "data-yanked" in attributes else False
    requires = attributes.get("data-requires-python") or None
    filename = unquote(url.rsplit("/", 1)[-1].split("?", 1)[0])
    stated = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata", ""))
    metadata = stated.lower().removeprefix("sha256=")
    return _file(
        filename,
        digest,
        url,
        base,
        requires_python=requires,
        yanked=yanked,
        core_metadata=metadata if SHA256.match(metadata) else None,
    )


def _file(filename: Any, sha256: Any, url: Any, base: str, **rest: Any) -> File | None:
    if not (isinstance(filename, str) and isinstance(sha256, str) and isinstance(url, str)):
        return None
    if not is_file_name(filename) or not SHA256.match(sha256.lower()):
        return None
    try:
        address = urljoin(base, url)
        parts = urlsplit(address)
    except ValueError:
        return None
    # A page that came over TLS names no file that does not.
    if parts.scheme not in ("http", "https") or (base.startswith("https:") and parts.scheme != "https"):
        return None
    return File(filename, sha256.lower(), address, **rest) if parts.hostname else None


class _Anchors(HTMLParser):
    """Collects the attributes of every link, and whether the page says that it is an index."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[dict[str, str]] = []
        self.is_index = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        if tag == "a":
            self.anchors.append(attributes)
        elif tag == "meta" and attributes.get("name") == "pypi:repository-version":
            self.is_index = True
