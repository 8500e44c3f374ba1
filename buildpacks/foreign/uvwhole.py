"""What a ``uv.lock`` says of the whole it was made of: the Python, ``[tool.uv]`` of the commit's top, the workspace."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name

from buildpacks.foreign.reading import Node
from buildpacks.foreign.sampled import Sampled, same_pythons
from buildpacks.foreign.uvfresh import Sections, Side, add, changed, compare, when
from buildpacks.project import Project

_LISTS = {
    "constraint-dependencies": "constraints",
    "override-dependencies": "overrides",
    "build-constraint-dependencies": "build-constraints",
}
_OPTIONS = {"resolution": "resolution-mode", "prerelease": "prerelease-mode", "fork-strategy": "fork-strategy"}
_DEFAULTS = {"resolution": "highest", "prerelease": "if-necessary-or-explicit", "fork-strategy": "requires-python"}
#: What a lock says in no other way than the default.
_UNSAID = {"if-necessary": "if-necessary-or-explicit"}
_UNITS = {"h": 3600, "d": 86400, "w": 604800}
_MEMBERS, _PATTERNS = 500, 50


def differences(
    lock: Node, root: Side, projects: Iterable[Node], settings: Node | None, sampled: Sampled
) -> Iterator[str]:
    """What differs; ``projects``: the [project] of each that the lock knows; ``settings``: uv.toml, if there is one."""
    yield from _pythons(lock, projects)
    tool, manifest = root.pyproject.table("tool").table("uv"), lock.table("manifest")
    locked: Sections = {}
    wanted: Sections = {}
    for key, name in _LISTS.items():
        for entry in manifest.tables(name):
            add(locked, key, entry)
        for text in _texts(tool, key):
            root.place(wanted, key, text)
    yield from compare(locked, wanted, sampled)
    excluded = {str(canonicalize_name(name)) for name in _texts(tool, "exclude-dependencies")}
    then = {str(canonicalize_name(name)) for name in _texts(manifest, "excludes")}
    if then - excluded or any(package.name() in excluded - then for package in lock.tables("package")):
        yield from changed("exclude-dependencies", ", ".join(sorted(then)), ", ".join(sorted(excluded)))
    for key, name in (("environments", "supported-markers"), ("required-environments", "required-markers")):
        was, now = _one_or_several(lock, name), _one_or_several(tool, key)
        if bool(was) != bool(now) or not sampled.same([when(text) for text in was], [when(text) for text in now]):
            yield from changed(key, "; ".join(was), "; ".join(now))
    yield from _options(lock.table("options"), settings or tool)  # uv reads those of one of the two


def _pythons(lock: Node, projects: Iterable[Node]) -> Iterator[str]:
    texts = [project.text("requires-python") for project in projects if project.has("requires-python")]
    then = lock.text("requires-python", "")
    if texts and not same_pythons(lock.specifiers(then), lock.specifiers(",".join(texts))):
        yield from changed("requires-python", then, ", ".join(texts))


def _options(options: Node, tool: Node) -> Iterator[str]:
    """Of how it was resolved, which a developer's own configuration may say as well: only what the commit says."""
    for key, name in _OPTIONS.items():
        if tool.has(key):
            then, now = options.text(name, _DEFAULTS[key]), tool.text(key)
            yield from changed(key, then, _UNSAID.get(now, now))
    if tool.has("exclude-newer"):
        then, now = options.text("exclude-newer", ""), tool.text("exclude-newer")
        if not _same_time(then, options.text("exclude-newer-span", ""), now):
            yield from changed("exclude-newer", then, now)


def _same_time(then: str, span: str, now: str) -> bool:
    if span or not re.match(r"[0-9]{4}-", now):
        one, other = _seconds(span), _seconds(now)
        return not other or (bool(span) and (not one or one == other))
    try:
        locked, wanted = datetime.datetime.fromisoformat(then), datetime.datetime.fromisoformat(now)
    except ValueError:
        return then == now
    apart = locked.replace(tzinfo=locked.tzinfo or datetime.UTC) - wanted.replace(tzinfo=wanted.tzinfo or datetime.UTC)
    # A date is its end, in the time zone of whoever locked.
    day = datetime.timedelta(days=1) if len(now) == len("2030-01-01") else datetime.timedelta()
    return abs(apart - day) <= (datetime.timedelta(hours=14) if day else datetime.timedelta(seconds=1))


def _seconds(text: str) -> int:
    """Of ``P7D``, ``PT24H``, ``1 week``; 0 for what says it in another way."""
    found = re.fullmatch(r"P?T?([0-9]{1,6}) ?([hdw])[a-z]*", text.strip(), re.IGNORECASE)
    return int(found[1]) * _UNITS[found[2].lower()] if found else 0


def members(source: Path, top: Node, known: Iterable[str]) -> Iterator[str]:
    """The projects of the workspace that a lock does not know; ``known``: the folders that it does."""
    workspace = top.table("tool").table("uv").table("workspace")
    there, without = set(known), [str(PurePosixPath(text)) for text in workspace.texts("exclude")[:_PATTERNS]]
    for pattern in workspace.texts("members")[:_PATTERNS]:
        pure = PurePosixPath(pattern)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or pure.parts.count("**") > 1:
            continue  # of several '**' each looks at all that the others do
        for folder in islice(source.glob(str(pure)), _MEMBERS):
            name = folder.relative_to(source).as_posix()
            if name in there or name == "." or not (folder / top.file).is_file():
                continue
            if not any(fnmatchcase(name, one) for one in without) and _is_managed(source, name):
                yield f"workspace: it knows no {ascii(name)[1:-1][:80]}, which is a member now"


def _is_managed(source: Path, folder: str) -> bool:
    """Whether uv takes the project in ``folder`` for one of its own."""
    return Project.load(source, folder).tool("uv").get("managed") is not False


def _texts(node: Node, key: str) -> tuple[str, ...]:
    """The texts of a list that may hold tables as well; those say more than is compared here."""
    value = node.data.get(key, [])
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else node.texts(key)


def _one_or_several(node: Node, key: str) -> tuple[str, ...]:
    return (node.text(key),) if isinstance(node.data.get(key), str) else node.texts(key)
