"""From what should run and what runs to the steps between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.nouns import Instance


@dataclass(frozen=True, slots=True)
class Start:
    """An instance is to be started."""

    instance: Instance

    def __str__(self) -> str:
        return f"start {self.instance.key}"


@dataclass(frozen=True, slots=True)
class Stop:
    """An instance is to be stopped."""

    instance: Instance

    def __str__(self) -> str:
        return f"stop {self.instance.key}"


Step = Start | Stop


def plan(desired: Iterable[Instance], actual: Iterable[Instance]) -> tuple[Step, ...]:
    """The steps from ``actual`` to ``desired``: starts first, so that nothing is away longer than it must."""
    wanted, there = set(desired), set(actual)
    starts = tuple(Start(instance) for instance in sorted(wanted - there))
    return starts + tuple(Stop(instance) for instance in sorted(there - wanted))


def text(steps: Iterable[Step]) -> str:
    """The plan for people, one step a line."""
    return "".join(f"{step}\n" for step in steps)
