"""``dae down``: apps and platform stop, in bounded time. State is kept, unless it is to be erased."""

from __future__ import annotations

from control.output import Output
from control.platform import checks, processes, supervisord
from control.platform.supervisord import STOP_SECONDS, Supervisord
from control.platform.up import exclusively
from core.config import Settings
from core.errors import DaeError
from core.files import remove_tree
from core.paths import Home
from runner.accounts import accounts_for, remove_platform
from runner.strays import reap_strays

#: What could start something new goes first.
FIRST = ("hooks", "control", "receiver")


def down(settings: Settings, out: Output) -> None:
    """Stop everything of this home; says so when nothing runs."""
    home = Home(settings.home)
    if not checks.is_home(home):
        out.done(f"Nothing runs: there is no platform in {home.root}")
        return
    with exclusively(home):
        stopped = stop(home, out)
    out.done("The platform is down" if stopped else "Nothing runs")


def stop(home: Home, out: Output) -> bool:
    """Stop what runs, however it was left; returns whether there was anything. The caller holds the home's lock."""
    daemon = Supervisord(home)
    alive = daemon.running()
    if alive:
        out.step("Stopping the platform and its apps")
        daemon.stop(FIRST)
        daemon.stop_everything()
        daemon.shutdown()
    found = bool(supervisord.recorded_pid(home))
    supervisord.end(home, STOP_SECONDS if alive else 0)
    strays = reap_strays(home)
    if strays:
        out.detail(f"ended what an earlier start had left: {', '.join(strays)}")
    for path in (processes.pid_file(home), home.socket("supervisor"), home.agent_state / "supervisord.copy"):
        path.unlink(missing_ok=True)
    return alive or found or bool(strays)


def erase(settings: Settings, confirm: str, out: Output, *, uid: int) -> None:
    """Stop everything, then remove the accounts made for this home and the home itself.

    Raises ``settings/invalid`` when the folder is no platform's home, ``app/confirm`` unless ``confirm`` is its path.
    """
    home = Home(settings.home)
    if not checks.is_home(home):
        raise DaeError("settings/invalid", f"{home.root} is not the home of a platform", "nothing was removed")
    if confirm != str(home.root):
        raise DaeError("app/confirm", f"this would erase {home.root} with all apps", f"add: --confirm {home.root}")
    with exclusively(home):
        stop(home, out)
        out.step(f"Erasing {home.root}")
        for entry in home.root.iterdir():
            if entry not in (home.platform, home.apps):  # the second names the apps that have accounts
                remove_tree(entry)
        if uid == 0:
            remove_platform(settings)  # before the apps': a group without members goes with its account, at no cost
        accounts = accounts_for(settings, home, uid)
        for folder in home.apps.iterdir() if home.apps.is_dir() else ():
            accounts.remove_app(folder.name)
        remove_tree(home.root)
    out.done(f"{home.root} is gone")
