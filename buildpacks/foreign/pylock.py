"""``pylock.toml`` (PEP 751), whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from packaging.markers import Environment
from packaging.pylock import PackageArchive, PackageDirectory, PackageVcs, Pylock
from packaging.requirements import Requirement
from packaging.tags import parse_tag
from packaging.utils import canonicalize_name

from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock, check_covers, toml
from buildpacks.locks import Pins
from buildpacks.policy import Policy, not_from_index

FILE = "pylock.toml"
COMMAND = "uv export --no-dev --format pylock.toml -o pylock.toml"


@dataclass(frozen=True, slots=True)
class PyLock:
    """A lock, and what pyproject.toml requires (empty: nothing to compare with)."""

    lock: Pylock
    required: tuple[Requirement, ...]
    policy: Policy
    filename: str = FILE
    python_from: str = FILE
    exact_python: str = ""
    folders: tuple[str, ...] = ()

    @property
    def requires_python(self) -> str:
        return str(self.lock.requires_python or "")

    def groups(self) -> tuple[str, ...]:
        """See :class:`buildpacks.foreign.ForeignLock`."""
        return tuple(str(canonicalize_name(name)) for name in self.lock.dependency_groups or ())

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        node, found = Node(FILE, {}), Pins()
        tags = [tag for text in facts.tags for tag in parse_tag(text)]
        try:
            environment, groups = cast(Environment, dict(facts.markers)), [group] if group else None
            selected = list(self.lock.select(environment=environment, tags=tags, dependency_groups=groups))
        except Exception as error:  # noqa: BLE001 - the library's own, and whatever its markers and versions raise
            raise bad_lock(FILE, f"it does not serve this Python: {str(error)[:200]!a}") from None
        for package, source in selected:
            where = f"{FILE}: {package.name}"
            if isinstance(source, PackageDirectory) and source.path.rstrip("/") in (".", ""):
                continue  # the project itself
            if isinstance(source, (PackageVcs, PackageArchive)) and source.url:
                version = str(package.version or "")
                hashes = [f"{kind}:{value}" for kind, value in getattr(source, "hashes", {}).items()]
                found[node.as_name(package.name)] = node.direct(self.policy, where, _address(source), version, hashes)
                continue
            if package.is_direct or package.version is None:
                raise not_from_index(where, type(source).__name__.removeprefix("Package").lower())
            if package.index:
                self.policy.check_index(package.index, where)
            hashes = [f"sha256:{wheel.hashes.get('sha256')}" for wheel in package.wheels or ()]
            hashes += [f"sha256:{package.sdist.hashes.get('sha256')}"] if package.sdist else []
            found[node.as_name(package.name)] = node.pin(package.name, str(package.version), hashes)
        if not group:
            check_covers(FILE, COMMAND, self.required, found, facts.markers)
        return found


def _address(source: PackageVcs | PackageArchive) -> str:
    """In pip's spelling; of version control only git has an address that is fetched."""
    folder = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
    if isinstance(source, PackageVcs):
        return f"{source.type}+{source.url}@{source.commit_id}{folder}"
    return f"{source.url}{folder}"


def read(text: str, required: tuple[Requirement, ...], policy: Policy) -> PyLock:
    """The lock in ``text``; raises ``build/bad-lock``."""
    data: dict[str, Any] = dict(toml(text, FILE).data)
    try:
        return PyLock(Pylock.from_dict(data), required, policy)
    except Exception as error:  # noqa: BLE001 - the library's own, and whatever data that it did not expect raises
        raise bad_lock(FILE, f"{str(error)[:200]!a}") from None
