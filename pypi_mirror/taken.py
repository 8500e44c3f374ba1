"""Whether a name is free, of a project or of a file, however it is spelt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from packaging.utils import parse_sdist_filename, parse_wheel_filename

from core.errors import DaeError
from pypi_mirror.model import File


def require_unlike(name: str, others: Iterable[str], owner: Callable[[str], str], who: str) -> None:
    """Raise ``mirror/name-taken`` for a name that people take for one of ``others`` whose owner is not ``who``."""
    for other in others:
        if _looks(other) == _looks(name) and owner(other) != who:
            hint = f"choose another name; or an administrator gives it: dae mirror claim {name} --owner {who}"
            raise DaeError("mirror/name-taken", f"{name} looks like {other}, which is not yours", hint)


def _looks(name: str) -> str:
    """What people see of a normalised name at a glance."""
    return name.replace("-", "").translate(str.maketrans("0il", "o11")).replace("rn", "m").replace("vv", "w")


def require_new(entry: File, here: Mapping[str, str], gone: Mapping[str, str]) -> None:
    """Raise ``mirror/file-exists`` when the name is taken by other bytes, also where it is spelt otherwise."""
    for taken, what in ((here, "with other bytes"), (gone, "was deleted, and does not come again with other bytes")):
        for filename, sha256 in taken.items():
            same = filename == entry.filename
            if (same and sha256 != entry.sha256) or (not same and _means(filename) == _means(entry.filename)):
                # By "File already exists" twine, uv and poetry know what is meant.
                cause = f"File already exists: {filename}, {what}"
                raise DaeError("mirror/file-exists", cause, "publish a new version")


def _means(filename: str) -> object:
    """What a file's name says to an installer, however it is spelt."""
    try:
        return parse_wheel_filename(filename) if filename.endswith(".whl") else parse_sdist_filename(filename)
    except ValueError:  # the errors of both
        return filename
