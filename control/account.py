"""A run in a build's account: its work folder is prepared, the agent runs the worker there, and it is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from buildpacks.steps import CODE
from control.context import Context
from control.output import Output
from core.files import remove_tree, write_atomically


@contextmanager
def built(
    context: Context,
    number: int,
    output: Output,
    name: str,
    order: bytes,
    code: Path | None = None,
    bring: Callable[[Path], None] = lambda _work: None,
) -> Iterator[tuple[dict[str, Any], Path]]:
    """The result of a run of build ``number``, and its folder, which is removed afterwards.

    ``order`` is what the worker finds as the file ``name``; ``code``: a tree that it finds as the folder ``code``, and
    that is moved there; ``bring`` puts more into the folder. The run ends when nobody waits for the output any more.
    Raises ``build/*`` and ``push/cancelled``.
    """
    work = context.home.builds / str(number)
    remove_tree(work)
    work.mkdir(mode=0o700)
    try:
        write_atomically(work / name, order)  # the agent gives it to the account with all else
        if code is not None:
            code.rename(work / CODE)
        bring(work)
        yield context.node.agent.build(number, output.raw, output.check), work
    finally:
        with suppress(PermissionError):  # an agent that died on it: recovery removes the folder later
            remove_tree(work)
