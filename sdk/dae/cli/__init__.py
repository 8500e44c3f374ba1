"""The command ``dae``. Each verb's module is imported when that verb is asked for, so that starting costs little."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Optional

import click

from dae import __version__

ENTRY_POINTS = "dae.commands"

#: verb -> (module in dae.cli.commands, the line in ``dae --help``), in reading order.
VERBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "login": ("account", "Log in to a platform."),
        "logout": ("account", "Forget a platform's token."),
        "whoami": ("account", "Who you are, and where."),
        "users": ("account", "List users, or add one."),
        "tokens": ("tokens", "Tokens for single projects of the index."),
        "create": ("apps", "Make an app, and tie this repository to it."),
        "remote": ("apps", "Tie this repository to an app that exists."),
        "apps": ("apps", "List your apps."),
        "info": ("apps", "Show an app: what is live in each stage."),
        "rename": ("apps", "Give an app another name."),
        "destroy": ("apps", "Remove an app and all that it has."),
        "serve": ("local", "Run the app of this folder on your machine."),
        "install": ("local", "Record a dependency and install it here."),
        "lock": ("local", "Write exact versions and hashes into dae.lock."),
        "upgrade": ("local", "Take newer versions into dae.lock."),
        "venv": ("local", "Run a command in the app's environment."),
        "deploy": ("releases", "Push the current commit to a stage."),
        "builds": ("releases", "List builds, or show one with its log."),
        "ci": ("ci", "The app's tests: list, log, run, require."),
        "releases": ("releases", "List releases."),
        "slugs": ("slugs", "List what is kept of an app; show, verify, export, import."),
        "promote": ("releases", "Put what is live in a stage live one stage up."),
        "rollback": ("releases", "Put an earlier release live again."),
        "config": ("config", "Show and change config variables."),
        "ps": ("processes", "List the running instances."),
        "restart": ("processes", "Start the instances anew; no request is lost."),
        "logs": ("processes", "Show what the app's processes write."),
        "hooks": ("hooks", "Webhooks: list, add, remove, deliveries."),
        "events": ("hooks", "List what happened."),
        "mirror": ("mirror", "The package index: private projects, policy, what it keeps."),
        "gc": ("slugs", "Remove what nothing needs any more."),
        "status": ("hooks", "Show the platform's parts and their health."),
        "credential": ("credential", "Answer git, which asks for a password."),
    }
)
HIDDEN = frozenset({"credential"})
#: Where a platform is installed, its own verb knows more: it answers also when the API does not.
OVERRIDDEN = frozenset({"status"})


class Verbs(click.Group):
    """Our own verbs by name; those of installed packages (entry points) where we have none, or one of OVERRIDDEN."""

    _extra: Optional[dict[str, click.Command]] = None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's protocol
        return [*VERBS, *sorted(self.extra().keys() - VERBS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:  # noqa: ARG002
        if cmd_name not in VERBS or (cmd_name in OVERRIDDEN and cmd_name in self.extra()):
            return self.extra().get(cmd_name)
        module = importlib.import_module(f"dae.cli.commands.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def extra(self) -> dict[str, click.Command]:
        """The verbs of entry points: each point is a list of click commands."""
        if self._extra is None:
            self._extra = {command.name or "": command for command in _entry_points()}
        return self._extra

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in ``dae --help``, without importing the verbs' modules."""
        rows = [(name, line) for name, (_, line) in VERBS.items() if name not in HIDDEN]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        others = sorted(self.extra().keys() - VERBS.keys())
        extra = [(name, self.extra()[name].get_short_help_str(80)) for name in others if not self.extra()[name].hidden]
        if extra:
            with formatter.section("Platform"):
                formatter.write_dl(extra)


def _entry_points() -> Iterable[click.Command]:
    import importlib.metadata  # late: it costs more than all of click

    found: Any = importlib.metadata.entry_points()
    # Before Python 3.10 entry_points() was a plain dict and took no selection.
    chosen = found.select(group=ENTRY_POINTS) if hasattr(found, "select") else found.get(ENTRY_POINTS, [])
    for point in chosen:
        try:
            commands = point.load()
        except Exception as error:  # noqa: BLE001 - somebody else's package must not take our own verbs away
            click.echo(f" !     the commands of {point.value} cannot be loaded: {error!r}", err=True)
            continue
        yield from commands


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="dae")
def cli() -> None:
    """Deploy and look after apps on a DAE platform.

    The app is taken from -a APP, or from the git remote dae. The stage is dev unless -s says otherwise.
    """


def main() -> NoReturn:
    """Run the command; exit status 0 on success, 1 on a failure, 2 for wrong usage, 130 when interrupted."""
    from dae.cli.errors import CliError

    try:
        result = cli.main(prog_name="dae", standalone_mode=False)
        status = result if isinstance(result, int) else 0
    except click.ClickException as problem:
        problem.show()
        hint = _usage_hint(problem)
        if hint:
            click.echo(hint, err=True)
        status = problem.exit_code
    except click.Abort:
        status = 130
    except CliError as problem:
        from dae.cli.output import error

        error(problem)
        status = 1
    except Exception as problem:  # noqa: BLE001 - raised again unless it is an error of the platform's verbs
        status = _foreign(problem)
    sys.exit(status)


def _usage_hint(problem: click.ClickException) -> str:
    """What was meant, where a wrong word shows it: an app without ``-a``."""
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    if (
        context
        and "unexpected extra argument" in problem.message
        and any(p.name == "app" for p in context.command.params)
    ):
        return f"An app is named with -a: {context.command_path} -a APP"
    return ""


def _foreign(problem: Exception) -> int:
    """Show an error of the platform's verbs, which have ``code``, ``cause`` and ``hint`` too; raise any other."""
    from dae.cli.errors import CliError
    from dae.cli.output import error

    if not all(hasattr(problem, name) for name in ("code", "cause", "hint")):
        raise problem
    error(CliError(problem.code, problem.cause, problem.hint))  # type: ignore[attr-defined]
    return 1
