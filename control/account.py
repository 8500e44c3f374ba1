"""A run in a build's account: its work folder is prepared, the agent runs the worker there, and it is removed."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from packaging.utils import parse_wheel_filename

from buildpacks.job import JOB, Job
from buildpacks.steps import CODE
from control.context import Context
from control.output import Output
from core.cooperative import aside
from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import now
from core.store import BuildRow


@contextmanager
def built(
    context: Context,
    number: int,
    output: Output,
    name: str,
    order: bytes,
    code: Path | None = None,
    folder: str = CODE,
    bring: Callable[[Path], None] = lambda _work: None,
) -> Iterator[tuple[dict[str, Any], Path]]:
    """The result of a run of build ``number``, and its folder, which is removed afterwards.

    ``order`` is what the worker finds as the file ``name``; ``code``: a tree that it finds as that ``folder``, and
    that is moved there; ``bring`` puts more into the folder. The run ends when nobody waits for the output any more.
    Raises ``build/*`` and ``push/cancelled``.
    """
    work = context.home.builds / str(number)
    remove_tree(work)
    work.mkdir(mode=0o700)
    try:
        write_atomically(work / name, order)  # the agent gives it to the account with all else
        if code is not None:
            code.rename(work / folder)
        bring(work)
        yield context.node.agent.build(number, output.raw, output.check), work
    finally:
        with suppress(PermissionError):  # an agent that died on it: recovery removes the folder later
            aside(remove_tree, work)


def built_wheel(context: Context, number: int, output: Output, job: Job, into: Path, code: Path | None = None) -> Path:
    """Have the job build a wheel; returns where that lies in the new folder ``into``. ``code``: see :func:`built`."""
    with built(context, number, output, JOB, job.to_json(), code) as (result, work):
        name = str(result.get("wheel"))
        into.mkdir()
        try:
            parse_wheel_filename(name)
            if "/" in name or not stat.S_ISREG((work / "wheel" / name).lstat().st_mode):
                raise ValueError("it is no file")
            return (work / "wheel" / name).rename(into / name)
        except (OSError, ValueError) as error:
            raise DaeError("build/failed", f"the build left no wheel called {name[:80]!a}", "push again") from error


@contextmanager
def borrowed_number(context: Context, app: str, who: str) -> Iterator[int]:
    """A build's number for as long as it takes: accounts, folders and what recovery removes are called by it.

    A row without a commit is no build: no listing has it, and recovery removes one that was left.
    """
    number = 0
    try:
        with context.store.write() as session:
            row = BuildRow(app=app, commit="", who=who, state="running", slug="", error="", created=now())
            session.add(row)
            session.flush()
            number = row.id
            context.building.add(number)  # before anybody else can see the record
        yield number
    finally:
        context.building.discard(number)
        with context.store.write() as session:
            session.execute(sa.delete(BuildRow).where(BuildRow.id == number))
