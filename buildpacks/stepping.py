"""Running compile steps, as a build's account: the app's own programs, in the app's own checkout."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildpacks import classic, commands
from buildpacks.deadline import Deadline
from buildpacks.shown import Shown, redacted
from buildpacks.steps import Order, Step, path_of
from core import argv
from core.errors import DaeError
from core.files import remove_tree
from core.program import Say, beating

VMSTAT = Path("/proc/vmstat")
MODULES = "node_modules"
#: How programs say that there was no memory, when the kernel did not kill them for it.
_NO_MEMORY = ("JavaScript heap out of memory", "\nMemoryError", "Cannot allocate memory", "std::bad_alloc")
_TAIL_BYTES = 64 * 1024


def run(folder: Path, order: Order, say: Say, kills: Callable[[], int | None] | None = None) -> dict[str, Any]:
    """Run the order's steps in their folder below ``folder``, one after the other; returns ``{}``.

    Of tests, when a step fails: ``{"status": its exit status, "cause": how it ended}``.

    ``kills`` tells how many programs the kernel killed for want of memory. Raises ``build/step-failed``,
    ``build/not-detected`` or ``build/timeout``.
    """
    code, deadline = folder / order.folder, Deadline.after(order.timeout)
    committed = os.path.lexists(code / MODULES)
    environ = _environ(folder, order)
    with classic.prepared(folder, order, deadline, say):
        for step in order.steps:
            say(f"-----> Running {step.name}")
            shown = Shown(order.values, say)
            before = (kills or oom_kills)()
            with beating(say, f"running {step.name}"):
                words = classic.command(folder, order, step)
                mine = _environ_of_buildpack(environ, order) if step.pack else environ
                outcome = _outcome(step, words, code, mine, deadline, shown)
            shown.close()
            if outcome.timed_out:
                cause = f"the time of the build was over while {step.name} ran"
                raise DaeError("build/timeout", cause, "let it do less, or ask the operator for more time")
            if not outcome.ok:
                why = commands.hint(outcome.output.splitlines(), step.name, code, Path(order.environment))
                hint = redacted(why, order.values) or step.hint
                error = _failed(replace(step, hint=hint), outcome, (kills or oom_kills)() != before)
                if order.tests:
                    return {"status": outcome.status, "cause": error.cause}
                raise error
        if order.drop_modules and not committed:
            remove_tree(code / MODULES)
    return {}


def _environ(folder: Path, order: Order) -> dict[str, str]:
    """The whole environment of a step, but for what every program has. What the platform sets wins."""
    code, home, tmp, perm = (folder / name for name in (order.folder, "home", "tmp", "perm"))
    for path in (home, tmp, perm):
        path.mkdir(exist_ok=True)
    ours = {
        "PATH": path_of(order.environment),
        "VIRTUAL_ENV": order.environment,
        "PYTHONPATH": ":".join(str(folder) for folder in (code, *(code / name for name in order.python_path))),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # it would name this folder; the platform compiles when all is done
        "HOME": str(home),
        "TMPDIR": str(tmp),
        "DAE_PERMDIR": str(perm),  # settings that ask for it find one; it goes with the build
        "NO_COLOR": "1",
        **_indexes(*order.indexes),
    }
    return {**order.values, **ours}


def _indexes(python: str, npm: str) -> dict[str, str]:
    """What makes pip, uv, npm and its kin ask the platform: a lock names the host that it was made with."""
    return {
        "PIP_INDEX_URL": python,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_DEFAULT_INDEX": python,
        "npm_config_registry": npm,
        "npm_config_replace_registry_host": "always",
        "npm_config_audit": "false",  # they are told by sending to the registry, which is only read here
        "npm_config_fund": "false",
        "npm_config_update_notifier": "false",
    }


def _environ_of_buildpack(environ: dict[str, str], order: Order) -> dict[str, str]:
    """It finds config in files, as its API says, and its own Python imports nothing of the app's."""
    left_out = {*order.values, "PYTHONPATH", "VIRTUAL_ENV"}
    return {**{key: value for key, value in environ.items() if key not in left_out}, "STACK": order.stack}


def _outcome(
    step: Step, words: Sequence[str], code: Path, environ: dict[str, str], deadline: Deadline, shown: Shown
) -> argv.Outcome:
    try:
        return argv.run(
            words,
            environ=environ,
            cwd=code,
            timeout=deadline.left(),
            on_data=shown.feed,
            output_bytes=_TAIL_BYTES,
            own_session=False,  # it ends with the build
        )
    except OSError as error:
        why = error.strerror if code.is_dir() else "the folder of the code is gone"
        raise DaeError("build/step-failed", f"{step.name} could not be started: {why}", step.hint) from error


def _failed(step: Step, outcome: argv.Outcome, killed_for_memory: bool) -> DaeError:
    status = outcome.status
    how = f"was killed by {_signal(-status)}" if status < 0 else f"ended with status {status}"
    killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter: a shell's child was
    if (killed and killed_for_memory) or any(words in outcome.output for words in _NO_MEMORY):
        hint = "let it need less memory, or ask the operator for a node with more"
        return DaeError("build/step-failed", f"{step.name} {how}: it was out of memory", hint)
    return DaeError(step.code, f"{step.name} {how}", step.hint)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def oom_kills(path: Path = VMSTAT) -> int | None:
    """How many programs the kernel killed for want of memory since it started; None when it does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
