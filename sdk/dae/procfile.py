"""``Procfile``: one ``name: command`` per line. Text in, a tuple of (name, command) out, in the file's order.

Strict on purpose: a line that is silently skipped is a process that silently does not run.
"""

from __future__ import annotations

import re

from dae.nodes import GrammarError

SIZE_CAP = 64 * 1024  # bytes
COMMAND_CAP = 4096  # characters
PROCESSES_CAP = 50

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def parse(text: str) -> tuple[tuple[str, str], ...]:
    """The processes in ``text``; raises :class:`GrammarError` ``build/bad-procfile``, whose cause names the line.

    Blank lines and lines that begin with ``#`` are skipped; lines may end in CR LF. The command goes to a shell as it
    stands, so a ``#`` inside it belongs to it.
    """
    if len(text.encode("utf-8", "replace")) > SIZE_CAP:
        raise GrammarError("build/bad-procfile", f"Procfile: it is larger than {SIZE_CAP // 1024} KiB", "shorten it")
    commands: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, raw in enumerate(text.lstrip("\ufeff").split("\n"), start=1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        name, command = _entry(line, number)
        if name in lines:
            cause = f"the process '{name}' stands twice, on line {lines[name]} and on line {number}"
            raise _error(number, cause, "remove or rename one of them")
        lines[name], commands[name] = number, command
    if len(commands) > PROCESSES_CAP:
        raise GrammarError("build/bad-procfile", f"Procfile: more than {PROCESSES_CAP} processes", "use fewer")
    return tuple(commands.items())


def _entry(line: str, number: int) -> tuple[str, str]:
    name, colon, command = line.partition(":")
    name, command = name.rstrip(" \t"), command.strip(" \t")
    if not colon:
        raise _error(number, f"{_show(line)} is not 'name: command'", "write, say, 'web: gunicorn app:app'")
    if not NAME.match(name):
        rule = "use 1 to 20 characters: a-z, 0-9 and '-', beginning with a letter"
        if NAME.match(first := name.split(" ")[0]):  # the command has a colon, and the name has none
            rule = f"write '{first}: COMMAND'"
        raise _error(number, f"{_show(name)} cannot be a process's name", rule)
    if not command:
        raise _error(number, f"the process '{name}' has no command", "write the command after the colon")
    if len(command) > COMMAND_CAP:
        raise _error(number, f"the command of '{name}' is longer than {COMMAND_CAP} characters", "put it in a script")
    if CONTROL.search(command) or re.search("[\ud800-\udfff]", command):
        raise _error(number, f"the command of '{name}' holds control characters", "remove them")
    return name, command


def _error(line: int, cause: str, hint: str) -> GrammarError:
    return GrammarError("build/bad-procfile", f"Procfile line {line}: {cause}", hint)


def _show(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
