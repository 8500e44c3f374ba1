"""docs/cli.md and the command name the same things."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from dae.cli import VERBS, cli
from dae.cli.errors import CODES
from tests.sdk.conftest import DAE

SOURCE = Path(__file__).parents[2] / "sdk" / "dae"
PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SECTIONS = dict(re.findall(r"^## dae (\S+)\n(.*?)(?=^# |^## |\Z)", PAGE, re.M | re.S))
CONTEXT = click.Context(cli)


def test_every_verb_has_its_heading() -> None:
    """Each verb that is registered, the platform's too, is a heading; and each heading is a verb."""
    assert set(SECTIONS) == set(cli.list_commands(CONTEXT))


@pytest.mark.parametrize("verb", cli.list_commands(CONTEXT))
def test_every_option_is_in_its_verbs_section(verb: str) -> None:
    """Options and sub-commands are named where their verb is explained."""
    command = cli.get_command(CONTEXT, verb)
    assert command is not None
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else [])]
    for one in commands:
        assert one is command or one.name in SECTIONS[verb]
        for option in (p for p in one.params if isinstance(p, click.Option) and not p.hidden):
            assert any(name in SECTIONS[verb] for name in option.opts), f"dae {verb}: {option.opts}"


def test_every_verb_has_its_line_of_help() -> None:
    """The line in ``dae --help`` and the verb's own help are there; the verb exists under its name."""
    for name, (_, line) in VERBS.items():
        command = cli.get_command(CONTEXT, name)
        assert command is not None and command.name == name and command.help and line.endswith(".")


def test_every_code_is_explained() -> None:
    """The codes that the command itself makes are the table at the end of the page."""
    assert re.findall(r"^\| `([a-z/-]+)` \| (.*) \|$", PAGE, re.M) == list(CODES.items())


PLATFORMS = {
    "slug/damaged",
    "slug/unknown",
    "build/bad-procfile",
    "build/bad-requirements",
    "config/bad-key",
    "input/unknown-path",
}


def test_the_code_is_in_the_table() -> None:
    """No module of the command makes up a code that stands nowhere; build/ codes are the platform's own."""
    sources = [path.read_text() for folder in ("cli", "local") for path in (SOURCE / folder).rglob("*.py")]
    used = {code for text in sources for code in re.findall(r'CliError\(\s*"([a-z]+/[a-z-]+)"', text)}
    assert used - set(CODES) <= PLATFORMS


def test_starting_imports_little() -> None:
    """``dae --help`` needs neither HTTP nor the file watcher nor YAML: that is why it is quick."""
    code = "import sys; from dae import cli; cli.VERBS; print(*sys.modules)"
    modules = subprocess.run(
        [str(DAE.parent / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not {"urllib3", "watchdog", "yaml", "ssl", "dae.cli.client"} & set(modules.split())
