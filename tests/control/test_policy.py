"""Which indexes an app may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pip._internal.models.index import PyPI

from control.policy import policy_of
from core.config import Settings
from core.errors import DaeError


def test_the_mirror_stands_for(tmp_path: Path) -> None:
    """The platform's own index, the one behind it, pip's default, and the operator's aliases; no other."""
    settings = Settings(
        tmp_path, port=8099, upstream="https://up.example/simple/", index_aliases=("https://a.example/x",)
    )
    policy = policy_of(settings)
    known = ("http://localhost:8099/pypi/simple", settings.index_url, settings.upstream, *settings.index_aliases)
    for url in (*known, PyPI.simple_url):
        policy.check_index(url, "here")
    for url in ("https://b.example/x", "https://a.example/", "", "x", "https://a.example.evil/x"):
        with pytest.raises(DaeError, match="build/unsupported-requirement"):
            policy.check_index(url, "here")
