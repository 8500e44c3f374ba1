"""How this machine reaches the package index: what the invoking user's environment and pip's configuration say.

The platform's parts run with a clean environment and as another account, so what matters is read here and handed on.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from core.argv import run

_PASSED = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NETRC")
_PREFIXES = ("PIP_", "UV_", "SSL_CERT_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Index:
    """``upstream``: the index's address, empty when nothing names one; ``environ``: certificates and proxies."""

    upstream: str
    environ: Mapping[str, str]


def installer_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that decides how pip and uv work."""
    wanted = {*_PASSED, *_BUNDLES, *_PROXIES, *(name.upper() for name in _PROXIES)}
    return {key: value for key, value in environ.items() if key in wanted or key.startswith(_PREFIXES)}


def network_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that decides how the network is reached, whoever asks."""
    wanted = {*_PROXIES, *(name.upper() for name in _PROXIES), *_BUNDLES}
    return {key: value for key, value in environ.items() if key in wanted or key.startswith("SSL_CERT_")}


def parse(text: str) -> dict[str, str]:
    """What ``pip config list`` printed, by key without its section; the environment's word is the last.

    >>> parse("global.index-url='http://a/simple'\\n:env:.index-url='http://b/simple'\\n")
    {'index-url': 'http://b/simple'}
    """
    values: dict[str, str] = {}
    for line in sorted(text.splitlines(), key=lambda line: (line.startswith(":env:"), line.startswith("install."))):
        name, mark, value = line.partition("=")
        if mark and value[:1] in "'\"":
            values[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return values


def read(environ: Mapping[str, str]) -> Index:
    """Ask pip what it is configured with."""
    outcome = run([sys.executable, "-m", "pip", "config", "list"], environ=installer_environ(environ))
    values = parse(outcome.output) if outcome.ok else {}
    network = network_environ(environ)
    if "cert" in values:
        network["PIP_CERT"] = values["cert"]
        network.setdefault("SSL_CERT_FILE", values["cert"])
    if "proxy" in values:  # which pip takes for both
        for name in ("http_proxy", "https_proxy"):
            network.setdefault(name, values["proxy"])
    return Index(values.get("index-url", ""), network)


def uv_environ(environ: Mapping[str, str], index: Index) -> dict[str, str]:
    """The environment that pip and uv install the platform with; uv is told what it does not read for itself."""
    values = {**index.environ, **installer_environ(environ)}
    if index.upstream and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(values):
        values["UV_DEFAULT_INDEX"] = index.upstream
    return values
