"""``dae up``: from whatever is there to a platform that answers. Again: nothing changes."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from control.output import Output
from control.platform import checks, index, installation, layout, packages, person, processes, supervisord
from control.platform.installation import Installation
from control.platform.probes import failures
from control.platform.supervisord import Supervisord, wait_for
from core.argv import run
from core.config import Settings
from core.errors import DaeError
from core.files import write_atomically
from core.paths import Home
from router.apply import Applier
from runner.accounts import accounts_for
from runner.spec import LaunchSpec
from runner.strays import reap_strays

READY_SECONDS = 30.0
LOG_LINES = 20


def up(settings: Settings, out: Output, environ: Mapping[str, str], *, uid: int) -> None:
    """Start the platform, or bring the running one to this checkout and these settings.

    Raises ``platform/missing``, ``platform/port-taken``, ``platform/start-failed``, ``settings/invalid`` or
    ``runner/path-too-long``.
    """
    began = time.monotonic()
    home = Home(settings.home)
    account = settings.account if uid == 0 else None
    checks.check_home(home, uid)
    packages.ensure(out, uid=uid)
    if uid == 0:
        checks.open_way(home, out)
    os.umask(0o022)
    with exclusively(home):
        daemon = Supervisord(home)
        runs = daemon.running()
        if not runs:
            clear(home)
        check_door(settings, home, runs)
        found = index.read(environ)
        copy = installation.ensure(home, out, index.uv_environ(environ, found), uid=uid)
        make_home(settings, home, account)
        who = prepare(settings, home, copy, account, person.invoker(environ, uid), out)
        install_hooks(copy, home)
        effective = with_index(settings, found)
        wanted = processes.specs(copy.procfile.read_text(), copy.python, effective, account, found.environ)
        changed = take_over(home, wanted, daemon, out) if runs else start(settings, home, copy, wanted, daemon, out)
        await_ready(settings, home, [spec.name for spec in wanted], out)
    report(settings, out, who, changed, time.monotonic() - began)


@contextmanager
def exclusively(home: Home) -> Iterator[None]:
    """Hold the home's lock: of two that come up or go down at once, the second waits and then finds it done."""
    try:
        home.platform.mkdir(parents=True, exist_ok=True)
        handle = os.open(home.platform / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        cause = f"this user may not write to {home.root}"
        raise DaeError("settings/invalid", cause, "choose another DAE_HOME") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def clear(home: Home) -> None:
    """Nothing answers: end a supervisord that hangs, and what an earlier one left behind."""
    supervisord.end(home, 0)
    reap_strays(home)
    home.socket("supervisor").unlink(missing_ok=True)


def check_door(settings: Settings, home: Home, runs: bool) -> None:
    """Raise ``platform/port-taken`` unless the port is free or our own nginx has it."""
    control = saved_spec(home, "control") if runs else None
    ours = {key: str(value) for key, value in (("DAE_PORT", settings.port), ("DAE_LISTEN", settings.listen))}
    if control is None or any(control.environ.get(key) != value for key, value in ours.items()):
        checks.check_port(settings)


def with_index(settings: Settings, found: index.Index) -> Settings:
    """The settings with the upstream index resolved: the mirror's account does not see this user's configuration."""
    return replace(settings, upstream=settings.upstream or found.upstream)


def make_home(settings: Settings, home: Home, account: str | None) -> None:
    """Accounts and folders."""
    ids = None
    accounts_for(settings, home).ensure_platform()
    if account is not None:
        entry = pwd.getpwnam(account)
        ids = layout.Ids(entry.pw_uid, entry.pw_gid)
    layout.apply(layout.plan(layout.table(home), ids, layout.find))


def prepare(
    settings: Settings, home: Home, copy: Installation, account: str | None, who: person.Person, out: Output
) -> person.Person:
    """Run :mod:`control.platform.prepare` as the platform's account, and log the invoking user in."""
    switch: list[str | Path] = (
        ["setpriv", "--reuid", account, "--regid", account, "--init-groups", "--"] if account else []
    )
    argv = [*switch, copy.python, "-I", "-m", "control.platform.prepare", copy.sdk_wheel]
    given = json.dumps({"user": who.name, "token": person.saved_token(who, settings.url)}).encode()
    outcome = run(argv, environ=processes.settings_environ(settings), cwd=home.root, stdin=given, timeout=120)
    if not outcome.ok:
        last = " / ".join(outcome.output.splitlines()[-3:])
        raise DaeError("platform/start-failed", f"the platform's state could not be made: {last}")
    answer = json.loads(outcome.output.splitlines()[-1])
    if answer["done"]:
        out.step("Made " + ", ".join(answer["done"]))
    person.log_in(who, settings.url, answer["token"])
    return who


def install_hooks(copy: Installation, home: Home) -> None:
    """Let the copy install its receive hook: the hook's program is then the copy's own, not the checkout's."""
    outcome = run([copy.python, "-I", "-m", "control.platform.hooks", home.root], cwd=Path("/"))
    if not outcome.ok:
        raise DaeError("platform/start-failed", f"the receive hook was not installed: {outcome.output[-300:]}")


def start(
    settings: Settings, home: Home, copy: Installation, wanted: list[LaunchSpec], daemon: Supervisord, out: Output
) -> bool:
    """Start a platform that does not run. The links of before are its routes, until control has looked what is live."""
    out.step("Starting " + ", ".join(spec.name for spec in wanted))
    for spec in wanted:
        spec.save(home)
    Applier(home, settings).configure()
    write_config(home, wanted)
    supervisord.start(home, copy.python)
    if not wait_for(daemon.running, 10):
        raise DaeError("platform/start-failed", "supervisord did not start", f"see {home.logs / 'supervisord.log'}")
    return True


def take_over(home: Home, wanted: list[LaunchSpec], daemon: Supervisord, out: Output) -> bool:
    """Bring a running platform's parts to what is wanted; apps' instances are not touched.

    A part is stopped before its spec is replaced: whoever is killed in between leaves a part that the next ``up``
    finds stopped, never one that runs another spec than the one on disk.
    """
    names = [spec.name for spec in wanted]
    differing = [spec for spec in wanted if saved_spec(home, spec.name) != spec]
    if differing:
        out.step("Restarting " + ", ".join(spec.name for spec in differing))
        daemon.stop([spec.name for spec in differing])
    for spec in differing:
        spec.save(home)
        daemon.start(spec.name)
    changed = write_config(home, wanted)
    if changed or {name for name in daemon.states() if "." not in name} != set(names):
        daemon.sync()
    for name, state in daemon.states().items():
        if name in names and state in supervisord.STOPPED:
            out.step(f"Starting {name}, which was {state}")
            daemon.start(name)
            changed = True
    return changed or bool(differing)


def saved_spec(home: Home, name: str) -> LaunchSpec | None:
    """What a part was last started from."""
    try:
        return LaunchSpec.load(home, name)
    except (OSError, DaeError):
        return None


def write_config(home: Home, wanted: list[LaunchSpec]) -> bool:
    """Write supervisord's configuration; returns whether it differs from the one before."""
    launcher = home.platform / "current" / "bin" / "python"  # short-lived: it may change under a running supervisord
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)
    text = processes.supervisor_config(home, [s.name for s in wanted], launcher, uid=os.geteuid(), files=files)
    path = processes.config_file(home)
    if path.exists() and path.read_text() == text:
        return False
    write_atomically(path, text.encode())
    return True


def await_ready(settings: Settings, home: Home, parts: list[str], out: Output) -> None:
    """Wait until every part answers; raises ``platform/start-failed`` after the log of the first that does not."""
    complaints: dict[str, str] = {}

    def ready() -> bool:
        complaints.clear()
        complaints.update(failures(settings, home, parts))
        return not complaints

    if wait_for(ready, READY_SECONDS):
        return
    part, complaint = next(iter(complaints.items()))
    out.warn(f"the last lines of {processes.part_log(home, part)}:")
    for line in tail(processes.part_log(home, part)):
        out.detail(line)
    others = "; ".join(f"{name}: {text}" for name, text in complaints.items() if name != part)
    cause = f"{part} did not become healthy: {complaint}" + (f" ({others})" if others else "")
    raise DaeError("platform/start-failed", cause, "see the lines above, then: dae doctor")


def tail(path: Path) -> list[str]:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError as error:
        return [str(error)]


def report(settings: Settings, out: Output, who: person.Person, changed: bool, seconds: float) -> None:
    """The last lines: it is up, and where."""
    out.done(f"The platform is up at {settings.url}/ ({seconds:.1f} s)" + ("" if changed else "; nothing changed"))
    out.detail(f"git      {settings.url}/git/APP.git")
    out.detail(f"index    {settings.url}/pypi/simple/")
    out.detail(f"apps     {settings.app_url('APP', 'stable')}  {settings.app_url('APP', 'dev')}")
    out.detail(f"you are  {who.name}, an administrator; next: dae create NAME, in a git repository")
