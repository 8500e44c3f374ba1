"""Warm starts, for the doors: a push's instance is begun as soon as it is known which release it will probably be."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa

from control import releases
from core.errors import DaeError
from core.nouns import BRANCH_STAGES, Instance, ProcessType
from core.paths import Home
from core.store import Store
from runner.client import Agent
from slugs import SlugStore

log = logging.getLogger("dae.receiver")


def begin(home: Home, store: Store, app: str, refs: Sequence[str]) -> ExitStack:
    """Have the first half of the next release's start done while ``refs`` of the app are pushed; see ``runner.warm``.

    Until what is returned is closed. The release will most likely be like the live one of its stage, and get the next
    number; if not, or if this does not work, nothing but time is lost.
    """
    begun = ExitStack()
    try:
        agent = Agent(home.socket("agent"))
        for key, like in _expected(home, store, app, refs):
            begun.enter_context(_held(agent, key, like))
    except (DaeError, sa.exc.SQLAlchemyError) as error:
        log.info("no warm start of %s: %s", app, error)
    return begun


def _expected(home: Home, store: Store, app: str, refs: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The keys of the instances to come, each with the number of the live release that it will be like."""
    stages = [stage for ref in refs if (stage := BRANCH_STAGES.get(ref.removeprefix("refs/heads/")))]
    live = releases.live(store, app).get((app, stages[0])) if len(stages) == 1 else None
    if live is None:
        return
    number = releases.next_number(store, app)
    for process in SlugStore(home).load(live.slug).processes:
        if process.kind is ProcessType.WEB:
            yield Instance(app, live.stage, number, process.name).key, live.number


@contextmanager
def _held(agent: Agent, key: str, like: int) -> Iterator[None]:
    with ExitStack() as asked:
        asked.enter_context(agent.warm(key, like))
        yield
        try:
            asked.close()
        except DaeError as error:
            log.info("the warm start of %s: %s", key, error.line())
