"""What an archive of a slug says of itself, in one signed document: the manifest, the lock, and every file by name.

It is read from elsewhere: what is not exactly as :func:`Bundle.to_bytes` would have written it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from core.documents import read_exactly
from core.errors import DaeError
from core.layout import is_foreign
from core.nouns import APP_NAME, COMMIT, DIGEST, Slug, canonical_json
from slugs.layers import Content, File
from slugs.packages import Origin

FORMAT = 1
FILES_CAP = 500_000
UNPACKED_BYTES = 16 << 30  # of all layers together, as for the packages of a build
FILE_BYTES = 4 << 30  # a tar header without extensions can say 8 GiB
_PATH_BYTES, _NAME_BYTES = 1024, 255
_GOAL_BYTES = 2048  # as of a commit's links (receiver.tree)


def bad_archive(cause: str) -> DaeError:
    """The error of an archive that is not one of ours, or not whole."""
    return DaeError("slug/bad-archive", cause, "nothing was changed; export it again and copy the file anew")


@dataclass(frozen=True, slots=True)
class Packed:
    """A package on its way: what it was installed from, and its files."""

    origin: Origin
    content: Content


@dataclass(frozen=True, slots=True)
class Bundle:
    """The document: the ``app`` it was exported from, the slug, its environment and its code.

    ``packages`` are in the order in which the environment is made of them, without the empty environment, which every
    machine makes itself. ``bill``: the bill of materials, for whoever reads the archive; nothing here relies on it.
    """

    app: str
    slug: Slug
    lock: str
    bill: Mapping[str, Any]
    packages: tuple[Packed, ...]
    code: Content

    def to_bytes(self) -> bytes:
        """Canonical JSON: the same slug gives the same bytes."""
        return canonical_json(
            {
                "format": FORMAT,
                "app": self.app,
                "digest": self.slug.digest,
                "slug": self.slug.to_json(),
                "lock": self.lock,
                "bill": dict(self.bill),
                "packages": [{"origin": asdict(p.origin), **p.content.to_json()} for p in self.packages],
                "code": self.code.to_json(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """The inverse of :meth:`to_bytes`; raises ``slug/bad-archive`` for anything that it would not write."""
        return read_exactly(data, FORMAT, cls._made, bad_archive)

    @classmethod
    def _made(cls, facts: Mapping[str, Any]) -> Bundle:
        bundle = cls(
            app=str(facts["app"]),
            slug=Slug.from_json(facts["slug"]),
            lock=str(facts["lock"]),
            bill=dict(facts["bill"]),
            packages=tuple(Packed(_origin(p["origin"]), Content.from_json(p)) for p in facts["packages"]),
            code=Content.from_json(facts["code"]),
        )
        bundle._check()
        return bundle

    @property
    def contents(self) -> tuple[Content, ...]:
        return (*(package.content for package in self.packages), self.code)

    @property
    def files(self) -> dict[str, int]:
        """The distinct files by sha256, with their sizes, in the order in which they travel."""
        return {file.sha256: file.size for content in self.contents for file in content.files}

    def _check(self) -> None:
        slug = self.slug
        names = (
            APP_NAME.match(self.app) and COMMIT.match(slug.commit) and COMMIT.match(slug.code),
            DIGEST.match(slug.environment)
            and all(t.isascii() and t.isprintable() for t in (slug.interpreter, slug.buildpack)),
        )
        if not all(names):
            raise ValueError("a name in it cannot be one")
        _check_sizes(file for content in self.contents for file in content.files)
        for content in self.contents:
            _check_paths(content)
        for package in self.packages:
            if package.content.links:
                raise ValueError(f"package {package.origin.filename} has symbolic links")
            for path in package.content.paths:
                if is_foreign(path):
                    raise ValueError(f"package {package.origin.filename} replaces the environment's own {path}")


def _origin(fields: Mapping[str, Any]) -> Origin:
    origin = Origin(**fields)
    texts = all(isinstance(value, str) and value.isprintable() for value in asdict(origin).values())
    if not texts or not DIGEST.match(origin.sha256):
        raise ValueError("a package does not say what it was made of")
    return origin


def _check_sizes(files: Iterable[File]) -> None:
    sizes: dict[str, int] = {}
    total = count = 0
    for count, file in enumerate(files, start=1):
        kinds = (type(file.path), type(file.size), type(file.program))
        if kinds != (str, int, bool) or not DIGEST.match(file.sha256):
            raise ValueError(f"{file.path!a:.80} has no proper name, sha256, size or mode")
        if not 0 <= file.size <= FILE_BYTES or sizes.setdefault(file.sha256, file.size) != file.size:
            raise ValueError(f"{file.path} cannot have {file.size} bytes")
        total += file.size
        if count > FILES_CAP or total > UNPACKED_BYTES:
            raise ValueError(f"it unpacks to more than {FILES_CAP} files or {UNPACKED_BYTES >> 30} GiB")


def _check_paths(content: Content) -> None:
    """Each path names a place of its own inside the tree; where links lead is looked at by whoever unpacks."""
    for paths in ([file.path for file in content.files], [path for path, _goal in content.links]):
        if any(before >= after for before, after in pairwise(paths)):
            raise ValueError("its files are not sorted, or one is there twice")
    paths_ = [*(file.path for file in content.files), *(path for path, _goal in content.links)]
    known, folders = set(paths_), set[str]()
    for path in paths_:
        parts = path.split("/")
        bad = any(part in ("", ".", "..") or len(part.encode()) > _NAME_BYTES for part in parts)
        if bad or len(path.encode()) > _PATH_BYTES or "\0" in path:
            raise ValueError(f"{path[:80]!a} is no path inside a layer")
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    for path, goal in content.links:
        if not 0 < len(goal.encode()) <= _GOAL_BYTES:
            raise ValueError(f"{path[:80]!a} is a link to {len(goal.encode())} bytes")
    if len(known) != len(paths_) or known & folders:
        raise ValueError("a path in it is both a file and something else")
