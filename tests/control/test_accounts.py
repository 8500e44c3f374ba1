"""Who a request is from."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from control import accounts
from core.errors import DaeError
from core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.at(tmp_path / "dae.db")
    made.migrate()
    return made


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


def test_a_token_is_its_owners(store: Store) -> None:
    """As Bearer, as the password of its owner or of nobody; under another name it is none."""
    token = accounts.add_user(store, "mary")
    for header in (
        f"Bearer {token}",
        basic(f"mary:{token}".encode()),
        basic(f":{token}".encode()),
        basic(f"__token__:{token}".encode()),
    ):
        assert accounts.authenticate(store, header).name == "mary"
    with pytest.raises(DaeError, match="auth/required"):
        accounts.authenticate(store, basic(f"root:{token}".encode()))


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic \xff", "Bearer \xff", "Basic !", basic(b"\xff:\xff"), basic(b"mary"), "Digest x"]
)
def test_headers_that_are_none(store: Store, header: str) -> None:
    """What is no base64, no UTF-8, or not even ASCII says that nobody asks; it is no defect of ours."""
    with pytest.raises(DaeError, match="auth/required"):
        accounts.authenticate(store, header)
