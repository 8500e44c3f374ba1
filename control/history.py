"""How much of what happened is shown, and which logs stay: those of what a listing shows."""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa

from control.context import Context
from core.store import BuildRow, CiRow

PAGE = 200  # rows of a listing
_AT_ONCE = 50  # logs; each build and each run adds one, so that none is left behind


def forget_logs(context: Context, app: str, keep: int = PAGE) -> None:
    """Remove the logs of all but the app's last ``keep`` builds, and of as many runs of its tests; of 0: all."""
    home = context.home
    for table, place in ((BuildRow, home.build_log), (CiRow, home.test_log)):
        query = sa.select(table.id).where(table.app == app).order_by(table.id.desc()).offset(keep)
        query = query.limit(_AT_ONCE) if keep else query
        with context.store.read() as session:
            numbers = list(session.scalars(query))
        for number in numbers:
            with suppress(FileNotFoundError):
                place(number).unlink()
