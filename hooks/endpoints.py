"""Webhook endpoints: who gets the events of which app, and what became of each delivery.

A row is never deleted: a removed endpoint is *retired*, so that its log stays readable and no id comes twice.
Who may do what is the caller's affair.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import orm

from core import events
from core.config import Settings
from core.errors import DaeError
from core.nouns import app_name, now
from core.store import AppRow, DeliveryRow, HookRow, Store
from hooks.sending import allowed

URL_BYTES = 2000
# Visible ASCII (RFC 3986 knows no other); what could end a request line or a header is not among it.
VISIBLE = re.compile(r"[!-~]+\Z")
Clock = Callable[[], datetime.datetime]


def checked_url(url: str, settings: Settings) -> str:
    """Return ``url`` if a webhook may have it; raises ``hook/bad-url``.

    A host that is an address is judged here already, a name at each attempt, when it is resolved (``hooks.sending``).
    """
    if len(url) > URL_BYTES or not VISIBLE.match(url):
        raise _bad(f"it is longer than {URL_BYTES} bytes, empty, or holds other than visible ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(f"it cannot be read: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise _bad("it is neither http:// nor https://")
    if "@" in parts.netloc:
        raise _bad("it holds credentials, which would show in listings and logs")
    if not parts.hostname or port == 0:
        raise _bad("it names no host, or port 0")
    if "#" in url or "\\" in url:
        raise _bad("it holds a '#' or a backslash")
    if not _address_allowed(parts.hostname, settings):
        cause = "the address cannot be a webhook's: it is neither public nor in a network of the operator's list"
        raise DaeError("hook/bad-url", cause, "let the operator add its network to hook_networks (DAE_HOOK_NETWORKS)")
    return url


def _address_allowed(host: str, settings: Settings) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True  # a name
    return allowed(host, [ipaddress.ip_network(network) for network in settings.hook_networks])


def add(store: Store, settings: Settings, url: str, app: str = "", who: str = "", clock: Clock = now) -> HookRow:
    """Create a webhook for the events of ``app`` (empty: of all), and append ``hook-created``, its own first event.

    The row holds the secret, the key of the signatures: show it now, and never again. Raises ``hook/bad-url`` or
    ``app/unknown``.
    """
    row = HookRow(url=checked_url(url, settings), app=app, secret=secrets.token_urlsafe(32), created=clock())
    with store.write() as session:
        if app:
            found = session.get(AppRow, app_name(app))
            if found is None or found.destroyed:
                raise DaeError("app/unknown", f"there is no app {app}", "see `dae apps`")
        session.add(row)
        session.flush()
        _append(session, "hook-created", row, who, clock)
    return row


def get(store: Store, hook: int) -> HookRow:
    """The webhook of that id; raises ``hook/unknown``."""
    with store.read() as session:
        return _row(session, hook)


def list_hooks(store: Store) -> list[HookRow]:
    """The webhooks, by id."""
    with store.read() as session:
        return list(session.scalars(sa.select(HookRow).where(~HookRow.retired).order_by(HookRow.id)))


def remove(store: Store, hook: int, who: str = "", clock: Clock = now) -> None:
    """Remove a webhook, cancel what is on its way to it, and append ``hook-removed``; raises ``hook/unknown``."""
    with store.write() as session:
        row = _row(session, hook)
        row.retired, row.secret = True, ""
        session.execute(
            sa.update(DeliveryRow)
            .where(DeliveryRow.hook == hook, DeliveryRow.state == "waiting")
            .values(state="cancelled", finished=clock())
        )
        _append(session, "hook-removed", row, who, clock)


def deliveries(store: Store, hook: int, limit: int = 50) -> list[DeliveryRow]:
    """The last ``limit`` deliveries of a webhook, newest first; raises ``hook/unknown``.

    ``state``: waiting, delivered, failed or cancelled; ``attempts``: the finished ones; ``status``: of the last
    answer, 0 when there was none; ``error``: what was wrong with it; ``due``: the next attempt, while it waits.
    """
    wanted = sa.select(DeliveryRow).where(DeliveryRow.hook == hook).order_by(DeliveryRow.id.desc()).limit(limit)
    with store.read() as session:
        _row(session, hook)
        return list(session.scalars(wanted))


def retire_app(session: orm.Session, app: str) -> None:
    """Retire the webhooks of an app that is destroyed, in the transaction that destroys it.

    Call it after ``app-destroyed`` was appended: what is on its way still goes out.
    """
    session.execute(sa.update(HookRow).where(HookRow.app == app).values(retired=True))


def rename_app(session: orm.Session, app: str, to: str) -> None:
    """Let the webhooks of ``app`` follow it to its new name, before ``app-renamed`` is appended under that."""
    session.execute(sa.update(HookRow).where(HookRow.app == app, ~HookRow.retired).values(app=app_name(to)))


def _row(session: orm.Session, hook: int) -> HookRow:
    row = session.get(HookRow, hook)
    if row is None or row.retired:
        raise DaeError("hook/unknown", f"there is no webhook {hook}", "see `dae hooks`")
    return row


def _append(session: orm.Session, kind: str, row: HookRow, who: str, clock: Clock) -> None:
    # The host alone: the path of a webhook is often its password.
    data = {"hook": row.id, "host": urlsplit(row.url).hostname}
    events.append(session, kind, app=row.app, who=who, data=data, clock=clock)


def _bad(why: str) -> DaeError:
    return DaeError("hook/bad-url", f"the address cannot be a webhook's: {why}", "use https://HOST/PATH")
