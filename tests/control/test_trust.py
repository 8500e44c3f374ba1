"""Whose slugs are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from control import trust
from control.context import Context
from core import events
from core.coord import EmbeddedCoord
from core.errors import DaeError
from core.paths import Home
from core.store import Store

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    home = Home(tmp_path)
    home.state.mkdir()
    store = Store.at(home.database)
    store.migrate()
    yield cast(Context, SimpleNamespace(home=home, store=store, coord=EmbeddedCoord(store)))
    store.close()


def told(context: Context) -> list[tuple[str, object]]:
    with context.store.read() as session:
        return [(event.kind, event.data["name"]) for event in events.list_events(session)]


def test_a_key_has_one_name(context: Context) -> None:
    """A key under a second name, and this platform's own, are refused: taking back the one name takes back the key."""
    trust.trust(context, "one", ONE, "mary")
    with pytest.raises(DaeError, match="input/invalid: that key is trusted already, as one") as refused:
        trust.trust(context, "two", ONE, "mary")
    assert refused.value.hint == "first, type: dae slugs untrust one"
    with pytest.raises(DaeError, match="its own slugs anyway"):
        trust.trust(context, "me", trust.keys(context)["own"], "mary")
    trust.distrust(context, "one", "mary")
    assert trust.keys(context)["trusted"] == []
    assert trust.trust(context, "two", ONE, "mary") == {"name": "two", "key": ONE}


def test_a_name_has_one_key(context: Context) -> None:
    """Another key under a name that has one is refused; the same once more changes nothing, and is no event."""
    trust.trust(context, "one", ONE, "mary")
    with pytest.raises(DaeError, match=f"input/invalid: one has another key, {ONE}") as refused:
        trust.trust(context, "one", OTHER, "mary")
    assert refused.value.hint == "first, type: dae slugs untrust one"
    assert trust.trust(context, "one", ONE, "mary") == {"name": "one", "key": ONE}
    assert trust.keys(context)["trusted"] == [{"name": "one", "key": ONE}]
    assert told(context) == [("key-trusted", "one")]


def test_killed_in_the_middle(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key is trusted that the events do not tell of, whenever control ends."""

    def killed(*_words: object, **_named: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedCoord, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            trust.trust(context, "one", ONE, "mary")
    assert told(context) == [("key-trusted", "one")]
    assert trust.keys(context)["trusted"] == []


@pytest.mark.parametrize(("name", "key"), [("One", ONE), ("one", "x" * 64), ("", ONE), ("one", ONE + "\n")])
def test_names_and_keys(context: Context, name: str, key: str) -> None:
    """What is no name or no key is refused before anything is looked up."""
    with pytest.raises(DaeError, match="input/invalid"):
        trust.trust(context, name, key, "mary")
    with pytest.raises(DaeError, match="input/invalid"):
        trust.distrust(context, name, "mary")
