"""Recovery: what cannot be completed for one app is nobody else's trouble."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from control import apps, recovery
from control.context import Context
from core.coord import EmbeddedCoord
from core.nouns import now
from core.paths import Home
from core.store import AppRow, Store, UserRow


class Slugs:
    """Its folder of the app named stuck cannot be removed."""

    def remove_app(self, app: str) -> None:
        if app == "stuck":
            raise PermissionError(app)


def test_one_app_that_cannot_be_removed(tmp_path: Path) -> None:
    """The other one is removed, and the stuck one's journal entry stays for the next time."""
    home, store = Home(tmp_path), Store.at(tmp_path / "dae.db")
    store.migrate()
    home.builds.mkdir()
    home.repos.mkdir()
    with store.write() as session:
        session.add(UserRow(name="mary", admin=True, created=now()))
        session.flush()
        for name in ("stuck", "well"):
            session.add(AppRow(name=name, owner="mary", next_release=1, destroyed=True, created=now()))
    coord = EmbeddedCoord(store)
    for name in ("stuck", "well"):
        coord.put(f"{apps.DESTROYING}/{name}", "")
    removed: list[str] = []
    node = SimpleNamespace(agent=SimpleNamespace(remove_app=removed.append))
    context = SimpleNamespace(building=set(), home=home, store=store, coord=coord, slugs=Slugs(), node=node)
    recovery._finish(cast(Context, context))
    assert removed == ["well"]
    assert [entry.key for entry in coord.list(apps.DESTROYING)] == [f"{apps.DESTROYING}/stuck"]
    store.close()
