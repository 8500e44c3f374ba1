"""Requirements files: how they are called, and the grammar of their lines as far as it leads to other files.

What a requirement is, only the platform knows (``buildpacks.requirements``). This much ``dae lock`` has to know as
well, and in the same way: it sends what the platform will read, and nothing else.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Optional

from dae.nodes import GrammarError

NAMES = ("pip-req.txt", "requirements.txt")
#: The project itself, with extras or without, in the place of a requirement.
ITSELF = re.compile(r"(?:file:)?\./?(?:\[([A-Za-z0-9._, -]*)\])?\Z")

_ALIASES = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}
_WITH_VALUE = {*_ALIASES.values(), "--extra-index-url", "--trusted-host", "--only-binary", "--no-binary"}
_COMMENT = re.compile(r"(^|\s)#.*$")  # pip's own rule: a '#' inside a word is no comment
_MISSPELT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "requirement.txt", "requirements", "requirements.text", "requirments.txt", "requirments", "requirement",
            "requirementes.txt", "requirements.in.txt", "requiremets.txt", "requirements.tx", "requriements.txt",
            "requierements.txt", "requirements.txt.txt",
        ),
        "requirements.txt",
    ),
    **dict.fromkeys(
        ("pip_req.txt", "pip-reqs.txt", "pip-req", "pipreq.txt", "pip-require.txt", "pip.req.txt", "pip-req.text"),
        "pip-req.txt",
    ),
}  # fmt: skip


def meant(name: str) -> Optional[str]:
    """The one of NAMES that a file called ``name`` was likely meant to be; None when it has that name, or another.

    >>> meant("requirments.txt"), meant("PIP-REQ.txt"), meant("pip-req.txt"), meant("notes.txt")
    ('requirements.txt', 'pip-req.txt', None, None)
    """
    if name in NAMES:
        return None
    return _MISSPELT.get(name.lower()) or (name.lower() if name.lower() in NAMES else None)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined and comments cut off, each with the number of its first line."""
    first, joined = 0, ""
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip("\r")
        if not joined:
            first = number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += _COMMENT.sub("", line[:-1]) + " "
            continue
        whole = (joined + _COMMENT.sub("", line)).strip()
        joined = ""
        if whole:
            yield first, whole
    if joined.strip():
        yield first, joined.strip()


def options(whole: str, where: str) -> Iterator[tuple[str, str]]:
    """The options of a line at ``where``, by their long names, each with its value or an empty text.

    Raises :class:`GrammarError` ``build/bad-requirements``.
    """
    try:
        words = shlex.split(whole)
    except ValueError:
        raise _bad(f"{where}: a quotation mark is not closed", "close it, or remove it") from None
    while words:
        word = words.pop(0)
        option, _, value = word.partition("=")
        if not word.startswith("--") and word[:2] in _ALIASES:
            option, value = _ALIASES[word[:2]], word[2:].removeprefix("=")
        if option in _WITH_VALUE and not value:
            if not words:
                raise _bad(f"{where}: the option {option} has no value", "write one after it")
            value = words.pop(0)
        yield option, value


def included(value: str, by: str) -> Optional[str]:
    """The path, from the commit's top, that ``-r value`` in the file ``by`` names; None when that is not in the commit.

    >>> included("../base.txt", "more/dev.txt"), included("../../base.txt", "more/dev.txt"), included("/etc/x", "a.txt")
    ('base.txt', None, None)
    """
    name = posixpath.normpath(posixpath.join(posixpath.dirname(by), value))
    outside = "://" in value or value.startswith(("/", "~")) or name.split("/")[0] == ".."
    return None if outside or not value.isprintable() else name


def _bad(cause: str, hint: str) -> GrammarError:
    return GrammarError("build/bad-requirements", cause, hint)
