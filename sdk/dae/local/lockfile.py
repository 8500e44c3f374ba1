"""``dae.lock``: what describes the app in a folder, for the platform to lock; and the lock, for pip here."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from dae import reqfile
from dae.cli.errors import CliError
from dae.nodes import GrammarError
from dae.runtime import site

FILE = "dae.lock"
#: As the platform has them, which a test compares: bytes of one file, how many files, bytes of the request with them.
SIZE_CAP = 4 << 20
COUNT_CAP = 200
REQUEST_CAP = 8 << 20
#: The locks of other managers. Beside a requirements file nobody reads them.
LOCKS = ("pylock.toml", "uv.lock", "poetry.lock", "Pipfile.lock")

_ALWAYS = ("app.yaml", "Procfile", "pyproject.toml", "uv.toml", ".python-version", "runtime.txt", FILE)
_SETUP = ("setup.cfg", "setup.py")
_AROUND = 64 << 10  # bytes of a request beside the files
_PLAIN = re.compile(r"[A-Za-z0-9._-]+\Z")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s\\]+)", re.MULTILINE)


def described(folder: Path) -> dict[str, str]:
    """The texts of the files that describe the app, by their paths; raises ``local/file``.

    They are those that the platform reads of a commit with these files. Of what counts there by its name alone, the
    text is empty: nothing else leaves the machine.
    """
    names = {path.name for path in folder.iterdir()}
    found = dict.fromkeys(_named(folder, names), "")
    found.update(_read(folder, _ALWAYS))
    files = [name for name in reqfile.NAMES if name in names]
    included, itself = _included(folder, files)
    found.update(included)
    if not files and not names.isdisjoint(LOCKS):
        found.update(_read(folder, (*LOCKS, "Pipfile")))  # Pipfile.lock is compared with it
    elif not files or itself:
        found.update(_read(folder, _SETUP))
    _check_size(found)
    return found


def constraints(text: str) -> str:
    """The versions that a lock holds, as pip's constraints; hashes and addresses are left out."""
    return "".join(f"{pin}\n" for pin in _PIN.findall(text))


def _named(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Of the ``names`` at the folder's top those that say something by being there.

    Of Python files one is enough, whichever it is: with them, a folder is no site of files.
    """
    plain = sorted(name for name in names if _PLAIN.match(name) and not _is_folder(folder / name))
    yield from (name for name in plain if name in site.PROGRAMS or name in (site.INDEX, *_SETUP) or reqfile.meant(name))
    yield from (name for name in plain if name.startswith("pylock.") and name.endswith(".toml"))
    code = [name for name in names if name.endswith(".py")]
    yield from [name for name in plain if name in code][:1] or ["app.py"] * bool(code)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _read(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Those of the files that are there."""
    for name in names:
        text = _text(folder, name)
        if text is not None:
            yield name, text


def _included(folder: Path, names: Iterable[str]) -> tuple[dict[str, str], bool]:
    """The requirements files ``names`` with all that they include; whether one of them requires the project itself."""
    found: dict[str, str] = {}
    waiting, itself = list(names), False
    while waiting and len(found) <= COUNT_CAP:
        name = waiting.pop(0)
        text = None if name in found else _text(folder, name)
        if text is None:
            continue
        found[name] = text
        for option, value in _words(text):
            itself = itself or (option in ("", "--editable") and bool(reqfile.ITSELF.match(value)))
            path = reqfile.included(value, name) if option in ("--requirement", "--constraint") else None
            waiting += [path] if path else []
    return found, itself


def _words(text: str) -> Iterator[tuple[str, str]]:
    """The options of a requirements file with their values, and its other lines, each with an empty option."""
    for _number, line in reqfile.logical_lines(text):
        if not line.startswith("-"):
            yield "", line
            continue
        try:
            yield from reqfile.options(line, "")
        except GrammarError:
            continue  # the platform says it, with the line


def _text(folder: Path, name: str) -> Optional[str]:
    """The text of a file, None without one. As the platform does, it follows no link; raises ``local/file``."""
    for above in reversed(Path(name).parents):
        if above.name and (folder / above).is_symlink():
            raise _unfit(f"{name} is behind a symbolic link", "commit the file itself")
    path = folder / name
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise _unfit(f"{name} is a symbolic link", "commit the file itself")
        if not stat.S_ISREG(status.st_mode):
            raise _unfit(f"{name} is not a regular file", "commit the file itself")
        if status.st_size > SIZE_CAP:
            raise _unfit(f"{name} is larger than {SIZE_CAP // 1024} KiB", "shorten it")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _unfit(f"{name} cannot be read: {error}", "see: ls -l") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _unfit(f"{name} line {line}: it is not UTF-8 text", "save the file as UTF-8") from None


def _check_size(found: dict[str, str]) -> None:
    """Raises ``local/file`` when a request cannot hold them, naming the largest: that is the one to look at."""
    if len(found) > COUNT_CAP:
        raise _unfit(f"more than {COUNT_CAP} files describe this app", "move some away")
    sizes = {name: len(json.dumps({name: text})) for name, text in found.items()}
    if sum(sizes.values()) > REQUEST_CAP - _AROUND:
        largest = max(sizes, key=lambda name: sizes[name])
        cause = f"the files that describe this app are larger than {REQUEST_CAP >> 20} MiB in all"
        raise _unfit(f"{cause}; the largest is {largest}, {sizes[largest] // 1024} KiB", "shorten it")


def _unfit(cause: str, hint: str) -> CliError:
    return CliError("local/file", cause, hint)
