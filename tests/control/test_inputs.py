"""What the API takes from a request, and what it refuses before any workflow sees it."""

from __future__ import annotations

import flask
import pytest

from control import inputs
from core.errors import DaeError
from core.nouns import Stage


@pytest.mark.parametrize("digits", ["-1", "1.0", "x", "", "²", "11", "9" * 5000])
def test_numbers_that_are_none(digits: str) -> None:
    """A sign, a fraction, another script's digit, and more than the most are refused, however long."""
    with pytest.raises(DaeError, match="input/invalid"):
        inputs.number(digits, "lines", 5, 10)


def test_numbers() -> None:
    """What is not there is the default; up to the most is taken."""
    assert [inputs.number(text, "lines", 5, 10) for text in (None, "0", "10")] == [5, 0, 10]


def test_fields() -> None:
    """A field has the type that it must have, and a text without a default must be there."""
    data = {"name": "blog", "dry_run": True, "wrong": 1}
    assert (inputs.text(data, "name"), inputs.text(data, "other", "x")) == ("blog", "x")
    assert (inputs.flag(data, "dry_run"), inputs.flag(data, "other")) == (True, False)
    for wrong in (
        lambda: inputs.text(data, "other"),
        lambda: inputs.text(data, "wrong"),
        lambda: inputs.flag(data, "wrong"),
    ):
        with pytest.raises(DaeError, match="input/invalid"):
            wrong()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 50_000])
def test_bodies_that_are_no_object(body: bytes) -> None:
    """A body that is not a JSON object is refused."""
    with (
        flask.Flask("x").test_request_context(method="POST", data=body),
        pytest.raises(DaeError, match="input/invalid"),
    ):
        inputs.body()


def test_stages() -> None:
    """dev when the query names none; a stage that is none is refused."""
    app = flask.Flask("x")
    with app.test_request_context("/"):
        assert inputs.stage_argument() is Stage.DEV
    with app.test_request_context("/?stage=beta"):
        assert inputs.stage_argument() is Stage.BETA
    with app.test_request_context("/?stage=prod"), pytest.raises(DaeError, match="input/invalid"):
        inputs.stage_argument()
