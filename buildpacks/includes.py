"""A requirements file with the options that pip knows: other files of the commit, the project itself, indexes.

What comes out are requirements alone; every message names the file and the line that the developer wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from buildpacks.direct import is_address
from buildpacks.policy import Policy
from buildpacks.requirements import COUNT_CAP, Line, parse_line
from buildpacks.sources import read_text
from core.errors import DaeError
from dae import reqfile
from dae.nodes import GrammarError
from dae.reqfile import ITSELF

SIZE_CAP = 256 * 1024  # bytes
DEPTH, FILES = 10, 50

_BAD, _UNSUPPORTED = "build/bad-requirements", "build/unsupported-requirement"
_INSTEAD = {
    "--no-binary": "what has a wheel is installed from it; remove the option",
    "--prefer-binary": "write '--only-binary :all:' or a version that has a wheel",
    "--no-index": "packages come from the internal index; remove the option",
    "--editable": "only the project itself can be required from the commit ('-e .'), or an address (git+https://)",
}


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a file and those that it includes come to.

    ``options``: of ``--pre`` and ``--only-binary=NAME``, what resolving must obey. ``extras``: None, or, when the
    project itself is required, the extras of it that are.
    """

    lines: tuple[Line, ...] = ()
    constraints: tuple[Line, ...] = ()
    options: tuple[str, ...] = ()
    extras: frozenset[str] | None = None


def load(source: Path, name: str, policy: Policy) -> Requirements | None:
    """The requirements of the file ``name`` in the folder ``source``, or None when there is no such file.

    Raises ``build/bad-requirements`` and ``build/unsupported-requirement``.
    """
    text = read_text(source, name, SIZE_CAP, _BAD)
    if text is None:
        return None
    reader = _Reader(source, policy)
    reader.read(text, name, (name,), reader.lines)
    _all_or_none_hashed(reader.lines)
    lines, constraints = (tuple(line for _where, line in found) for found in (reader.lines, reader.constraints))
    return Requirements(lines, constraints, tuple(sorted(reader.options)), reader.extras)


_Placed = list[tuple[str, Line]]


def _all_or_none_hashed(lines: _Placed) -> None:
    bare = [(where, line) for where, line in lines if not line.hashes and not (line.source and line.source.is_git)]
    if bare and any(line.hashes and not line.source for _where, line in lines):
        where, line = bare[0]
        cause = f"{where}: {line.name} has no hash, and others have"
        raise DaeError(_BAD, cause, "write hashes for all requirements, or for none")


@dataclass
class _Reader:
    source: Path
    policy: Policy
    lines: _Placed = field(default_factory=list)
    constraints: _Placed = field(default_factory=list)
    options: set[str] = field(default_factory=set)
    extras: frozenset[str] | None = None
    read_files: int = 0

    def read(self, text: str, name: str, chain: tuple[str, ...], into: _Placed) -> None:
        """Take in the ``text`` of the file ``name``; ``chain``: that file, after those that led to it."""
        for number, whole in reqfile.logical_lines(text):
            where = f"{name} line {number}"
            if whole.startswith("-"):
                self._options(whole, where, number, chain, into)
            elif ITSELF.match(whole):
                self._itself(whole, where, into)
            else:
                self._line(whole, where, number, into)
            if len(self.lines) + len(self.constraints) > COUNT_CAP:
                raise DaeError(_BAD, f"{where}: there are more than {COUNT_CAP} requirements", "use fewer")

    def _line(self, whole: str, where: str, number: int, into: _Placed) -> None:
        line = parse_line(whole, where, number)
        if line.source is not None:
            self.policy.check_source(line.source, where)
        if into is self.constraints and (line.source or "[" in line.text.partition(";")[0]):
            what = "address" if line.source else "extras"
            raise DaeError(_BAD, f"{where}: a constraint has no {what}", "name it where the package is required")
        into.append((where, line))

    def _options(self, whole: str, where: str, number: int, chain: tuple[str, ...], into: _Placed) -> None:
        try:
            for option, value in reqfile.options(whole, where):
                self._option(option, value, where, number, chain, into)
        except GrammarError as error:
            raise DaeError(error.code, error.cause, error.hint) from None

    def _option(self, option: str, value: str, where: str, number: int, chain: tuple[str, ...], into: _Placed) -> None:
        if option in ("--requirement", "--constraint"):
            self._include(value, where, chain, self.constraints if option == "--constraint" else into)
        elif option == "--editable" and ITSELF.match(value):
            self._itself(value, where, into)
        elif option == "--editable" and is_address(value):
            self._line(value, where, number, into)  # an environment is never edited: it is installed as any other
        elif option in ("--index-url", "--extra-index-url", "--find-links"):
            self.policy.check_index(value, where)
        elif option == "--trusted-host":
            self.policy.check_host(value, where)
        elif option == "--pre":
            self.options.add(option)
        elif option == "--only-binary":
            self.options |= {f"{option}={name}" for name in _projects(value, where)}
        else:
            raise _refused(option, where)

    def _include(self, value: str, where: str, chain: tuple[str, ...], into: _Placed) -> None:
        name, shown = reqfile.included(value, chain[-1]), ascii(value[:100])[1:-1]
        if name is None:
            cause = f"{where}: {shown} is not a file of the commit"
            raise DaeError(_UNSUPPORTED, cause, "commit it, and name it by a relative path")
        if name in chain:
            raise DaeError(_BAD, f"{where}: {shown} includes itself ({' -> '.join(chain)} -> {name})", "remove a line")
        self.read_files += 1
        if len(chain) >= DEPTH or self.read_files > FILES:
            cause = f"{where}: more than {DEPTH} files in each other, or {FILES} in all"
            raise DaeError(_BAD, cause, "put the requirements into fewer files")
        try:
            text = read_text(self.source, name, SIZE_CAP, _BAD)
        except DaeError as error:
            raise DaeError(error.code, f"{where}: {error.cause}", error.hint) from None
        if text is None:
            raise DaeError(_BAD, f"{where}: there is no {shown} in the commit", "commit it, or remove the line")
        self.read(text, name, (*chain, name), into)

    def _itself(self, value: str, where: str, into: _Placed) -> None:
        found = ITSELF.match(value)
        if into is self.constraints or found is None:
            raise DaeError(_BAD, f"{where}: the project itself is no constraint", "remove the line")
        wanted = {canonicalize_name(name.strip()) for name in (found[1] or "").split(",") if name.strip()}
        self.extras = frozenset(wanted) | (self.extras or frozenset())


def _projects(value: str, where: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in (":all:", ":none:") and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise DaeError(_BAD, f"{where}: {name[:80]!a} is not a project's name", "write a name, or :all:")
    return [name for name in names if name != ":none:"]


def _refused(option: str, where: str) -> DaeError:
    hint = _INSTEAD.get(option, "remove the option, or write what it stands for into the requirements")
    return DaeError(_UNSUPPORTED, f"{where}: the option {option[:80]!a} is not obeyed here", hint)
