"""The one door through which a value enters nginx's configuration: an allow-list, and never an escape."""

from __future__ import annotations

import ipaddress
import re

from core.errors import DaeError
from core.paths import Home

_WORD = re.compile(r"[A-Za-z0-9/._:@+~-]+\Z")
_PATH = re.compile(r"/[A-Za-z0-9/._@+~-]+\Z")


def word(value: object) -> str:
    """``value`` as one word of nginx's configuration; raises ``router/invalid`` when it could be read as more."""
    text = str(value)
    if not _WORD.match(text):
        raise DaeError("router/invalid", f"{text[:80]!a} may not stand in nginx's configuration")
    return text


def address(host: str, port: int) -> str:
    """``host:port`` as ``listen`` wants it; raises ``router/invalid`` for what is not an IP address."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError as error:
        raise DaeError("router/invalid", f"{host[:80]!a} is not an IP address") from error
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"


def check_home(home: Home) -> None:
    """Raise ``settings/invalid`` when paths under the home could not stand in nginx's configuration."""
    if not _PATH.match(str(home.root)):
        cause = f"the home {str(home.root)!a} has characters that nginx's configuration reads as its own"
        raise DaeError("settings/invalid", cause, "choose a DAE_HOME of letters, digits and . _ @ + ~ -")
