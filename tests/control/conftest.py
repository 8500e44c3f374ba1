"""What several modules of these tests need."""

from __future__ import annotations

import pytest

from tests.control.exported import Exported, export


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(tmp_path_factory.mktemp("here"))
