"""The clock of pages that nginx serves unasked."""

from __future__ import annotations

import time

import pytest

from pypi_mirror import expiry
from pypi_mirror.expiry import Expiry
from tests.pypi_mirror.mirror_process import poll


def test_what_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that could not be taken from nginx is not served for ever; one that was given more time waits for it."""
    monkeypatch.setattr(expiry, "AGAIN", 0.05)
    tried: list[str] = []

    def expire(name: str) -> None:
        tried.append(name)
        if len(tried) == 1:
            raise OSError("read-only for a moment")

    clock = Expiry(expire, time.time)
    clock.at("later", time.time() + 0.05)
    clock.at("later", time.time() + 3600)
    clock.at("now", time.time())
    poll(lambda: tried == ["now", "now"])
