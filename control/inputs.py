"""What a request of the API says, field by field; what is not as it should be raises ``input/invalid``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask

from control.output import Output
from control.streaming import stream
from core.errors import DaeError
from core.nouns import Stage
from core.nouns import stage as stage_named

NDJSON = "application/x-ndjson"


def body() -> dict[str, Any]:
    """The request's body, a JSON object."""
    try:
        data = flask.request.get_json(silent=True, force=True)
    except RecursionError:  # nested more deeply than any request is
        data = None
    if not isinstance(data, dict):
        raise DaeError("input/invalid", "the body is not a JSON object", "see docs/api.md")
    return data


def text(data: dict[str, Any], key: str, default: str | None = None) -> str:
    """A field that is a text; without a ``default`` it must be there."""
    value = data.get(key, default)
    if not isinstance(value, str):
        raise DaeError("input/invalid", f"{key} must be a text", "see docs/api.md")
    return value


def flag(data: dict[str, Any], key: str) -> bool:
    """A field that is true or false, false when it is not there."""
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise DaeError("input/invalid", f"{key} must be true or false", "see docs/api.md")
    return value


def texts(data: dict[str, Any], key: str) -> dict[str, str]:
    """A field that is an object of texts, empty when it is not there."""
    value = data.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise DaeError("input/invalid", f"{key} must be an object of texts", "see docs/api.md")
    return value


def names(data: dict[str, Any], key: str) -> list[str]:
    """A field that is a list of texts, empty when it is not there."""
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DaeError("input/invalid", f"{key} must be a list of texts", "see docs/api.md")
    return value


def number(digits: str | None, key: str, default: int, most: int) -> int:
    """A number from 0 to ``most`` in an address; ``default`` when it is not there."""
    if digits is None:
        return default
    if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(most)) or int(digits) > most:
        raise DaeError("input/invalid", f"{key} must be a number up to {most}", "see docs/api.md")
    return int(digits)


def stage_argument() -> Stage:
    """The stage that the query names, dev when it names none."""
    return stage_named(flask.request.args.get("stage", "dev"))


def streamed(work: Callable[[Output], dict[str, Any]]) -> flask.Response:
    """The answer to long work (control.streaming)."""
    return flask.Response(stream(work), mimetype=NDJSON, headers={"X-Accel-Buffering": "no"})
