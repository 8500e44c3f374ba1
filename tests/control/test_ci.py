"""The queue of tests: what is taken up, what was interrupted, and how the tests of a slug stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from control import ci
from control.context import Context
from control.testing import copy_code
from core.nouns import CiState, now
from core.store import AppRow, CiRow, Store, UserRow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.at(tmp_path / "dae.db")
    made.migrate()
    with made.write() as session:
        session.add(UserRow(name="mary", admin=True, created=now()))
        session.flush()
        for name, destroyed in (("shop", False), ("gone", True)):
            session.add(AppRow(name=name, owner="mary", next_release=1, destroyed=destroyed, created=now()))
    yield made
    made.close()


def add(store: Store, slug: str, *states: CiState, app: str = "shop") -> None:
    with store.write() as session:
        for state in states:
            session.add(CiRow(app=app, commit="c", slug=slug, state=state, error="", who="mary", created=now()))


def test_a_pass_stays(store: Store) -> None:
    """Of the runs of a slug one that passed counts, else the last one; other apps are not asked."""
    add(store, "a", CiState.FAILED, CiState.PASSED, CiState.FAILED)
    add(store, "b", CiState.FAILED, CiState.QUEUED)
    add(store, "b", CiState.PASSED, app="gone")
    with store.read() as session:
        assert ci.states(session, "shop") == {"a": CiState.PASSED, "b": CiState.QUEUED}


def test_one_after_the_other(store: Store) -> None:
    """The one that waited longest comes first, none of a destroyed app; what still ran was interrupted, and is told."""
    context = cast(Context, SimpleNamespace(store=store))
    add(store, "x", CiState.QUEUED, app="gone")
    add(store, "a", CiState.RUNNING, CiState.QUEUED, CiState.QUEUED)
    first = ci._take(context)
    assert first is not None and (first.app, first.state) == ("shop", CiState.RUNNING)
    with store.read() as session:
        assert ci.states(session, "shop") == {"a": CiState.QUEUED}
        found = {row.id: row.state for row in session.query(CiRow).filter(CiRow.app == "shop")}
    assert sorted(found.values()) == ["interrupted", "queued", "running"]
    second = ci._take(context)
    assert second is not None and second.id > first.id
    assert ci._take(context) is None


def test_the_copy_may_be_written(tmp_path: Path) -> None:
    """A layer is read-only and has bytecode; its copy is neither, and its links and scripts are as they were."""
    layer = tmp_path / "layer"
    (layer / "pkg" / "__pycache__").mkdir(parents=True)
    (layer / "pkg" / "__pycache__" / "a.pyc").touch()
    (layer / "run").write_text("#!/bin/sh\n")
    (layer / "run").chmod(0o555)
    (layer / "pkg" / "a.py").touch(0o444)
    (layer / "link").symlink_to("pkg/a.py")
    (layer / "pkg").chmod(0o555)
    copy_code(layer, tmp_path / "copy")
    (layer / "pkg").chmod(0o755)
    names = sorted(str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*"))
    assert names == ["link", "pkg", "pkg/a.py", "run"]
    modes = [(tmp_path / "copy" / name).stat().st_mode & 0o777 for name in ("pkg", "pkg/a.py", "run")]
    assert modes == [0o755, 0o644, 0o755]
    assert (tmp_path / "copy" / "link").readlink() == Path("pkg/a.py")
