"""What the command writes: data on stdout; progress, notes and errors on stderr; colour for people only."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click

from dae.cli.errors import CliError

# What a terminal would obey; tab and the letters of all languages stay.
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """``text`` without the characters by which somebody else's words could drive the reader's terminal."""
    return _CONTROL.sub("?", _COLOUR.sub("", text).rstrip("\r"))


def _coloured(stream: IO[str]) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _painted(line: str) -> str:
    if line.startswith(" !"):
        return click.style(line, fg="red")
    if line.startswith("=====>"):
        return click.style(line, fg="green", bold=True)
    return click.style(line, bold=True) if line.startswith("----->") else line


def progress(line: str) -> None:
    """One line of progress, on stderr."""
    line = clean(line)
    click.echo(_painted(line) if _coloured(sys.stderr) else line, err=True)


def step(text: str) -> None:
    progress(f"-----> {text}")


def detail(text: str) -> None:
    progress(f"       {text}")


def warn(text: str) -> None:
    progress(f" !     {text}")


def error(problem: CliError) -> None:
    """An error as a person sees it: what happened, and below it what to type next."""
    for line in problem.lines():
        progress(line)


def data(text: str) -> None:
    """One line of data, on stdout."""
    click.echo(clean(text))


@contextmanager
def counting(verb: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how many bytes of how many went, on one line of a terminal; elsewhere it shows nothing."""
    shown = -1

    def show(done: int, whole: int) -> None:
        nonlocal shown
        percent = done * 100 // whole if whole else 100
        if percent != shown:
            shown = percent
            click.echo(f"\r       {verb} {size(done)} of {size(whole)} ({percent}%) ", err=True, nl=False)

    terminal = sys.stderr.isatty()
    try:
        yield show if terminal else lambda _done, _whole: None
    finally:
        if shown >= 0:
            click.echo("", err=True)


def as_json(value: Any) -> None:
    """A value for programs, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns under their headings, on stdout; the heading is dimmed on a terminal."""
    cells = [[clean("" if cell is None else str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max([len(name)] + [len(row[index]) for row in cells]) for index, name in enumerate(columns)]
    heading = _aligned([name.upper() for name in columns], widths)
    click.echo(click.style(heading, dim=True) if _coloured(sys.stdout) else heading)
    for row in cells:
        click.echo(_aligned(row, widths))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()  # noqa: B905 - 3.9


def size(number: float) -> str:
    """Bytes as people read them: ``3.1 MB``."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def when(text: object) -> str:
    """A time of the API (ISO 8601, UTC) as people read it: to the second, with its zone."""
    return str(text or "")[:19].replace("T", " ") + ("Z" if text else "")
