"""Whose slugs are taken: the public keys of other platforms, each under one name."""

from __future__ import annotations

from typing import Any

from control.context import Context
from core import events
from core.errors import DaeError
from core.nouns import DIGEST, USER_NAME
from slugs import signing

#: Keys of coord: TRUSTED/NAME, whose value is a platform's public key.
TRUSTED = "trusted"
_IMPORT = "type: dae slugs import FILE -a APP"


def keys(context: Context) -> dict[str, Any]:
    """``{"own": KEY, "trusted": [{"name", "key"}]}``: this platform's public key, and those it takes slugs of."""
    own = signing.public_key(context.home.signing_key)
    found = [(entry.key.removeprefix(f"{TRUSTED}/"), entry.value) for entry in context.coord.list(TRUSTED)]
    return {"own": own, "trusted": [{"name": name, "key": key} for name, key in sorted(found)]}


def trust(context: Context, name: str, key: str, who: str) -> dict[str, Any]:
    """Take slugs that the platform with this public ``key`` exported; raises ``input/invalid``.

    A name has one key, and a key one name: else whoever takes back a name would leave its key trusted.
    """
    if not USER_NAME.match(name):
        raise DaeError("input/invalid", f"{name[:40]!a} cannot be a platform's name", "use a-z, 0-9, -")
    if not DIGEST.match(key):
        raise DaeError("input/invalid", "a public key is 64 hex digits", "there, type: dae slugs keys")
    wanted, known = {"name": name, "key": key}, keys(context)
    if wanted in known["trusted"]:
        return wanted
    if key == known["own"]:
        raise DaeError("input/invalid", "that is the key of this platform, which takes its own slugs anyway", _IMPORT)
    for entry in known["trusted"]:
        first = f"first, type: dae slugs untrust {entry['name']}"
        if entry["key"] == key:
            raise DaeError("input/invalid", f"that key is trusted already, as {entry['name']}", first)
        if entry["name"] == name:
            raise DaeError("input/invalid", f"{name} has another key, {entry['key']}", first)
    with (
        context.store.write() as session
    ):  # before: after a kill between the two, nothing is trusted that nobody knows of
        events.append(session, "key-trusted", who=who, data=wanted)
    context.coord.put(f"{TRUSTED}/{name}", key, expect=0)
    return wanted


def distrust(context: Context, name: str, who: str) -> dict[str, Any]:
    """Take no more slugs of that platform; those that are here stay. Raises ``input/invalid``."""
    if not USER_NAME.match(name) or context.coord.get(f"{TRUSTED}/{name}") is None:
        raise DaeError("input/invalid", f"no key of the name {name[:40]!a} is trusted", "see: dae slugs keys")
    context.coord.delete(f"{TRUSTED}/{name}")
    with context.store.write() as session:
        events.append(session, "key-distrusted", who=who, data={"name": name})
    return {"name": name}
