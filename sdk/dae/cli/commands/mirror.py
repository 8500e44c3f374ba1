"""mirror: the group; each family of its verbs is a module of its own, which adds them to it."""

from __future__ import annotations

import click

from dae.cli import context


@click.group(cls=context.Group)
def mirror() -> None:
    """The package index: what is your own in it, what it holds, and what it lets through."""


# What adds its verbs to the group by being imported:
from dae.cli.commands import mirror_keeping, mirror_moving, mirror_policy, mirror_private  # noqa: E402, F401 - they need the group
