"""Documentation that fails the build: every error code, event and setting is on its page, and nothing else is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import CATALOG
from core.events import EVENTS

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str, columns: int) -> list[list[str]]:
    """The cells of the rows, of tables with that many columns, whose first cell is in backticks; without backticks."""
    found = []
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            found.append([cells[0].strip("`"), *cells[1:]])
    return found


def test_errors() -> None:
    """Each code has one row with its status, what it means and what to do; no row has a code that does not exist."""
    found = rows("errors.md", 4)
    assert sorted(row[0] for row in found) == sorted(CATALOG)
    for code, status, meaning, what in found:
        assert int(status) == CATALOG[code].status, code
        assert meaning.endswith(".") and what.endswith("."), code


def test_errors_stand_in_their_areas() -> None:
    """The section of a code names its area."""
    section = ""
    for line in (DOCS / "errors.md").read_text().splitlines():
        if line.startswith("## "):
            section = line[3:].split(":")[0]
        elif line.startswith("| `"):
            assert line[3:].split("/")[0] in section.split(", "), line[:40]


def test_events() -> None:
    """Each kind has one row, which says the catalogue's sentence; no row has a kind that does not exist."""
    found = rows("events.md", 3)
    assert sorted(row[0] for row in found) == sorted(EVENTS)
    for kind, fact, _data in found:
        assert fact.lower().startswith(EVENTS[kind].lower()), kind


@pytest.mark.parametrize("kind", EVENTS)
def test_events_are_past(kind: str) -> None:
    """A kind is a noun and a participle."""
    noun, fact = kind.rsplit("-", 1)
    assert noun.isalpha() and (fact.endswith("ed") or fact == "live")


def test_config() -> None:
    """Each setting has one row with its variable and its default, in the order of the class; no other row is there."""
    found = rows("config.md", 4)
    fields = dataclasses.fields(Settings)
    assert [row[0] for row in found] == [field.name for field in fields]
    for field, (name, variable, default, meaning) in zip(fields, found, strict=True):
        value = "" if field.default in (dataclasses.MISSING, "", ()) else f"`{field.default}`"
        assert (variable, default) == (f"`DAE_{name.upper()}`", value)
        assert meaning.endswith(".")
