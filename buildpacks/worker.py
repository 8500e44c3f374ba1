"""The program of a build: ``python -I -m buildpacks.worker DIR``, inside the account of the build.

Reads ``DIR/job.json``; leaves ``DIR/env``, ``DIR/lock.txt`` and ``DIR/result.json``. Its output is what a push shows.
Exit status 0 when the result is one, 1 when it is an error; 2 for wrong usage.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buildpacks import environment, locks
from buildpacks.deadline import Deadline
from buildpacks.engines import ENGINES, Engine, Tool
from buildpacks.job import Job
from buildpacks.keys import environment_digest, with_runtime
from buildpacks.requirements import Line, parse
from core.errors import DaeError
from core.files import write_atomically

BEAT_SECONDS = 8.0

Say = Callable[[str], None]


def build(job: Job, folder: Path, say: Say) -> dict[str, Any]:
    """Do ``job`` in ``folder``; returns the result's fields, raises what engines and environments raise."""
    work = folder / "tmp"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        tool = Tool(
            python=Path(job.python),
            index_url=job.index_url,
            workdir=work,
            cache=Path(job.cache) if job.cache else work / "cache",
            deadline=Deadline.after(job.timeout),
            show=lambda line: say(f" !     {line}"),
        )
        return _build(job, folder, tool, say)
    finally:
        shutil.rmtree(work, ignore_errors=True)  # the agent empties the whole folder later; what is left waits for it


def _build(job: Job, folder: Path, tool: Tool, say: Say) -> dict[str, Any]:
    engine = ENGINES[job.engine](tool)
    lock = locks.canonical(job.lock) if job.lock else _lock(job, engine, say)
    (folder / "lock.txt").write_text(lock, encoding="utf-8")
    digest = environment_digest(lock, job.interpreter)
    final = Path(job.environments) / digest
    names = locks.packages(lock)
    result = {"lock": lock, "environment": digest, "packages": list(names), "installed": False}
    if "install" not in job.steps:
        return result
    if final.is_dir():
        say(f"-----> Using the environment of {len(names)} packages that is there already")
        return result
    _install(tool, engine, folder / "env", lock, say)
    if "compile" in job.steps:
        with beating(say, "compiling bytecode"):
            environment.compile_bytecode(tool, folder / "env", final)
    return {**result, "installed": True}


def _lock(job: Job, engine: Engine, say: Say) -> str:
    lines: tuple[Line, ...] = parse(job.requirements, job.requirements_file)
    say(f"-----> Locking {len(lines)} requirement{'' if len(lines) == 1 else 's'} ({engine.name})")
    with beating(say, "resolving versions"):
        return locks.held_to(engine.lock(with_runtime(lines, job.interpreter)), lines)


def _install(tool: Tool, engine: Engine, env: Path, lock: str, say: Say) -> None:
    names = locks.packages(lock)
    say(f"-----> Installing {len(names)} packages ({engine.name})")
    for name in names:
        say(f"       {name.replace('==', ' ')}")
    with beating(say, "installing"):
        environment.create(tool, env)
        engine.install(lock, env)
        environment.relocate_scripts(env)


@contextmanager
def beating(say: Say, what: str, every: float = BEAT_SECONDS) -> Iterator[None]:
    """Say a line every so many seconds, so that whoever pushed sees that it goes on."""
    done = threading.Event()

    def beat() -> None:
        beats = 0
        while not done.wait(every):
            beats += 1
            say(f"       still {what} ({beats * every:g} s)")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the build."""
    if len(arguments) != 1:
        print("usage: python -I -m buildpacks.worker DIR", file=sys.stderr)  # noqa: T201 - a program's usage
        return 2
    folder = Path(arguments[0]).absolute()
    os.umask(0o022)  # environments are shared by all apps
    try:
        result = build(Job.from_json((folder / "job.json").read_bytes()), folder, _say)
        status = 0
    except DaeError as error:
        result, status = error.to_json(), 1
    except Exception as error:  # noqa: BLE001 - the outermost edge: the reason goes into the result and the log
        traceback.print_exc()
        result, status = DaeError("build/failed", f"{type(error).__name__}: {error}", "").to_json(), 1
    write_atomically(folder / "result.json", json.dumps(result, indent=1).encode() + b"\n", 0o644)
    return status


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the program's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
