"""The composition root: which implementations the workflows work with. Embedded here; a cluster differs here only."""

from __future__ import annotations

from dataclasses import dataclass, field

from buildpacks.compile import Spare
from control.node import Node
from control.reads import Reads
from core.config import Settings
from core.coord import Coord, EmbeddedCoord
from core.paths import Home
from core.store import Store
from runner.client import Agent
from slugs import SlugStore


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a workflow needs, passed in."""

    settings: Settings
    home: Home
    store: Store
    coord: Coord
    slugs: SlugStore
    node: Node
    #: Whether apps and builds have UNIX accounts of their own: on an install that root made.
    accounts: bool
    #: The builds that this process is at work on: the record of any other was left behind.
    building: set[int] = field(default_factory=set)
    #: The folders of archives that are written or sent just now.
    exporting: set[str] = field(default_factory=set)
    #: The environments that tests run in just now: no slug may need them.
    testing: set[str] = field(default_factory=set)
    #: A compiler for the next build.
    spare: Spare = field(default_factory=Spare)
    #: When layers were last read as a whole.
    reads: Reads = field(default_factory=Reads)


def embedded(settings: Settings) -> Context:
    """One machine: SQLite, locks in it, and this node's own agent."""
    home = Home(settings.home)
    store = Store.at(home.database)
    slugs = SlugStore(home)
    node = Node(Agent(home.socket("agent")), store, slugs, home)
    return Context(settings, home, store, EmbeddedCoord(store), slugs, node, _root_made(home))


def _root_made(home: Home) -> bool:
    return home.agent_state.stat().st_uid == 0
