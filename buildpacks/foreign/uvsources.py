"""Where a requirement of a ``uv.lock`` comes from, in one spelling for the lock's words and pyproject.toml's."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from packaging.utils import canonicalize_name

from buildpacks.foreign.reading import Node

_FOLDERS = ("editable", "directory", "virtual", "path")
_REFERENCES = ("rev", "branch", "tag")


@dataclass(frozen=True, slots=True)
class Sources:
    """``named``: the sources of each project; ``indexes``: addresses by name; ``folders``: of the commit's projects."""

    named: Mapping[str, tuple[Node, ...]]
    indexes: Mapping[str, str]
    folders: Mapping[str, str]

    @classmethod
    def of(cls, pyproject: Node, top: Node, settings: Node | None, folders: Mapping[str, str]) -> Sources:
        """Those of a ``pyproject``, which come before those of the commit's ``top`` and its ``settings`` (uv.toml)."""
        named: dict[str, tuple[Node, ...]] = {}
        indexes: dict[str, str] = {}
        tools = [node.table("tool").table("uv") for node in (top, pyproject)]
        for uv in [settings, *tools] if settings else tools:
            table = uv.table("sources")
            for key, value in table.data.items():
                several = table.tables(key) if isinstance(value, list) else (table.table(key),)
                named[str(canonicalize_name(key))] = several
            indexes |= {index.text("name"): index.text("url", "") for index in uv.tables("index") if index.has("name")}
        return cls(named, indexes, folders)

    def place(self, name: str, source: Node) -> str:
        """What ``source`` says of the project ``name``."""
        if source.has("git"):
            said = {key: source.text(key) for key in (*_REFERENCES, "subdirectory") if source.has(key)}
            return _git(source.text("git"), said)
        if source.has("url"):
            return _url(source.text("url"), source.text("subdirectory", ""))
        if source.has("path"):
            return f"the folder {_folder(source.text('path'), source.file)}"
        if source.has("index"):
            return f"the index {_plain(self.indexes.get(source.text('index'), source.text('index')))}"
        return f"the folder {self.folders.get(name, 'of a workspace')}"


def locked(entry: Node) -> str:
    """What an ``entry`` of a lock's list of requirements says; empty for any index."""
    if entry.has("git"):
        url, _, query = entry.text("git").partition("#")[0].partition("?")
        return _git(url, dict(parse_qsl(query)))
    if entry.has("url"):
        return _url(entry.text("url"), entry.text("subdirectory", ""))
    if entry.has("index"):
        return f"the index {_plain(entry.text('index'))}"
    return next((f"the folder {_folder(entry.text(key))}" for key in _FOLDERS if entry.has(key)), "")


def direct(address: str) -> str:
    """What the address in a requirement says."""
    place, _, fragment = address.partition("#")
    folder = dict(parse_qsl(fragment)).get("subdirectory", "")
    if not place.startswith("git+"):
        return _url(place, folder)
    url, at, revision = place.removeprefix("git+").rpartition("@")
    if not at or "/" not in url.partition("://")[2]:  # without a revision: what stood before '@' is the user
        url, revision = place.removeprefix("git+"), ""
    return _git(url, {key: value for key, value in (("rev", revision), ("subdirectory", folder)) if value})


def _git(url: str, said: Mapping[str, str]) -> str:
    more = " ".join(f"{key} {said[key]}" for key in (*_REFERENCES, "subdirectory") if said.get(key))
    return f"{_plain(url).removesuffix('.git')} {more}".rstrip()


def _url(url: str, folder: str) -> str:
    return _plain(url) + (f" subdirectory {folder}" if folder else "")


def _plain(url: str) -> str:
    """An address without credentials, fragment, and slash at the end."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl().rstrip("/")


def _folder(path: str, file: str = "") -> str:
    """The path of a folder from the commit's top; that of a pyproject.toml is from where its ``file`` is."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path.removeprefix("file://")))
