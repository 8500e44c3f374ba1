from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buildpacks.index import Index, populated


@pytest.fixture
def index() -> Iterator[Index]:
    made = populated()
    yield made
    made.close()
