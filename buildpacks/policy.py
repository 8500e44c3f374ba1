"""What may be named in a commit as the place that packages come from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildpacks.direct import Source, entry_of, shown
from core.errors import DaeError

_CODE = "build/unsupported-requirement"
_HINT = "packages come from the internal index: remove it, or ask an operator to name it in 'index_aliases'"
_UPLOAD = "upload its wheel to the internal index and require that version, or ask an operator for 'build_sources'"


@dataclass(frozen=True, slots=True)
class Policy:
    """``indexes`` gives the addresses of the indexes whose place the mirror takes; asked only when one is named.

    ``sources``: the addresses below which packages may be fetched that are required by their address.
    """

    indexes: Callable[[], Collection[str]] = tuple
    sources: tuple[str, ...] = ()

    def check_index(self, url: str, where: str) -> None:
        """Raises ``build/unsupported-requirement`` for an index that the mirror does not stand for."""
        if _plain(url) not in {_plain(known) for known in self.indexes()}:
            raise DaeError(_CODE, f"{where}: the index {shown_url(url)} is not one the mirror stands for", _HINT)

    def check_source(self, source: Source, where: str) -> None:
        """Raises ``build/unsupported-requirement`` for a package whose address the operator does not allow."""
        if entry_of(self.sources, source.url, git=source.is_git) is None:
            cause = f"{where}: {shown(source.address)} is not an address that packages may come from"
            raise DaeError(_CODE, cause, _UPLOAD)

    def check_host(self, host: str, where: str) -> None:
        """The same for the host of such an index (pip's ``--trusted-host``), with its port or without."""
        known = [urlsplit(_plain(url)) for url in self.indexes()]
        if host.lower() not in {name for parts in known for name in (parts.netloc, parts.hostname)}:
            raise DaeError(_CODE, f"{where}: the host {_ascii(host)} is not of an index the mirror stands for", _HINT)


def not_from_index(where: str, what: str) -> DaeError:
    """The error for a package from version control, an address or a path."""
    return DaeError(_CODE, f"{where}: {_ascii(what)} does not come from the internal index", _UPLOAD)


def shown_url(url: str) -> str:
    """An address for a message: no password, no control characters, not too long."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        return _ascii(f"{parts.scheme}://{place}{parts.path}" if parts.scheme else url)
    except ValueError:
        return _ascii(url)


def _plain(url: str) -> str:
    """``url`` in one spelling: no credentials (nobody is asked with them), no slash at the end."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""  # no address; equal to none, since those known are addresses
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}{f':{port}' if port and port != usual else ''}{parts.path.rstrip('/')}"


def _ascii(text: str) -> str:
    return ascii(text if len(text) <= 100 else text[:97] + "...")[1:-1]
