"""What several modules of these tests need."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.paths import Home
from slugs import signing
from tests.control.exported import Exported, There, export


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(tmp_path_factory.mktemp("here"))


@pytest.fixture
def there(tmp_path: Path, exported: Exported) -> There:
    home = Home(tmp_path / "there")
    home.builds.mkdir(parents=True)
    return There(home, signing.public_key(exported.home.signing_key))
