"""What a build, and an app, is bounded by on this host: decided from what the host was found to enforce."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.argv import run
from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from runner import cgroups
from runner.cgroups import Group, Hierarchy
from runner.spec import Sandbox

log = logging.getLogger("dae.agent")


@dataclass(frozen=True, slots=True)
class Host:
    """Why the host cannot enforce a thing; empty when it can. ``hierarchy``: where control groups can be made."""

    tmp: str
    files: str
    network: str
    hierarchy: Hierarchy | None


@functools.lru_cache(maxsize=2)
def host(root: bool) -> Host:
    """Try out what can be enforced here; without root that is nothing of this."""
    if not root:
        why = "the platform does not run as root"
        return Host(why, why, why, None)
    outcome = run([sys.executable, "-I", "-m", "runner.sandbox"], timeout=30)
    try:
        found = {key: str(why) for key, why in json.loads(outcome.output).items()}
    except ValueError:
        found = dict.fromkeys(("tmp", "files", "network"), f"it could not be tried: {outcome.output[-200:].strip()}")
    return Host(**found, hierarchy=cgroups.find())


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one build is shut into, and its control group."""

    sandbox: Sandbox | None
    group: Group | None
    settings: Settings

    def broken(self) -> DaeError | None:
        """The limit of the control group that the build met, as the error that a failed build is reported with."""
        if self.group is None:
            return None
        if self.group.out_of_memory():
            return out_of_memory(self.settings)
        if self.group.out_of_processes():
            cause = f"the build wanted more than {self.settings.build_processes} processes"
            return DaeError("build/limit", cause, "have it start fewer, or ask for more (build_processes)")
        return None


@contextmanager
def build_bounds(settings: Settings, home: Home, work: Path, account: str | None) -> Iterator[Bounds]:
    """The bounds of a build in the folder ``work``; its group is gone afterwards, with whatever was left in it."""
    here = host(account is not None)
    group = None if here.hierarchy is None or account is None else _group(here.hierarchy, settings, account)
    try:
        yield Bounds(_sandbox(here, settings, home, work, group), group, settings)
    finally:
        if group is not None:
            _remove(group)


def _group(hierarchy: Hierarchy, settings: Settings, name: str) -> Group:
    limits = cgroups.Limits(settings.build_memory, settings.build_processes, settings.build_cpu_weight)
    try:
        return hierarchy.make(name, limits)
    except (OSError, TimeoutError) as error:
        raise DaeError(
            "build/failed", f"the build's control group could not be made: {error}", "see: dae doctor"
        ) from error


def _remove(group: Group) -> None:
    try:
        group.remove()
    except (OSError, TimeoutError) as error:  # the next build in this slot removes it, or fails
        log.error("a control group stays: %s", error)


def clean(names: Iterable[str]) -> None:
    """Remove the groups that builds of a killed agent left; and try out the host before the first build asks."""
    hierarchy = host(root=True).hierarchy
    for name in names:
        if hierarchy is not None:
            _remove(hierarchy.group(name))


def _sandbox(here: Host, settings: Settings, home: Home, work: Path, group: Group | None) -> Sandbox | None:
    cut = settings.build_network == "mirror" and not here.network
    found = Sandbox(
        private=not here.tmp,
        keep=_kept(home),
        writable="" if here.tmp or here.files else str(work),
        index=(settings.local_address, settings.port, str(home.socket("index"))) if cut else (),
        cgroups=tuple(str(folder) for folder in group.places()) if group else (),
    )
    return found if found.private or found.index or found.cgroups else None


def instance_sandbox(settings: Settings, home: Home, app: str, account: str | None) -> Sandbox | None:
    """What an app's instance is shut into: the app's own folder for temporary files stands for the machine's."""
    if account is None or settings.instance_tmp == "shared" or host(True).tmp:
        return None
    return Sandbox(private=True, tmp=str(home.app_home(app) / "tmp"), keep=_kept(home))


def _kept(home: Home) -> tuple[str, ...]:
    """The platform, wherever it and the interpreters of its environments were put."""
    return tuple(map(str, (home.root, sys.prefix, sys.base_prefix, Path(__file__).parents[1])))


def out_of_memory(settings: Settings) -> DaeError:
    """The error of a build that its limit of memory ended."""
    if not settings.build_memory:
        return DaeError("build/out-of-memory", "this machine had no memory left for the build", "push again later")
    cause = f"the build needed more than {settings.build_memory / (1 << 30):.1f} GiB of memory"
    return DaeError("build/out-of-memory", cause, "require packages with wheels, or ask for more (build_memory)")


def report(settings: Settings, root: bool) -> list[tuple[str, bool, str]]:
    """What of this holds here: (topic, enforced, sentence) for each."""
    here = host(root)
    return [
        _tmp(here, settings),
        _line(
            "build files", here.tmp or here.files, "a build writes in its own folder only, and sees its own processes"
        ),
        _network(here, settings),
        _groups(here, settings, root),
    ]


def _line(topic: str, why_not: str, yes: str) -> tuple[str, bool, str]:
    return topic, not why_not, f"not enforced: {why_not}" if why_not else yes


def _tmp(here: Host, settings: Settings) -> tuple[str, bool, str]:
    if not here.tmp and settings.instance_tmp == "shared":
        return "private /tmp", False, "builds have their own; apps share the machine's (instance_tmp)"
    return _line("private /tmp", here.tmp, "each build and each app has its own /tmp, /var/tmp and /dev/shm")


def _network(here: Host, settings: Settings) -> tuple[str, bool, str]:
    if settings.build_network == "open":
        return "build network", False, "builds reach the network like any process of this host (build_network)"
    return _line("build network", here.network, "builds reach nothing but the index")


def _groups(here: Host, settings: Settings, root: bool) -> tuple[str, bool, str]:
    if here.hierarchy is None:
        why = "no control group can be written to" if root else "the platform does not run as root"
        return "cgroups", False, f"not enforced: {why}; memory is limited for each process, not for a build or an app"
    memory = f"{settings.build_memory / (1 << 30):.1f} GiB" if settings.build_memory else "any memory"
    text = f"cgroup v{here.hierarchy.version}: a build has {memory} and {settings.build_processes} processes"
    return "cgroups", True, f"{text}; apps have limits for each process"
