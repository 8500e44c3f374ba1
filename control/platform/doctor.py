"""``dae doctor``: what is wrong with this node's platform, and what to do about it."""

from __future__ import annotations

import json
import pwd
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from control import mirror_door
from control.platform import checks, packages
from control.platform.installation import current, running_copy
from control.platform.status import on_this_node
from control.platform.supervisord import Supervisord
from core.argv import run
from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from pypi_mirror.rulebook import Rulebook, kept_text
from runner.accounts import slot_accounts
from runner.limits import host_report

LOW_DISK = 1 << 30
LOW_MEMORY = 512 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """``level`` is ok, warn or fail; ``hint`` what to do when it is not ok."""

    level: str
    subject: str
    text: str
    hint: str = ""


def examine(settings: Settings, *, uid: int) -> list[Finding]:
    """Look at everything; a look that fails is itself a finding."""
    home = Home(settings.home)
    looks: list[Callable[[], Iterator[Finding]]] = [
        versions,
        lambda: pythons(settings, home, uid),
        lambda: home_folder(home, uid),
        lambda: port(settings, home),
        lambda: parts(settings, home),
        lambda: index_policy(settings, home),
        lambda: accounts(settings, uid),
        lambda: room(home),
        lambda: isolation(settings, uid),
    ]
    return [finding for look in looks for finding in look()]


def versions() -> Iterator[Finding]:
    """The programs of the system."""
    yield Finding("ok", "python", sys.version.split()[0])
    missing = packages.missing()
    for program in missing:
        yield Finding("fail", program, "cannot be found", packages.command([program]))
    for program, flag in (("nginx", "-v"), ("git", "--version")):
        if program not in missing:
            yield Finding("ok", program, run([program, flag]).output.strip().rpartition(" ")[2])


def pythons(settings: Settings, home: Home, uid: int) -> Iterator[Finding]:
    """The interpreters that apps can have, and those that stand in the operator's folder and cannot be had."""
    copy = current(home)
    if copy is None:
        return  # builds choose as the account that "dae up" makes
    folder = Path(settings.pythons or home.pythons)
    account = settings.account if uid == 0 else ""
    switch = ["setpriv", "--reuid", account, "--regid", account, "--init-groups", "--"] if account else []
    asked = [*switch, copy.python, "-I", "-m", "buildpacks.survey", "shared" if account else "own", folder]
    try:
        found = json.loads(run(asked, cwd=Path("/")).output.splitlines()[-1])
    except (OSError, ValueError, IndexError):
        yield Finding("warn", "pythons", "they cannot be looked for", "type: dae up")
        return
    for path, version, fault in found:
        if not fault:
            yield Finding("ok", "pythons", f"{version}, {path}")
        elif folder in Path(path).parents:
            hint = f"everybody must be able to start it: chmod -R a+rX {folder}; see docs/python.md"
            yield Finding("warn", "pythons", f"builds pass {path} over: {fault}", hint)


def home_folder(home: Home, uid: int) -> Iterator[Finding]:
    """The home's name, and the copy that runs from it."""
    try:
        checks.check_home(home, uid)
    except DaeError as error:
        yield Finding("fail", "home", error.cause, error.hint)
        return
    yield Finding("ok", "home", f"{home.root}: the paths of its sockets are short enough")
    copy = current(home)
    if copy is None:
        yield Finding("fail", "copy", "the platform is not installed here", "type: dae up")
    else:
        started = running_copy(home)
        older = f" (supervisord runs from {started})" if started not in ("", copy.root.name) else ""
        yield Finding("ok", "copy", copy.root.name + older)


def port(settings: Settings, home: Home) -> Iterator[Finding]:
    """The public door."""
    if Supervisord(home).running():
        return  # then nginx has it, and the part's own line tells
    try:
        checks.check_port(settings)
        yield Finding("ok", "port", f"{settings.port} is free")
    except DaeError as error:
        yield Finding("fail", "port", error.cause, error.hint)


def parts(settings: Settings, home: Home) -> Iterator[Finding]:
    """Every process of the platform."""
    if not Supervisord(home).running():
        yield Finding("fail", "supervisord", "it does not run", "type: dae up")
        return
    yield Finding("ok", "supervisord", f"pid {Supervisord(home).pid()}")
    for part in on_this_node(settings, home):
        text = f"{part['state']}, pid {part['pid']}"
        log = home.logs / f"{part['part']}.log"
        yield Finding("ok" if part["ok"] else "fail", part["part"], f"{text}: {part['detail']}", f"see {log}")


def index_policy(settings: Settings, home: Home) -> Iterator[Finding]:
    """The policy of the index, and its data of vulnerabilities, as the operator wrote them."""
    rulebook = Rulebook(home, settings)
    # What this account can read the mirror's may not.
    problems = dict.fromkeys((*rulebook.look(), *mirror_door.problems(home)))
    if not problems:
        yield Finding(
            "ok", "policy", f"{rulebook.file}" if rulebook.file.exists() else "the index lets everything through"
        )
        return
    try:
        kept = kept_text(home.mirror)
    except (DaeError, OSError):
        kept = None
    held = "the index serves nothing" if kept is None else "the last good one is in force"
    for problem in problems:
        yield Finding("fail", "policy", f"{problem}; {held}", "mend it; try it: dae mirror policy check FILE")


def accounts(settings: Settings, uid: int) -> Iterator[Finding]:
    """The UNIX accounts of a root install."""
    if uid != 0:
        return  # there are none; what that means is said below
    for name in (settings.account, settings.www_account, *slot_accounts(settings)):
        try:
            yield Finding("ok", "account", f"{name}, uid {pwd.getpwnam(name).pw_uid}")
        except KeyError:
            yield Finding("fail", "account", f"there is no {name}", "type: dae up")


def room(home: Home) -> Iterator[Finding]:
    """Disk and memory."""
    place = next(folder for folder in (home.root, *home.root.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    yield _amount("disk", free, LOW_DISK, "make room, or give it a larger disk")
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    yield _amount("memory", available, LOW_MEMORY, "stop something, or give the machine more")


def _amount(subject: str, amount: int, low: int, hint: str) -> Finding:
    text = f"{amount / (1 << 30):.1f} GiB available"
    return Finding("warn", subject, text, hint) if amount < low else Finding("ok", subject, text)


def isolation(settings: Settings, uid: int) -> Iterator[Finding]:
    """What keeps apps apart, and what this host cannot enforce."""
    for topic, enforced, sentence in host_report(settings, uid):
        yield Finding("ok" if enforced else "warn", topic, sentence)
