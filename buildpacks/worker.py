"""The program of a build's account: ``python -I -m buildpacks.worker DIR``. Whatever runs code of packages is here.

Reads ``DIR/job.json``; leaves ``DIR/result.json`` and, when it built a source distribution, ``DIR/wheel/FILE.whl``. Or
reads ``DIR/steps.json``, and runs what that says in ``DIR/code``. Its output is what a push shows. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildpacks import locks, stepping, steps
from buildpacks.deadline import Deadline
from buildpacks.engines import ENGINES, Engine, Tool
from buildpacks.index import Index, IndexFile
from buildpacks.job import JOB, Job
from buildpacks.keys import with_runtime
from buildpacks.requirements import Line, parse
from core import program
from core.program import Say, beating


def build(folder: Path, say: Say) -> dict[str, Any]:
    """Do the job of ``folder``; returns ``{"lock": text}`` or ``{"wheel": file name}``, raises what engines raise.

    For steps: returns and raises what :func:`buildpacks.stepping.run` does.
    """
    if (folder / steps.ORDER).exists():
        return stepping.run(folder, steps.Order.from_json((folder / steps.ORDER).read_bytes()), say)
    job = Job.from_json((folder / JOB).read_bytes())
    work = folder / "tmp"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        tool = Tool(
            python=Path(job.python),
            index_url=job.index_url,
            workdir=work,
            cache=work / "cache",
            deadline=Deadline.after(job.timeout),
            show=lambda line: say(f" !     {line}"),
        )
        engine = ENGINES[job.engine](tool)
        if job.given:
            return {"wheel": _given_wheel(job, engine, folder, say)}
        if job.source is not None:
            return {"wheel": _wheel(job, job.source, engine, tool, folder / "wheel", say)}
        return {"lock": _lock(job, engine, folder, say)}
    finally:
        shutil.rmtree(work, ignore_errors=True)  # the agent empties the whole folder later; what is left waits for it


def _lock(job: Job, engine: Engine, folder: Path, say: Say) -> str:
    lines, constraints, held, preferred = (
        parse(text, job.requirements_file) for text in (job.requirements, job.constraints, job.held, job.preferred)
    )
    lines = tuple(
        _here(line, job.wheels, folder / steps.CODE) for line in lines if not line.source or line.name in job.wheels
    )
    count = f"{len(lines)} requirement{'' if len(lines) == 1 else 's'}"
    what = "what every app gets, beside it" if constraints and not lines else count
    say(f"-----> Locking {what} ({engine.name})")
    limits = (*constraints, *held)
    wanted = with_runtime(lines, job.interpreter, limits)
    with beating(say, "resolving versions"):
        lock = engine.lock(wanted, _texts(limits), job.options, _texts(preferred))
    taken = {f"{release.name}=={release.version}" for release in locks.releases(lock)}
    stayed = [line for line in (*held, *preferred) if line.text in taken]
    # One after the other: the app's own hashes bind also where an earlier lock has more.
    return locks.held_to(locks.held_to(lock, (*lines, *constraints)), stayed)


def _texts(lines: Iterable[Line]) -> list[str]:
    return [line.text for line in lines]


def _here(line: Line, wheels: Mapping[str, str], folder: Path) -> Line:
    """The line with the wheel that lies here in the place of its address: nothing else can be reached from here."""
    if line.source is None:
        return line
    return replace(line, text=line.text.replace(line.source.address, (folder / wheels[line.name]).as_uri()))


def _given_wheel(job: Job, engine: Engine, folder: Path, say: Say) -> str:
    say(f"-----> Building a wheel of it ({engine.name})")
    with beating(say, "building"):
        return engine.wheel(folder / steps.CODE / job.given, folder / "wheel").name


def _wheel(job: Job, source: IndexFile, engine: Engine, tool: Tool, out: Path, say: Say) -> str:
    say(f"-----> Building {source.filename} ({engine.name}): it has no wheel for {job.interpreter}")
    path = tool.workdir / source.filename
    Index(job.index_url, tool.deadline).download(source, path)
    with beating(say, "building"):
        return engine.wheel(path, out).name


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the build."""
    os.umask(0o022)
    return program.run("buildpacks.worker", arguments, build)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
