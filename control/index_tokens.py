"""Tokens for single projects of the index, and who asks for something there, with one of those or a user's own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from control import accounts
from control.accounts import Identity, hash_token
from core.errors import DaeError
from core.nouns import now
from core.store import AppRow, IndexTokenRow, Store, UserRow
from pypi_mirror.model import project_name
from pypi_mirror.rights import TOKEN_ACTIONS, Caller

TOKEN_PREFIX = "daei_"  # noqa: S105 - as accounts.TOKEN_PREFIX
MOST_TOKENS = 1000  # of a user


def caller(store: Store, authorization: str | None) -> Caller:
    """Who asks with that ``Authorization`` header; raises ``auth/required``."""
    claimed, token = accounts.credentials(authorization or "")
    if not token.startswith(TOKEN_PREFIX):
        return of_user(store, accounts.authenticate(store, authorization))
    with store.read() as session:
        row = session.scalar(sa.select(IndexTokenRow).where(IndexTokenRow.hash == hash_token(token)))
        user = session.get(UserRow, row.user) if row else None
    if row is None or user is None or (claimed and claimed != user.name):
        raise DaeError("auth/required", "the token is not known, or was revoked", "make one: dae tokens create")
    return Caller(user.name, user.admin, project=row.project, actions=frozenset(row.actions.split()))


def of_user(store: Store, identity: Identity) -> Caller:
    """A user with all that he may do: who has an app may take a free name."""
    with store.read() as session:
        mine = sa.select(AppRow.name).where(AppRow.owner == identity.name, AppRow.destroyed.is_(False)).limit(1)
        has_app = session.scalar(mine) is not None
    return Caller(identity.name, identity.admin, may_claim=identity.admin or has_app)


def create(store: Store, identity: Identity, project: str, actions: Sequence[str]) -> dict[str, Any]:
    """Make a token for these actions on a project; its text is shown once. That the user may do them is checked before.

    Raises ``input/invalid`` or ``mirror/bad-name``.
    """
    name = project_name(project)
    chosen = [action for action in TOKEN_ACTIONS if action in actions]
    if not chosen or set(actions) - set(TOKEN_ACTIONS):
        raise DaeError("input/invalid", f"a token is for some of {', '.join(TOKEN_ACTIONS)}", "see: dae tokens --help")
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    with store.write() as session:
        count = sa.select(sa.func.count()).where(IndexTokenRow.user == identity.name)
        if (session.scalar(count) or 0) >= MOST_TOKENS:
            raise DaeError("input/invalid", f"{identity.name} has {MOST_TOKENS} tokens", "revoke some: dae tokens")
        row = IndexTokenRow(
            hash=hash_token(text), user=identity.name, project=name, actions=" ".join(chosen), created=now()
        )
        session.add(row)
        session.flush()
        return {**_shown(row), "token": text}


def list_tokens(store: Store, identity: Identity) -> list[dict[str, Any]]:
    """A user's own tokens, an administrator's view of everybody's; never their texts."""
    query = sa.select(IndexTokenRow).order_by(IndexTokenRow.id)
    if not identity.admin:
        query = query.where(IndexTokenRow.user == identity.name)
    with store.read() as session:
        return [_shown(row) for row in session.scalars(query)]


def revoke(store: Store, identity: Identity, number: int) -> None:
    """Remove a token of one's own, or as an administrator anybody's; raises ``token/unknown``."""
    with store.write() as session:
        row = session.get(IndexTokenRow, number)
        if row is None or (row.user != identity.name and not identity.admin):
            raise DaeError("token/unknown", f"there is no token {number}", "see: dae tokens")
        session.delete(row)


def _shown(row: IndexTokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "user": row.user,
        "project": row.project,
        "actions": row.actions.split(),
        "created": row.created.isoformat(),
    }
