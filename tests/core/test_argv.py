"""Running programs: bounded in time and memory, with nothing of our environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import argv
from tests.core.coord_contract import wait_for
from tests.processes import alive

PYTHON = sys.executable


def test_output_and_status() -> None:
    """stdout and stderr come together, in order; the exit status is told."""
    outcome = argv.run(["sh", "-c", "echo a; echo b >&2; echo c; exit 3"])
    assert (outcome.output, outcome.status, outcome.ok) == ("a\nb\nc\n", 3, False)
    assert argv.run(["true"]).ok


def test_no_such_program() -> None:
    """A missing program is an exception, not a status."""
    with pytest.raises(FileNotFoundError):
        argv.run(["there-is-no-such-program"])


def test_words_are_not_read_by_a_shell() -> None:
    """What stands in a word stays in it."""
    assert argv.run(["echo", "$HOME; `id` $(id) > x"]).output == "$HOME; `id` $(id) > x\n"


def test_environment_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees the clean environment and what it was given, nothing else."""
    monkeypatch.setenv("DAE_SECRET", "leak")
    monkeypatch.setenv("GIT_DIR", "/leak")
    monkeypatch.setenv("PATH", "/leak")
    lines = argv.run(["env"], environ={"MINE": "x"}).output.splitlines()
    assert sorted(lines) == sorted([*(f"{k}={v}" for k, v in argv.CLEAN_ENVIRON.items()), "MINE=x"])


def test_descriptors_do_not_leak() -> None:
    """No open file of ours is open in the program."""
    with Path("/etc/passwd").open("rb") as file:
        os.set_inheritable(file.fileno(), True)
        names = argv.run(["ls", "/proc/self/fd"]).output.split()
    assert len(names) == 4, "0, 1, 2 and the folder that ls reads"


def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    """When time is up, the program and its children are killed, TERM-proof ones too, and that is told."""
    code = f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/child; echo begun; wait"
    outcome = argv.run(["sh", "-c", code], timeout=1)
    assert outcome.timed_out and not outcome.ok and outcome.status == -9
    assert outcome.output == "begun\n"
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not alive(child))


def test_a_grandchild_that_holds_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """The end of the program is the end, though a grandchild keeps its output open."""
    outcome = argv.run(["sh", "-c", f"sleep 300 & echo $! > {tmp_path}/child; echo done"], timeout=60)
    assert outcome.ok and outcome.output == "done\n"
    child = int((tmp_path / "child").read_text())
    assert alive(child)
    os.kill(child, 9)


def test_a_program_that_closes_its_output_is_still_bounded() -> None:
    """End of output is not the end of the program: it goes on counting against the time."""
    outcome = argv.run(["sh", "-c", "exec >&- 2>&-; sleep 300"], timeout=0.5)
    assert outcome.timed_out and outcome.status == -9


def test_input_reaches_the_program() -> None:
    """More input than a pipe holds arrives whole."""
    assert argv.run(["wc", "-c"], stdin=b"x" * 3_000_000).output.split() == ["3000000"]


def test_input_that_nobody_reads_holds_nobody() -> None:
    """A program that ignores a large input and runs on ends at its time-out."""
    assert argv.run(["sleep", "300"], stdin=b"x" * 3_000_000, timeout=0.5).timed_out
    assert argv.run(["true"], stdin=b"x" * 3_000_000).ok


def test_no_input_means_end_of_file() -> None:
    """A program that reads gets nothing, not our terminal."""
    assert argv.run(["cat"]).output == ""


def test_output_is_capped() -> None:
    """Of endless output the last bytes are kept, and no more."""
    code = "import sys; [sys.stdout.write('x' * 99_999 + chr(10)) for _ in range(100)]; print('the end')"
    outcome = argv.run([PYTHON, "-c", code], output_bytes=1000)
    assert len(outcome.output) == 1000
    assert outcome.output.endswith("x\nthe end\n")


def test_lines_come_as_they_are_written() -> None:
    """``on_line`` gets each line once: without its end, the unfinished last one too, bad bytes replaced."""
    lines: list[str] = []
    argv.run(["printf", r"one\r\ntwo\n\n\377\nlast"], on_line=lines.append)
    assert lines == ["one", "two", "", "\ufffd", "last"]


def test_lines_come_before_the_end(tmp_path: Path) -> None:
    """A line is given out while the program still runs."""
    seen = tmp_path / "seen"
    outcome = argv.run(
        ["sh", "-c", f"echo go; while [ ! -e {seen} ]; do sleep 0.02; done"], on_line=lambda _line: seen.touch()
    )
    assert outcome.ok


def test_a_line_without_end_comes_in_pieces() -> None:
    """No line is collected beyond LINE_BYTES and one read."""
    lines: list[str] = []
    argv.run([PYTHON, "-c", "print('x' * 1_000_000, end='')"], on_line=lines.append)
    assert "".join(lines) == "x" * 1_000_000
    assert max(map(len, lines)) <= 2 * argv.LINE_BYTES


def test_what_on_line_raises_kills_the_program(tmp_path: Path) -> None:
    """A reader that fails leaves no program behind."""

    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError) as raised:
        argv.run(["sh", "-c", "echo $$; sleep 300"], on_line=refuse)
    assert not alive(int(str(raised.value)))


def test_under_gevent_others_run_meanwhile() -> None:
    """In a patched process, a program that runs does not stop the other greenlets; time-outs hold."""
    code = (
        "import gevent.monkey; gevent.monkey.patch_all()\n"
        "import gevent, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from core import argv\n"
        "job = gevent.spawn(argv.run, ['sh', '-c', 'echo a; sleep 0.5; echo b'])\n"
        "ticks = 0\n"
        "while not job.ready(): gevent.sleep(0.02); ticks += 1\n"
        "print(job.value.output.split(), ticks > 5, argv.run(['sleep', '300'], timeout=0.3).timed_out)\n"
    )
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "['a', 'b'] True True\n", done.stderr


def test_killing_a_group_that_is_gone() -> None:
    """Nothing happens when there is nothing to kill."""
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    argv.kill_group(process.pid)


def test_what_check_raises_ends_the_program() -> None:
    """A silent program is ended as soon as nobody wants it any more, and so is what it started."""
    asked: list[int] = []

    def gone() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise ValueError("nobody waits")

    with pytest.raises(ValueError, match="nobody waits"):
        argv.run([sys.executable, "-c", "import time; time.sleep(60)"], check=gone)


def test_a_program_in_the_callers_group() -> None:
    """Without a session of its own it ends with whoever ends the caller's group; in time it is ended alone."""
    shown = argv.run([sys.executable, "-c", "import os; print(os.getpgid(0))"], own_session=False)
    assert int(shown.output) == os.getpgid(0)
    assert argv.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3, own_session=False).timed_out
