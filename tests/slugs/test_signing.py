"""The platform's own key."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from slugs import signing


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """Whoever asks first makes it, for its owner alone; of many who do at once, all get the same."""
    place = tmp_path / "signing.key"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = set(pool.map(signing.public_key, [place] * 16))
    assert keys == {signing.public_key(place)}
    assert place.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["signing.key"]


def test_who_signed(tmp_path: Path) -> None:
    """A signature tells the key, and of other bytes or another signature it tells nothing."""
    place = tmp_path / "signing.key"
    signed = signing.sign(place, b"data")
    assert signing.signer(signed, b"data") == signing.public_key(place)
    assert signing.signer(signed, b"date") == ""
    for wrong in (b"", signed[:-1], signed[:32] + bytes(64), bytes(32) + signed[32:]):
        assert signing.signer(wrong, b"data") == ""


@pytest.mark.parametrize("call", ["link", "unlink", "replace"])
def test_killed_while_the_key_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """At whatever call it ends, the next start leaves one copy of the private key at most, and that one counts."""
    place = tmp_path / "signing.key"
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Path if call != "link" else os, call, lambda *_words, **_named: os._exit(9))
        signing.public_key(place)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert any(path != place for path in tmp_path.iterdir())
    made = place.read_bytes() if place.exists() else None
    signing.sweep(place)
    assert [path for path in tmp_path.iterdir() if path != place] == []
    signing.public_key(place)
    assert made is None or place.read_bytes() == made
