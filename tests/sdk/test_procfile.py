"""The grammar of Procfile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dae.appfile import GrammarError
from dae.procfile import parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ()),
        ("web: gunicorn app:app", (("web", "gunicorn app:app"),)),
        ("# processes\n\nweb: a\n  # more\nqueue-2: b", (("web", "a"), ("queue-2", "b"))),
        ("web: a\r\nworker: b\r\n", (("web", "a"), ("worker", "b"))),
        ("web:a", (("web", "a"),)),
        ("  web : a b \t", (("web", "a b"),)),
        ("web: echo '#' : $PORT ${PORT:-80}", (("web", "echo '#' : $PORT ${PORT:-80}"),)),
        ("\ufeffweb: a", (("web", "a"),)),
        ("web: a\tb", (("web", "a\tb"),)),
        ("web: ./café", (("web", "./café"),)),
        ("b: 1\na: 2", (("b", "1"), ("a", "2"))),
    ],
)
def test_accepted(text: str, wanted: tuple[tuple[str, str], ...]) -> None:
    """Processes come out in the file's order; comments, blank lines, CR LF and a byte order mark don't matter."""
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("web: a\nweb: b", 2, "line 1 and on line 2"),
        ("web gunicorn", 1, "'web gunicorn' is not 'name: command'"),
        ("web: a\n\njunk\n", 3, "junk"),
        ("web:", 1, "no command"),
        ("web:   \r\n", 1, "no command"),
        (": a", 1, "process's name"),
        ("Web: a", 1, "process's name"),
        ("2web: a", 1, "process's name"),
        ("we b: a", 1, "process's name"),
        ("../web: a", 1, "process's name"),
        ("web_1: a", 1, "process's name"),
        ("web\u200b: a", 1, "process's name"),
        ("w" * 21 + ": a", 1, "process's name"),
        ("web: a\x00b", 1, "control characters"),
        ("web: a\rqueue: b", 1, "control characters"),
        ("web: a\x1b[2J", 1, "control characters"),
        ("web: \ud800", 1, "control characters"),
        ("web: " + "x" * 5000, 1, "longer than"),
    ],
)
def test_refused(text: str, line: int, told: str) -> None:
    """What is not a process is refused with the number of its line; nothing is skipped silently."""
    with pytest.raises(GrammarError) as caught:
        parse(text)
    assert caught.value.code == "build/bad-procfile"
    assert caught.value.cause.startswith(f"Procfile line {line}: ")
    assert told in caught.value.cause
    assert caught.value.hint


def test_a_forgotten_colon_is_seen_through_the_commands_own() -> None:
    """``web gunicorn app:app`` lacks the colon after ``web``, and is told so."""
    with pytest.raises(GrammarError) as caught:
        parse("web gunicorn app:app")
    assert caught.value.hint == "write 'web: COMMAND'"


def test_sizes() -> None:
    """The file and the number of processes are capped."""
    for text in ("#" + "x" * 70_000, "".join(f"p{n}: x\n" for n in range(51))):
        with pytest.raises(GrammarError):
            parse(text)


@given(st.text() | st.text(alphabet="web:# \t\r\n$\x00\ud800\u2028", max_size=80))
def test_never_another_error(text: str) -> None:
    """Whatever the text, it is parsed into usable processes or refused with the one error."""
    try:
        processes = parse(text)
    except GrammarError:
        return
    assert all(name and command and "\n" not in command and "\0" not in command for name, command in processes)
