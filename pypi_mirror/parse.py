"""What an upstream index answers -> Project. An odd field or file is left out, an odd page is refused."""

from __future__ import annotations

import datetime
import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from core.errors import DaeError
from pypi_mirror.model import (
    ACTIVE,
    SHA256,
    STATUS,
    UPLOAD_TIME,
    File,
    Project,
    completed,
    is_file_name,
    normalize,
    versions_of,
)

ADDRESSES = 20  # that a page may name of one kind; more are left out
ADDRESS_LENGTH = 2048
REASON_LENGTH = 1000
#: Hosts that a browser trusts without TLS, too: "a secure origin", in PEP 740's words.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
    known = [text for text in versions if isinstance(text, str)] if isinstance(versions, list) else []
    status = data.get("project-status")
    marker, reason = (status.get("status"), status.get("reason")) if isinstance(status, dict) else (None, None)
    return Project(
        name,
        files,
        completed(known, files),
        *_status(marker, reason),
        _tracks(meta.get("tracks"), name, base),
        _addresses(data.get("alternate-locations"), base),
    )


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
    meta = parser.meta
    return Project(
        name,
        files,
        versions_of(files),
        *_status(*(next(iter(meta.get(f"pypi:project-status{part}", [])), None) for part in ("", "-reason"))),
        _tracks(meta.get("pypi:tracks"), name, base),
        _addresses(meta.get("pypi:alternate-locations"), base),
    )


def _status(marker: Any, reason: Any) -> tuple[str, str]:
    """The project's status and the reason for it (PEP 792); a marker that is no word says nothing."""
    if not isinstance(marker, str) or not STATUS.match(marker):
        return ACTIVE, ""
    return marker, reason[:REASON_LENGTH] if isinstance(reason, str) else ""


def _tracks(named: Any, name: str, base: str) -> tuple[str, ...]:
    """The indexes that own the project's name: those that upstream says it tracks, else upstream itself (PEP 708).

    A mirror has no names of its own, and may not point to another index that only tracks the name, too.
    """
    named_so = [url.rstrip("/") for url in _addresses(named, base)]
    owners = [url + "/" for url in named_so if normalize(urlsplit(url).path.rpartition("/")[2]) == name]
    parts = urlsplit(base)
    own = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return tuple(owners) or (own,)


def _addresses(values: Any, base: str) -> tuple[str, ...]:
    """The HTTP addresses among what should be a list of them, absolute."""
    found = [_address(value, base) for value in values[:ADDRESSES]] if isinstance(values, list) else []
    return tuple(dict.fromkeys(url for url in found if url))


def _address(value: Any, base: str) -> str | None:
    """The absolute HTTP address that ``value`` is; None when it is none, or names a user."""
    if not isinstance(value, str) or not value or len(value) > ADDRESS_LENGTH or not value.isprintable():
        return None
    try:
        url = urljoin(base, value)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        return None
    return url if usable else None


def _provenance(value: Any, base: str) -> str | None:
    """Where the file's attestations are: "a fully qualified URL" of "a secure origin" (PEP 740)."""
    url = _address(value, base)
    if url is None or url != value:
        return None
    return url if url.startswith("https:") or urlsplit(url).hostname in _LOOPBACK else None


def _metadata(claims: Any) -> str | None:
    """What upstream says of the metadata beside a file: its sha256, "" for one without, None when there is none."""
    if isinstance(claims, dict) and isinstance(claims.get("sha256"), str) and SHA256.match(claims["sha256"].lower()):
        return str(claims["sha256"]).lower()
    return "" if claims is True or (isinstance(claims, dict) and claims) else None


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
    requires, yanked, signed = entry.get("requires-python"), entry.get("yanked", False), entry.get("gpg-sig")
    if not isinstance(requires, str | None) or not isinstance(yanked, bool | str):
        return None
    return _file(
        entry.get("filename"),
        entry["hashes"].get("sha256"),
        entry.get("url"),
        base,
        size=size,
        requires_python=requires or None,
        upload_time=_time(entry.get("upload-time")),
        yanked=yanked or False,  # an empty string is as false as false
        core_metadata=_metadata(entry.get("core-metadata", entry.get("dist-info-metadata"))),  # PEP 714's order
        provenance=_provenance(entry.get("provenance"), base),
        signed=signed if isinstance(signed, bool) else None,
    )


def _time(text: Any) -> str | None:
    """The upload time when it is one, to the form and to the calendar (PEP 700)."""
    if not isinstance(text, str) or not UPLOAD_TIME.match(text):
        return None
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def _html_file(attributes: dict[str, str], base: str) -> File | None:
    url, fragment = urldefrag(attributes.get("href", ""))
    algorithm, _, digest = fragment.partition("=")
    if algorithm != "sha256":
        return None
    yanked: bool | str = (attributes["data-yanked"] or True) if "data-yanked" in attributes else False
    requires = attributes.get("data-requires-python") or None
    filename = unquote(url.rsplit("/", 1)[-1].split("?", 1)[0])
    claimed = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata", ""))  # PEP 714's order
    algorithm, _, metadata = claimed.partition("=")
    return _file(
        filename,
        digest,
        url,
        base,
        requires_python=requires,
        yanked=yanked,
        core_metadata=_metadata(claimed == "true" or ({algorithm: metadata} if metadata else None)),
        provenance=_provenance(attributes.get("data-provenance"), base),
        signed={"true": True, "false": False}.get(attributes.get("data-gpg-sig", "")),
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
    """Collects the attributes of every link, and what the page says of itself."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[dict[str, str]] = []
        self.meta: dict[str, list[str]] = {}

    @property
    def is_index(self) -> bool:
        return "pypi:repository-version" in self.meta

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        if tag == "a":
            self.anchors.append(attributes)
        elif tag == "meta" and attributes.get("name", "").startswith("pypi:"):
            self.meta.setdefault(attributes["name"], []).append(attributes.get("content", ""))
