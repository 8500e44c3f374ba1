"""The grammar of a requirement: name, extras, versions or an address, marker (PEP 508) and hashes; nothing else.

Whether an address may be fetched is not asked here (:meth:`buildpacks.policy.Policy.check_source`). Paths are refused.
Options and other files are the affair of :mod:`buildpacks.includes`; here they are refused, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from buildpacks import direct
from buildpacks.direct import Source
from core.errors import DaeError
from dae.reqfile import logical_lines

COUNT_CAP = 2000
LINE_CAP = 2000  # characters of one requirement without its hashes

_HASH = re.compile(r"\s--hash[=\s]\s*(\S+)")
_HASH_VALUE = re.compile(r"(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})\Z")
_ELSEWHERE = re.compile(r"(://|^[./~]|^[A-Za-z]:\\|^(git|hg|svn|bzr)\+|^file:|^[\w.-]+/)")
_ARCHIVE = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz")
_FROM_INDEX = "name a version of a package; of others build the wheel, and upload it to the internal index"


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement: ``text`` in PEP 508's form, its normalised name, the hashes it is held to, and its place.

    ``source``: where it comes from, when it names an address.
    """

    text: str
    name: str
    hashes: tuple[str, ...]
    number: int
    source: Source | None = None


def parse(text: str, filename: str) -> tuple[Line, ...]:
    """The requirements in ``text``; ``filename`` is for the messages.

    Raises ``build/bad-requirements`` (malformed) and ``build/unsupported-requirement`` (well formed, not accepted),
    both with the line's number.
    """
    lines = tuple(parse_line(words, f"{filename} line {number}", number) for number, words in logical_lines(text))
    if len(lines) > COUNT_CAP:
        raise DaeError("build/bad-requirements", f"{filename} has more than {COUNT_CAP} requirements", "use fewer")
    return lines


def render(lines: Iterable[Line]) -> str:
    """The text that :func:`parse` makes ``lines`` of again."""
    return "".join(" ".join([line.text, *(f"--hash={value}" for value in line.hashes)]) + "\n" for line in lines)


def parse_line(whole: str, where: str, number: int = 0) -> Line:
    """One requirement, which stands at ``where``; raises like :func:`parse`."""
    if whole.startswith("-"):
        option = whole.split()[0].split("=")[0]
        raise DaeError("build/unsupported-requirement", f"{where}: the option {_show(option)}", _FROM_INDEX)
    hashes = tuple(_HASH.findall(whole))
    text = _HASH.sub("", whole).strip()
    for value in hashes:
        if not _HASH_VALUE.match(value):
            raise DaeError("build/bad-requirements", f"{where}: {_show(value)} is not a hash", "use sha256:<hex>")
    if len(text) > LINE_CAP:
        raise DaeError("build/bad-requirements", f"{where}: longer than {LINE_CAP} characters", "shorten it")
    requirement = _requirement(text, where)
    name = canonicalize_name(requirement.name)
    if requirement.url is None:
        return Line(str(requirement), name, hashes, number)
    source = direct.held(direct.parse(requirement.url, where)[0], hashes, where)
    held = (f"sha256:{source.sha256}",) if source.sha256 else ()
    return Line(_direct_text(requirement, source), name, held, number, source)


def _direct_text(requirement: Requirement, source: Source) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras} @ {source.address}" + (f" ; {requirement.marker}" if requirement.marker else "")


def _requirement(text: str, where: str) -> Requirement:
    if direct.is_address(text):
        text = _named(text, where)
    if re.search(r"\s--?[A-Za-z]", text):
        raise DaeError("build/unsupported-requirement", f"{where}: {_show(text)} has an option", _FROM_INDEX)
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        if _ELSEWHERE.search(text):
            raise DaeError("build/unsupported-requirement", f"{where}: {_show(text)}", _FROM_INDEX) from None
        reason = str(error).split("\n")[0][:200]
        cause = f"{where}: {_show(text)} is not a requirement ({reason})"
        raise DaeError("build/bad-requirements", cause, "write, say, 'flask>=3,<4'") from None
    if any(not specifier.version for specifier in requirement.specifier):  # 'six===', which packaging lets pass
        cause = f"{where}: {_show(text)} is not a requirement (it names no version)"
        raise DaeError("build/bad-requirements", cause, "write, say, 'flask>=3,<4'")
    if requirement.url is None and text.endswith(_ARCHIVE):
        raise DaeError("build/unsupported-requirement", f"{where}: {_show(text)}", _FROM_INDEX)
    return requirement


def _named(text: str, where: str) -> str:
    """An address that stands alone, with the name of its package before it."""
    address, blank, rest = text.partition(" ")
    name = direct.parse(address, where)[1]
    if not name:
        cause = f"{where}: {direct.shown(address)} does not say which package it is"
        raise DaeError("build/bad-requirements", cause, "write its name and @ before it: 'NAME @ ADDRESS'")
    return f"{name} @ {address}{blank}{rest}"


def _show(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
