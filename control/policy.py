"""Where packages may come from: which indexes an app may name, and below which addresses a package may lie."""

from __future__ import annotations

import functools

from buildpacks import Policy
from core.config import Settings
from core.errors import DaeError
from pypi_mirror import upstream


def policy_of(settings: Settings) -> Policy:
    """The operator's policy for what commits may name."""
    return Policy(functools.partial(_indexes, settings), settings.build_sources)


@functools.lru_cache(maxsize=4)
def _indexes(settings: Settings) -> tuple[str, ...]:
    """The platform's own index, the one behind it, pip's default one, and the operator's aliases."""
    from pip._internal.models.index import PyPI  # late: pip is large, and few pushes name an index

    own = (settings.index_url, settings.url + "/pypi/simple/")
    try:
        behind = upstream.index_urls(settings)
    except DaeError:  # what is wrong with the setting the mirror says
        behind = (PyPI.simple_url,)
    return (*own, *behind, PyPI.simple_url, *settings.index_aliases)
