"""Users, their tokens, and who may touch which app: its owner and administrators, nobody else."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import orm

from core import events
from core.errors import DaeError
from core.nouns import App, app_name, now, user_name
from core.store import AppRow, Store, TokenRow, UserRow

TOKEN_PREFIX = "dae_"  # noqa: S105 - so that secret scanners can know one
ANYBODY = "__token__"  # the name that clients of package indexes send with a token
_LOGIN_HINT = "log in with: dae login"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking."""

    name: str
    admin: bool


def hash_token(token: str) -> str:
    """How a token is kept: tokens are random, so that one round of sha256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def add_user(store: Store, name: str, *, admin: bool = False, who: str = "") -> str:
    """Make a user and return the text of its first token, which is shown once.

    Raises ``user/bad-name`` or ``user/exists``.
    """
    user_name(name)
    with store.write() as session:
        if session.get(UserRow, name) is not None:
            raise DaeError("user/exists", f"there is a user {name} already", "see: dae users")
        session.add(UserRow(name=name, admin=admin, created=now()))
        session.flush()
        events.append(session, "user-created", who=who or name, data={"user": name, "admin": admin})
        return _add_token(session, name)


def add_token(store: Store, name: str) -> str:
    """Make one more token of a user; raises ``user/unknown``."""
    with store.write() as session:
        if session.get(UserRow, name) is None:
            raise DaeError("user/unknown", f"there is no user {name[:40]!a}", "see: dae users")
        return _add_token(session, name)


def _add_token(session: orm.Session, name: str) -> str:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    session.add(TokenRow(hash=hash_token(token), user=name, created=now()))
    return token


def list_users(store: Store) -> list[Identity]:
    """All users by name."""
    with store.read() as session:
        return [Identity(u.name, u.admin) for u in session.scalars(sa.select(UserRow).order_by(UserRow.name))]


def authenticate(store: Store, authorization: str | None) -> Identity:
    """The user of an ``Authorization`` header, Bearer (RFC 6750) or Basic with the token as password (RFC 7617).

    Raises ``auth/required``. With Basic the user's name must be the token's owner's, or empty, or ``__token__``.
    """
    claimed, token = credentials(authorization or "")
    if not token:
        raise DaeError("auth/required", "no token was sent", _LOGIN_HINT)
    with store.read() as session:
        user = session.scalar(sa.select(UserRow).join(TokenRow).where(TokenRow.hash == hash_token(token)))
    if user is None or (claimed and claimed != user.name):
        raise DaeError("auth/required", "the token is not known", _LOGIN_HINT)
    return Identity(user.name, user.admin)


def credentials(header: str) -> tuple[str, str]:
    """The user's name and the token in an ``Authorization`` header; empty where there are none."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return "", rest.strip()
    if scheme.lower() == "basic":
        try:
            name, _, token = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:  # not base64, not UTF-8, or not even ASCII
            return "", ""
        return ("" if name == ANYBODY else name), token
    return "", ""


def require_admin(identity: Identity) -> None:
    """Raise ``auth/forbidden`` unless the user is an administrator."""
    if not identity.admin:
        raise DaeError("auth/forbidden", f"{identity.name} is not an administrator", "ask one of them")


def require_app(store: Store, identity: Identity, name: str) -> App:
    """The app of that name, if this user may work on it.

    Raises ``app/bad-name``, ``app/unknown`` or ``auth/forbidden``.
    """
    app_name(name)
    with store.read() as session:
        row = session.get(AppRow, name)
    if row is None or row.destroyed:
        raise DaeError("app/unknown", f"there is no app {name}", f"see: dae apps, or make it: dae create {name}")
    if not identity.admin and row.owner != identity.name:
        raise DaeError("auth/forbidden", f"{name} is not an app of {identity.name}", f"ask its owner, {row.owner}")
    return App(row.name, row.owner, row.created)
