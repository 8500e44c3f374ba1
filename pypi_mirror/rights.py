"""Who asks, and what may be done to private projects by whom."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import DaeError
from pypi_mirror.records import Record

READ, UPLOAD, YANK = "read", "upload", "yank"
#: What a token of a project can be for; all else wants the owner's or an administrator's own token.
TOKEN_ACTIONS = (READ, UPLOAD, YANK)
OWN = "own"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. With a token of a project: that project's name, and what the token is for."""

    name: str
    admin: bool = False
    may_claim: bool = False  # owns an app, or is an administrator
    project: str = ""
    actions: frozenset[str] = frozenset()


#: The platform itself, which publishes its own library.
PLATFORM = Caller("", admin=True, may_claim=True)


def require(caller: Caller, name: str, record: Record, action: str) -> None:
    """Raise ``auth/forbidden`` unless the caller may do that to the project: its owner, or an administrator.

    A token of a project is worth what its user may do, and no more than what it is for.
    """
    require_token(caller, name, action)
    if not caller.admin and (not record.owner or record.owner != caller.name):
        whose = record.owner or "the administrators"
        raise DaeError("auth/forbidden", f"{name} is not a project of {caller.name}", f"it belongs to {whose}")


def require_token(caller: Caller, name: str, action: str) -> None:
    """Raise ``auth/forbidden`` when the caller has a token of a project that is not for this."""
    if caller.project and (caller.project != name or action not in caller.actions):
        what = f"a token for {', '.join(sorted(caller.actions))} of {caller.project}"
        raise DaeError("auth/forbidden", f"{what} is not one for {action} of {name}", "see: dae tokens")


def require_claim(caller: Caller, name: str) -> None:
    """Raise ``auth/forbidden`` unless the caller may take a private name that is free."""
    require_token(caller, name, UPLOAD)
    if caller.project or not caller.may_claim:
        cause = f"{name} is free, and {caller.name} may not take it"
        raise DaeError("auth/forbidden", cause, "who has an app may; or ask an administrator: dae mirror claim")
