"""What the manifest of a slug may say, whoever wrote it: asked where its nouns are made. All raise ValueError.

What people write is bounded more narrowly, and with a line of their file in the error, where it is read (sdk/dae).
"""

from __future__ import annotations

import re

WORKERS = 64
SECONDS = 3600
COMMAND_CHARS, PATTERN_CHARS, PATH_CHARS = 4096, 512, 1024
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_REQUESTED = re.compile(r"/[!-~]*\Z")  # printable ASCII without a blank: it becomes a request line


def number(value: object, what: str, low: int, high: int) -> None:
    """A whole number from ``low`` to ``high``."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} is {value!a:.40}, and not a whole number from {low} to {high}")


def line(value: object, what: str, most: int) -> None:
    """A text of at most ``most`` characters on one line."""
    if not isinstance(value, str) or len(value) > most or _CONTROL.search(value):
        raise ValueError(f"{what} is not a line of at most {most} characters, without control characters")


def pattern(value: object, what: str) -> None:
    """A regular expression that Python accepts."""
    line(value, what, PATTERN_CHARS)
    try:
        re.compile(str(value))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{what} is not a regular expression that Python accepts: {error}") from error


def requested(value: object, what: str) -> None:
    """A path that can be asked for."""
    line(value, what, PATH_CHARS)
    if not _REQUESTED.match(str(value)):
        raise ValueError(f"{what} is {value!a:.40}, which cannot be asked for")


def inside(value: object, what: str) -> None:
    """A relative path that stays where it is put."""
    line(value, what, PATH_CHARS)
    if str(value).startswith(("/", "~")) or ".." in str(value).split("/"):
        raise ValueError(f"{what} is {value!a:.40}, which is not inside the code")
