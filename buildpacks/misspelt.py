"""What nothing reads: files whose names are nearly those of files that are read, environments from elsewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

#: What each file that is read may be called by mistake, in small letters.
_MEANT: Mapping[str, re.Pattern[str]] = {
    "Procfile": re.compile(r"proc[-_ ]?files?(\.(txt|yaml|yml|prod))?"),
    "app.yaml": re.compile(r"apps?[._-]ya?ml|apps\.yaml"),
    "runtime.txt": re.compile(r"run[-_]?times?(\.(txt|text|tx|txt\.txt))?"),
    ".python-version": re.compile(r"\.?python[-_]?versions?(\.txt)?"),
    "bin/pre_compile": re.compile(r"bin/pre[-_ ]?compile(\.(sh|py|bash))?"),
    "bin/post_compile": re.compile(r"bin/post[-_ ]?compile(\.(sh|py|bash))?"),
}


def notes(source: Path) -> tuple[str, ...]:
    """A line for each such file of the tree in ``source``, with what to type; a file that is there is not missed."""
    return tuple(
        f"there is {name}, which nothing reads; if it is meant to be {meant}: git mv {shlex.quote(name)} {meant}"
        for meant, name in found(source).items()
    )


def environments(source: Path) -> tuple[str, ...]:
    """A line for each virtual environment (PEP 405) at the top of the tree in ``source``."""
    folders = sorted(config.parent.name for config in source.glob("*/pyvenv.cfg") if config.is_file())
    return tuple(
        f"the commit holds {ascii(name)[1:-1]}/, a virtual environment, which nothing runs here and each build carries:"
        f" git rm -r --quiet --cached {shlex.quote(ascii(name)[1:-1])}, and write {ascii(name)[1:-1]}/ into .gitignore"
        for name in folders[:3]
    )


def found(source: Path) -> dict[str, str]:
    """The names that are right, each with the one that is there instead of it."""
    names = sorted(_names(source))
    right = [meant for meant in _MEANT if meant not in names]
    pairs = ((meant, name) for name in names for meant in right if _MEANT[meant].fullmatch(name.lower()))
    return dict(pairs)


def _names(source: Path) -> Iterator[str]:
    for folder, prefix in ((source, ""), (source / "bin", "bin/")):
        if folder.is_dir() and not folder.is_symlink():
            yield from (f"{prefix}{entry.name}" for entry in folder.iterdir() if entry.is_file())
