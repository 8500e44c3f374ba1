"""The tree of errors: stable codes, and the same error on both sides of a wire."""

from __future__ import annotations

import errno
import re

import pytest

from core.errors import CATALOG, DaeError, no_room


@pytest.mark.parametrize("code", sorted(CATALOG))
def test_every_code_travels(code: str) -> None:
    """An error survives its JSON, with status and closing line; its code is ``area/name`` in words."""
    assert re.match(r"[a-z]+/[a-z]+(-[a-z]+)*\Z", code)
    error = DaeError(code, "the cause", "the hint")
    again = DaeError.from_json(error.to_json())
    assert (again.code, again.cause, again.hint, again.status) == (code, "the cause", "the hint", CATALOG[code].status)
    assert error.line() == f"{code}: the cause -- the hint"
    assert 400 <= error.status < 600
    assert CATALOG[code].summary


def test_unknown_codes() -> None:
    """To make one is a defect; to receive one, from a newer part, is not."""
    with pytest.raises(KeyError):
        DaeError("no/such", "")
    assert DaeError.from_json({"error": "new/code", "cause": "x"}).line() == "platform/internal: new/code: x"
    assert DaeError.from_json({}).code == "platform/internal"


def test_a_full_disk_behind_other_errors() -> None:
    """It is found behind what was raised from it, and an error that was raised from itself is looked at once."""
    full = OSError(errno.ENOSPC, "No space left on device")
    try:
        raise ValueError("x") from full
    except ValueError as error:
        told = no_room(error)
    assert told is not None and told.code == "platform/disk-full"
    assert no_room(told) is told
    crashed = DaeError("release/crashed", "x")
    crashed.__cause__ = crashed
    assert no_room(crashed) is None
