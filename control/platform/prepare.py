"""What is made inside the platform's own folders, by its own account: key, database, first user, its library's wheel.

``python -I -m control.platform.prepare WHEEL`` with ``{"user", "token"}`` as JSON on its input: who invoked, and the
token that this user has already, if any. The last line of output is ``{"token", "done": [what was new]}``; ``token`` is
empty when the one that was given is good.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from control import accounts
from core.config import load
from core.errors import DaeError
from core.files import write_atomically
from core.paths import Home
from core.store import Store
from pypi_mirror.publish import publish


def main(wheel: Path, given: dict[str, str]) -> dict[str, object]:
    """Prepare the home that the environment names; each step does nothing when its result is there."""
    os.umask(0o077)
    settings = load()
    home = Home(settings.home)
    done = []
    if make_key(home):
        done.append("the internal key")
    store = Store.at(home.database)
    if not home.database.exists():
        done.append("the database")
    store.migrate()
    token = log_in(store, given["user"], given["token"])
    if token:
        done.append(f"a token for {given['user']}")
    publish(home, wheel)
    store.close()
    return {"token": token, "done": done}


def make_key(home: Home) -> bool:
    """The secret between the receive hook and control; returns whether it was made now."""
    path = home.internal_key
    if path.exists():
        return False
    write_atomically(path, secrets.token_hex(32).encode())
    return True


def log_in(store: Store, name: str, token: str) -> str:
    """A new token for the invoking user, who owns this machine's platform and so is an administrator.

    Empty when ``token`` is this user's and good.
    """
    try:
        if token and accounts.authenticate(store, f"Bearer {token}").name == name:
            return ""
    except DaeError:
        pass  # of another platform that lived here, or revoked: a new one replaces it
    if name in {user.name for user in accounts.list_users(store)}:
        return accounts.add_token(store, name)
    return accounts.add_user(store, name, admin=True)


if __name__ == "__main__":
    try:
        print(json.dumps(main(Path(sys.argv[1]), json.load(sys.stdin))))  # noqa: T201 - the answer
    except DaeError as problem:
        sys.exit(problem.line())
