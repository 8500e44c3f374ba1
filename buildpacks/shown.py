"""What a push sees of a program's output: whole lines, indented and bounded, without the values of secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

LINE_CHARS = 1000
LINE_BYTES = 256 * 1024  # more of one line is not looked at
TOTAL_CHARS = 512 * 1024
LINE_COST = 40  # characters that a line costs besides its own, on its way to a terminal
SECRET_CHARS = 6  # a shorter value stands everywhere: without it nothing could be read any more
_CONTROLS = bytes(code for code in (*range(0x09), *range(0x0A, 0x20), 0x7F) if code != 0x0D)


class Shown:
    """Takes bytes as they come and says lines; the values of ``secrets`` become their names in brackets."""

    def __init__(self, secrets: Mapping[str, str], say: Callable[[str], None], most: int = TOTAL_CHARS) -> None:
        self._pieces = _pieces(secrets)
        self._longest = max((len(piece) for piece, _ in self._pieces), default=0)
        self._say = say
        self._left = most
        self._pending = bytearray()
        self._cut = False

    def feed(self, data: bytes) -> None:
        """More output; a line is shown once it is whole, so that no secret is missed that came in two parts."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._add(line)
            self.flush()
        self._add(rest)

    def flush(self) -> None:
        """Show what came since the last newline."""
        self._show(self._line())
        self._pending.clear()
        self._cut = False

    def close(self) -> None:
        """The program ended: show a last line that has no end."""
        if self._pending:
            self.flush()

    def _add(self, data: bytes) -> None:
        room = LINE_BYTES - len(self._pending)
        self._cut = self._cut or len(data) > room
        self._pending += data[:room]

    def _line(self) -> str:
        # Of a line that is written over and over (a progress bar) the last state.
        text = bytes(self._pending).rstrip(b"\r").rpartition(b"\r")[2].translate(None, _CONTROLS)
        for piece, mark in self._pieces:
            text = text.replace(piece, mark)
        if self._cut and self._longest:
            text = text[: -self._longest]  # it may end in the beginning of a secret
        line = text.decode(errors="replace")
        return line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 3] + "..."

    def _show(self, line: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(line) + LINE_COST
        self._say(f"       {line}")
        if self._left <= 0:
            self._say("       (the output is too long: the rest of it is not shown)")


def redacted(text: str, secrets: Mapping[str, str]) -> str:
    """A line of our own words about a program, without the values of ``secrets``."""
    said = list[str]()
    shown = Shown(secrets, said.append)
    shown.feed(text.encode(errors="replace"))
    shown.close()
    return "".join(line.strip() for line in said)


def _pieces(secrets: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """What to look for and what to put there: each line of each value, the longest first."""
    found = {}
    for name, value in secrets.items():
        for line in value.splitlines():
            piece = line.strip().encode(errors="replace").translate(None, _CONTROLS)
            if len(piece) >= SECRET_CHARS:
                found[piece] = f"[{name}]".encode()
    return sorted(found.items(), key=lambda item: len(item[0]), reverse=True)
