"""A migrated store, copied from one that is migrated once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.store import Store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema, and nobody connected to it."""
    file = tmp_path_factory.mktemp("schema") / "dae.db"
    store = Store.at(file)
    store.migrate()
    store.close()
    return file


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> Store:
    return Store.at(Path(shutil.copy(migrated, tmp_path / "dae.db")))
