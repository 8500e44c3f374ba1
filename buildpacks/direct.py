"""Packages that are required by their address: a commit of a git repository, or one file (PEP 508's direct references).

Addresses are spelled as pip spells them: ``git+https://HOST/REPO.git@COMMIT#subdirectory=DIR``, ``https://HOST/FILE``.
Nothing is fetched here. Which addresses may be is the operator's word (``build_sources``): :func:`entry_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from core.errors import DaeError

GIT = "git+"
ARCHIVES = (".tar.gz", ".tgz", ".zip")  # what both engines build wheels of
_ALLOWED = "an operator allows addresses in 'build_sources'"
_BAD, _UNSUPPORTED = "build/bad-requirements", "build/unsupported-requirement"
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
# What may stand in an address: of RFC 3986's characters those that no program, shell or file reads as something else.
_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~%+=,@!-]+)+/?(\?[A-Za-z0-9._~%+=,@!/&-]*)?\Z")
_PORT = re.compile(r"https?://[^/]*:([0-9]+)/")
_ADDRESS_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Where a package comes from. ``url``: of the repository or the file, without credentials and fragment.

    ``commit``: 40 hex digits; empty for a file. ``subdirectory``: the project's folder in the repository. ``sha256``:
    what the file must have, in hex; empty when nobody has said.
    """

    url: str
    commit: str = ""
    subdirectory: str = ""
    sha256: str = ""

    @property
    def is_git(self) -> bool:
        return bool(self.commit)

    @property
    def is_wheel(self) -> bool:
        return not self.is_git and self.filename.endswith(".whl")

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return unquote(urlsplit(self.url).path.rstrip("/").rpartition("/")[2])

    @property
    def address(self) -> str:
        """Its one spelling, which holds all but the hash."""
        if not self.is_git:
            return self.url
        return f"{GIT}{self.url}@{self.commit}" + (f"#subdirectory={self.subdirectory}" if self.subdirectory else "")


def is_address(text: str) -> bool:
    """Whether ``text`` begins as an address that could be fetched does."""
    return text.startswith(("http://", "https://", f"{GIT}http://", f"{GIT}https://"))


def parse(address: str, where: str) -> tuple[Source, str]:
    """What ``address``, which stands at ``where``, names; and the package's name where it says that, else empty.

    Raises ``build/bad-requirements`` (malformed) and ``build/unsupported-requirement`` (of a kind that is not fetched).
    """
    plain, _, fragment = address.partition("#")
    told = dict(parse_qsl(fragment, keep_blank_values=True))
    if not is_address(plain):
        raise _unsupported(where, address, "is not fetched", f"write https:// or git+https://; {_ALLOWED}")
    if unknown := sorted(set(told) - {"egg", "subdirectory", "sha256"}):
        raise _unsupported(where, address, f"has {ascii(unknown[0][:20])[1:-1]}=", "name its sha256 and nothing else")
    source = _git(plain, told, where) if plain.startswith(GIT) else _file(plain, told, where)
    egg = re.match(r"[A-Za-z0-9._-]*", told.get("egg", ""))
    return source, (egg[0] if egg else "") or ("" if source.is_git else _name_of(source.filename))


def _git(plain: str, told: dict[str, str], where: str) -> Source:
    url, _, revision = plain.removeprefix(GIT).rpartition("@")
    if not url or "/" in revision or not _COMMIT.match(revision):
        hint = f"write @ and the commit's 40 digits behind it ('git ls-remote' shows them); {_ALLOWED}"
        raise _unsupported(where, plain, "does not name a commit", hint)
    if "sha256" in told:
        raise DaeError(_BAD, f"{where}: a commit needs no hash", "remove it")
    folder = told.get("subdirectory", "")
    if folder and not _FOLDER.match(folder):
        raise DaeError(_BAD, f"{where}: {folder[:80]!a} is not a folder of a repository", "write a relative path")
    return Source(checked(url, where, query=False), commit=revision, subdirectory=folder)


def _file(plain: str, told: dict[str, str], where: str) -> Source:
    source = Source(checked(plain, where, query=True), sha256=told.get("sha256", ""))
    if told.get("subdirectory"):
        raise _unsupported(where, plain, "has a subdirectory", "that is for git+https:// only")
    if source.sha256 and not _SHA256.match(source.sha256):
        raise DaeError(_BAD, f"{where}: {source.sha256[:80]!a} is not a sha256", "write its 64 digits")
    if not source.filename.endswith((".whl", *ARCHIVES)):
        raise _unsupported(where, plain, "is neither a wheel nor an archive", f"use .whl, {', '.join(ARCHIVES)}")
    return source


def held(source: Source, hashes: Iterable[str], where: str) -> Source:
    """``source`` with the one sha256 of ``hashes`` (``sha256:<hex>``), if there are any; raises like :func:`parse`."""
    known = {value for value in (*hashes, f"sha256:{source.sha256}" if source.sha256 else "") if value}
    if not known:
        return source
    sha256 = next(iter(known)).removeprefix("sha256:")
    if source.is_git:
        raise DaeError(_BAD, f"{where}: a commit needs no hash", "remove it")
    if len(known) > 1 or not _SHA256.match(sha256):
        raise DaeError(_BAD, f"{where}: a file has one sha256, and this names another or several", "write one")
    return replace(source, sha256=sha256)


def checked(url: str, where: str, *, query: bool) -> str:
    """``url`` when nothing in it can be read in two ways; raises like :func:`parse`."""
    if "@" in url.split("/")[2]:
        hint = "remove them; an operator can put them into 'build_sources'"
        raise _unsupported(where, shown(url), "holds credentials", hint)
    parts = [unquote(part) for part in url.partition("?")[0].split("/")[3:]]
    unsafe = any(
        part in (".", "..") or len(part) > 200 or not part.isprintable() or {"/", "\\"} & {*part} for part in parts
    )
    unsafe = unsafe or int((_PORT.match(url) or "00")[1]) > 65535
    if not _PLAIN.match(url) or len(url) > _ADDRESS_CHARS or unsafe or ("?" in url and not query):
        raise DaeError(_BAD, f"{where}: {shown(url)} is not an address that can be fetched", "write it plainly")
    return url


def entry_of(entries: Iterable[str], url: str, *, git: bool) -> str | None:
    """The one of the operator's ``entries`` that allows ``url``: the same, or a folder above it; None without one."""
    wanted = _spelled(url)
    for entry in entries:
        prefix = _spelled(entry.removeprefix(GIT)).rstrip("/")
        if entry.startswith(GIT) == git and (wanted == prefix or wanted.startswith(f"{prefix}/")):
            return entry
    return None


def _spelled(url: str) -> str:
    """An address in one spelling, without credentials and query."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != usual else ""
    return f"{parts.scheme}://{parts.hostname}{port}{unquote(parts.path)}"


def shown(address: str) -> str:
    """An address for a message: no credentials, no control characters, not too long."""
    text = re.sub(r"//[^/]*@", "//", address)
    return ascii(text if len(text) <= 160 else text[:157] + "...")[1:-1]


def _name_of(filename: str) -> str:
    try:
        return str(parse_wheel_filename(filename)[0])
    except InvalidWheelFilename:
        pass
    try:
        return str(parse_sdist_filename(filename)[0])
    except InvalidSdistFilename:
        return ""


def _unsupported(where: str, address: str, what: str, hint: str) -> DaeError:
    return DaeError(_UNSUPPORTED, f"{where}: {shown(address)} {what}", hint)
