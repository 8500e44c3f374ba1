"""What a push says about changed packages."""

from __future__ import annotations

from control.dependencies import changes


def test_each_kind_of_change_has_its_line() -> None:
    """Added, removed and replaced, by name; what stayed is not told."""
    before = {"flask": "3.0", "six": "1.16", "same": "1"}
    after = {"flask": "3.1", "toolz": "1.0", "same": "1"}
    assert changes(before, after) == ["flask 3.0 -> 3.1", "six 1.16 removed", "toolz 1.0 added"]
    assert changes(after, after) == []
