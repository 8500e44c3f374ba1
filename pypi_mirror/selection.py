"""Which files of a project are wanted: of some versions or hashes, the newest, of some kinds and platforms (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from pypi_mirror.model import File, version_of

KINDS = ("wheel", "sdist", "other")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of every project. ``newest``: so many versions, 0 for all. Of ``kinds`` and ``platforms`` none
    means all; a platform is a wheel's tag, with * and ?. What runs on ``any`` is of every platform, and so is an sdist.
    """

    newest: int = 0
    kinds: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()

    def choose(
        self, files: Iterable[File], specifier: SpecifierSet | None = None, hashes: Sequence[str] = ()
    ) -> list[File]:
        """The wanted files, in their order; of those that ``hashes`` (``sha256:...``) name, if any, and no others.

        A file whose name says no version is of every project that is wanted whole, and of no version.
        """
        found = [file for file in files if self._fits(file)]
        if hashes:
            return [file for file in found if f"sha256:{file.sha256}" in hashes]
        versions = {file: Version(text) for file in found if (text := version_of(file.filename))}
        if specifier:
            versions = {file: version for file, version in versions.items() if specifier.contains(version, True)}
        if self.newest:
            good = {version for file, version in versions.items() if file.yanked is False}
            final = {version for version in good if not version.is_prerelease} or good
            kept = set(sorted(final)[-self.newest :])
            versions = {file: version for file, version in versions.items() if version in kept}
        return [file for file in found if file in versions or not (specifier or self.newest)]

    def _fits(self, file: File) -> bool:
        return (not self.kinds or kind_of(file) in self.kinds) and (not self.platforms or self._on_platform(file))

    def _on_platform(self, file: File) -> bool:
        if not file.is_wheel:
            return True
        try:
            tags = {tag.platform for tag in parse_wheel_filename(file.filename)[3]}
        except InvalidWheelFilename:
            return False
        return any(tag == "any" or fnmatchcase(tag, pattern) for tag in tags for pattern in self.platforms)


def kind_of(file: File) -> str:
    """One of ``KINDS``."""
    if file.is_wheel:
        return "wheel"
    return "sdist" if file.filename.endswith((".tar.gz", ".zip")) and version_of(file.filename) else "other"
