"""Tables of managers that take what a project requires from elsewhere than the index, or in other versions.

They count together with that manager's lock, which says what came of them. Where there is none the requirements alone
would be resolved, and the index be asked for a package of that name, whoever uploaded it: that is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from buildpacks.foreign import uv
from buildpacks.foreign.reading import toml
from buildpacks.policy import Policy
from buildpacks.project import PYPROJECT, Project
from buildpacks.requirements import Line
from buildpacks.sources import read_text
from core.errors import DaeError

Table = Mapping[str, Any]

_CODE = "build/unsupported-manifest"
_UV_LISTS = ("constraint-dependencies", "override-dependencies", "exclude-dependencies")
_UV_INDEXES = ("index-url", "extra-index-url", "find-links")
#: How uv chooses among versions; nothing else knows of it.
_UV_CHOICES = ("exclude-newer", "exclude-newer-package", "resolution", "prerelease")
_PLACES = ("git", "path", "url", "file", "workspace")


def check(source: Path, project: Project, lines: Iterable[Line], policy: Policy, by: str = PYPROJECT) -> None:
    """Refuse ``lines``, which the ``project`` in the folder ``source`` requires, when its tables redirect one of them.

    ``by``: the file that counts, in place of a lock. An index is none when the mirror stands for it. Raises
    ``build/unsupported-manifest``, ``build/unsupported-requirement`` (an index elsewhere), and ``build/bad-lock`` for a
    uv.toml that cannot be read.
    """
    names = {line.name for line in lines}
    if not names:
        return
    instead = f", and: git rm {by}" if by != PYPROJECT else ""
    for found, lock, command in (
        (_uv(source, project, names, policy), "uv.lock", f"run 'uv lock', and commit uv.lock{instead}"),
        (_poetry(project, names, policy), "poetry.lock", f"run 'poetry lock', and commit poetry.lock{instead}"),
        (_pdm(project, policy), "lock that is read here", "pdm export --prod -o pip-req.txt"),
    ):
        for what in found:
            raise DaeError(_CODE, f"{ascii(what)[1:-1]}, and there is no {lock}", command)


def notes(source: Path, project: Project) -> tuple[str, ...]:
    """What uv would mind beside that, a line for each place."""
    found = ((where, [key for key in _UV_CHOICES if key in table]) for where, table in _uv_tables(source, project))
    return tuple(
        f"{where}: {' and '.join(keys)} {'counts' if len(keys) == 1 else 'count'} with a uv.lock only; there is none"
        for where, keys in found
        if keys
    )


def notes_beside(source: Path, project: Project, policy: Policy, by: str) -> tuple[str, ...]:
    """A line for each place with an index elsewhere, which ``uv pip`` would ask for the requirements in ``by``."""
    told = dict[str, str]()
    for url, where in _uv_indexes(tuple(_uv_tables(source, project))):
        try:
            policy.check_index(url, where)
        except DaeError as error:
            told[where] = f"{error.cause}: what {by} requires comes from the internal index alone"
    return tuple(told.values())


def _uv_tables(source: Path, project: Project) -> Iterator[tuple[str, Table]]:
    yield f"[tool.uv] of {PYPROJECT}", project.tool("uv")
    text = read_text(source, uv.SETTINGS, uv.SETTINGS_CAP, "build/bad-lock")
    if text is not None:
        yield uv.SETTINGS, toml(text, uv.SETTINGS).data


def _uv(source: Path, project: Project, names: Collection[str], policy: Policy) -> Iterator[str]:
    tables = tuple(_uv_tables(source, project))
    for url, where in _uv_indexes(tables):
        policy.check_index(url, where)
    for where, table in tables:
        yield from (f"{where} has {key}" for key in _UV_LISTS if table.get(key))
    indexes = {
        str(index.get("name")): (index, where) for where, table in tables for index in _tables(table.get("index"))
    }
    for name, said in _named(project.tool("uv").get("sources"), names):
        if place := _place(said):
            yield f"[tool.uv.sources] of {PYPROJECT} takes {name} from {place}"
        elif str(said.get("index")) in indexes:
            index, where = indexes[str(said["index"])]
            policy.check_index(str(index.get("url")), f"{where}, {name}")
        elif "index" in said:
            yield f"[tool.uv.sources] of {PYPROJECT} takes {name} from an index that nothing describes"


def _uv_indexes(tables: Iterable[tuple[str, Table]]) -> Iterator[tuple[str, str]]:
    """The address of each index that is asked for everything, and where that is said."""
    for where, table in tables:
        yield from (
            (str(index.get("url")), where) for index in _tables(table.get("index")) if not index.get("explicit")
        )
        for options, place in ((table, where), (_table(table.get("pip")), where.replace("uv]", "uv.pip]"))):
            for key in _UV_INDEXES:
                yield from ((str(url), f"{place}, {key}") for url in _several(options.get(key)))


def _poetry(project: Project, names: Collection[str], policy: Policy) -> Iterator[str]:
    table = project.tool("poetry")
    sources = {str(source.get("name")): source for source in _tables(table.get("source"))}
    where = f"[[tool.poetry.source]] of {PYPROJECT}"
    for source in sources.values():
        if "url" in source and source.get("priority") != "explicit":
            policy.check_index(str(source["url"]), where)
    for name, said in _named(table.get("dependencies"), names):
        if place := _place(said):
            yield f"[tool.poetry.dependencies] of {PYPROJECT} takes {name} from {place}"
        elif "url" in (source := sources.get(str(said.get("source")), {})):
            policy.check_index(str(source["url"]), f"{where}, {name}")


def _pdm(project: Project, policy: Policy) -> Iterator[str]:
    for tool, key in (("pdm", "source"), ("rye", "sources")):
        for source in _tables(project.tool(tool).get(key)):
            policy.check_index(str(source.get("url")), f"[[tool.{tool}.{key}]] of {PYPROJECT}")
    if _table(project.tool("pdm").get("resolution")).get("overrides"):
        yield f"[tool.pdm.resolution.overrides] of {PYPROJECT} names other versions"


def _named(found: object, names: Collection[str]) -> Iterator[tuple[str, Table]]:
    """Each table that ``found`` has of one of the projects ``names``, with that name."""
    for key, value in _table(found).items():
        if (name := str(canonicalize_name(key))) in names:
            yield from ((name, said) for said in _tables(_several(value)))


def _place(said: Table) -> str:
    """Where a table of a manager takes a project from; empty for an index."""
    return next(
        (f"{key} {str(said[key])[:100]}" if key != "workspace" else key for key in _PLACES if said.get(key)), ""
    )


def _several(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _tables(value: object) -> list[Table]:
    return [one for one in _several(value) if isinstance(one, dict)]


def _table(value: object) -> Table:
    return value if isinstance(value, dict) else {}
