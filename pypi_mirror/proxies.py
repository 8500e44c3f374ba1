"""The way to an address: straight, or through the proxy that the settings or the environment name for it."""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit, urlunsplit

from core.errors import DaeError


def environment_proxies() -> dict[str, str]:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case, as urllib reads them; by scheme, "all" and "no".

    Raises ``settings/invalid`` for a proxy that is spoken to in another way than HTTP.
    """
    found = urllib.request.getproxies_environment()
    wanted = {key: found[key] for key in ("http", "https", "all") if found.get(key)}
    proxies = {key: _address(key, value) for key, value in wanted.items()}
    return proxies | ({"no": found["no"]} if found.get("no") else {})


def chosen_proxies(chosen: Sequence[str], indexes: Sequence[str]) -> dict[str, dict[str, str]]:
    """The ways to those indexes for which the settings name one, as of :func:`environment_proxies`.

    ``chosen``: an index's address and its proxy, or ``direct``, in one text with spaces between. Credentials and a last
    slash make no difference to an address. Raises ``settings/invalid`` for an address that is of none of them.
    """
    known = {_bare(index): index for index in indexes}
    ways: dict[str, dict[str, str]] = {}
    for text in chosen:
        address, _, proxy = text.partition(" ")
        if _bare(address) not in known:
            cause = f"upstream_proxies names {_bare(address)}, which is no index behind the mirror"
            raise DaeError("settings/invalid", cause, f"these are: {', '.join(known)}")
        ways[known[_bare(address)]] = {} if proxy.strip() == "direct" else {"all": _address("all", proxy.strip())}
    return ways


def _bare(url: str) -> str:
    return without_credentials(url)[0].rstrip("/") + "/"


def proxy_for(url: str, proxies: dict[str, str]) -> str | None:
    """The proxy for an address; None when it is reached straight."""
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    host = parts.hostname or ""
    passed_by: bool = urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]  # missing in the types
        parts.netloc.rpartition("@")[2], proxies
    )
    if proxy is None or passed_by:
        return None
    return None if _in_network(host, proxies.get("no", "")) else proxy


def without_credentials(proxy: str) -> tuple[str, str | None]:
    """The proxy's own address, and ``user:password`` if it holds them."""
    parts = urlsplit(proxy)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), pair


def _address(key: str, value: str) -> str:
    address = value if "://" in value else f"http://{value}"  # as pip takes HOST:PORT
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise DaeError("settings/invalid", f"{key}_proxy is no HTTP address of a proxy", f"set {key.upper()}_PROXY")
    return address


def _in_network(host: str, exceptions: str) -> bool:
    """Networks in no_proxy, such as 10.0.0.0/8, which pip knows and urllib does not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for word in exceptions.split(","):
        try:
            if "/" in word and address in ipaddress.ip_network(word.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
