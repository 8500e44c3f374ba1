"""Long work holds nobody up: while a pipe in the place of its file has nothing to read, others are served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from pypi_mirror import record
from pypi_mirror.bundle import Bundle, travelling
from pypi_mirror.model import File, Project
from tests.pypi_mirror.mirror_process import MirrorProcess, ask, poll

T = TypeVar("T")
FILE = File("a-1.0-py3-none-any.whl", "ab" * 32, url="x")
IMPORT = "import-" + "ab" * 16
#: Reads the log on, as the mirror does, and says that others go on meanwhile.
READS_ON = """\
from gevent import monkey; monkey.patch_all()
import gevent, sys
from pathlib import Path
from core.paths import Home
from pypi_mirror.keeping import read_log
from pypi_mirror.store import Store

home = Path(sys.argv[1])
reading = gevent.spawn(read_log, Store(Home(home)), home / "log")
gevent.sleep(0)
(home / "others-go-on").touch()
reading.get()
"""


def meanwhile(work: Callable[[], T], pipe: Path, content: bytes, others: Callable[[], object]) -> T:
    """What ``work`` returns, which opens the pipe once; ``others`` is done before it finds the content there."""

    def writable() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody opened it yet
            return None

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        descriptor = poll(writable)
        try:
            others()
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        return working.result(timeout=20)


def pipe_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def test_an_import(shared_mirror: MirrorProcess) -> None:
    """The document of what comes in, which may be large, is read beside the mirror's loop, and once."""
    entry = Project("came-in", (File("came_in-1.0-py3-none-any.whl", "ab" * 32, url="x"),), ("1.0",))
    document = Bundle((travelling(entry, {entry.files[0]: 9}, private=False),)).to_bytes()
    pipe = pipe_at(shared_mirror.home / "mirror" / "tmp" / IMPORT / "bundle.json")
    answer = meanwhile(
        lambda: ask(shared_mirror.port, f"/mirror/imports/{IMPORT}", method="POST"),
        pipe,
        document,
        lambda: others_are_served(shared_mirror),
    )
    assert (answer.status, json.loads(answer.body)["projects"]) == (200, 1)


@pytest.mark.parametrize("path", ["/pypi/project/piped/", "/pypi/simple/piped/?why=1"])
def test_a_page(path: str, shared_mirror: MirrorProcess) -> None:
    """So is a project, for its page for people and for why files of it are hidden."""
    pipe = pipe_at(shared_mirror.home / "mirror" / "private" / "piped.json")
    document = record.dump(Project("piped", (FILE,), ("1.0",)))
    try:
        answer = meanwhile(lambda: shared_mirror.get(path), pipe, document, lambda: others_are_served(shared_mirror))
    finally:
        pipe.unlink()
    assert (answer.status, FILE.filename in answer.text) == (200, "project" in path)


def others_are_served(mirror: MirrorProcess) -> None:
    assert mirror.get("/pypi/project/nobody-knows/").status == 404


def test_the_log(tmp_path: Path) -> None:
    """So is nginx's access log."""
    line = {"path": "/pypi/simple/a/", "status": 200, "bytes": 1, "upstream": "", "time": "2026-01-01T00:00:00+00:00"}
    (tmp_path / "log").write_text(json.dumps(line, separators=(",", ":")) + "\n")
    counts = pipe_at(tmp_path / "mirror" / "access.json")
    argv = [sys.executable, "-c", READS_ON, str(tmp_path)]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[2]) as process:
        try:
            meanwhile(lambda: None, counts, b'{"page_hits": 7}', lambda: poll((tmp_path / "others-go-on").exists))
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert json.loads(counts.read_text())["page_hits"] == 8
