"""Documents that come from elsewhere, and are taken only as a platform would have written them, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from core.errors import DaeError


class Document(Protocol):
    """What is written as canonical JSON, whose key ``format`` says which fields there are."""

    def to_bytes(self) -> bytes: ...


D = TypeVar("D", bound=Document)


def read_exactly(data: bytes, version: int, made: Callable[[Any], D], bad: Callable[[str], DaeError]) -> D:
    """The document that ``made`` makes of the JSON in ``data``, whose ``format`` is ``version``.

    Raises what ``bad`` makes of the cause when that fails, or when it would be written in other bytes than these.
    """
    try:
        facts = json.loads(data)
        if facts["format"] != version:
            raise ValueError(f"it has format {facts['format']!a:.20}, and this platform reads {version}")
        document = made(facts)
        exact = document.to_bytes() == data
    except DaeError as error:  # of a noun that cannot be so
        raise bad(f"the archive's document cannot be read: {error.cause}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise bad(f"the archive's document cannot be read: {ascii(error)[:200]}") from error
    if not exact:
        raise bad("the archive's document is not written as a platform writes it")
    return document
