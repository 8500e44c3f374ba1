"""UNIX accounts: one per app, two for builds, the platform's and nginx's. On a plain-user install there are none."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import threading
import time
from pathlib import Path
from typing import Protocol

from core.argv import run
from core.config import Settings
from core.errors import DaeError
from core.nouns import app_name
from core.paths import Home
from runner import folders, procs

NAME_LENGTH = 31  # useradd(8) takes 32; older tools of the system do not
SLOTS = ("b1", "b2")
_LOCK_TRIES = 20  # another program holds /etc/passwd's lock for as long as it takes to write it


def app_account(settings: Settings, app: str) -> str:
    """The name of an app's account and group: ``dae-blog``; a long one is cut, with a hash to stay unique."""
    name = f"{settings.account}-{app_name(app)}"
    if len(name) <= NAME_LENGTH:
        return name
    return name[: NAME_LENGTH - 7] + "-" + hashlib.sha256(app.encode()).hexdigest()[:6]


def slot_accounts(settings: Settings) -> tuple[str, ...]:
    """The accounts that builds run as, one at a time each."""
    return tuple(f"{settings.account}_{slot}" for slot in SLOTS)


class Accounts(Protocol):
    """What the runner asks of accounts; :func:`accounts_for` chooses the implementation."""

    root: bool

    def ensure_platform(self) -> None:
        """Make the platform's accounts: its own, nginx's (in its group), the build slots'."""

    def ensure_app(self, app: str) -> str | None:
        """Make an app's account and folders; returns its group's name, None without accounts."""

    def remove_app(self, app: str) -> None:
        """End the app's processes, remove its account and folders with everything in them."""

    def rename_app(self, app: str, to: str) -> None:
        """Give account and folders of an app that does not run its new name; may be repeated at any time."""

    def app(self, app: str) -> str | None:
        """The account's name, None without accounts."""

    def slot(self, number: int) -> str | None:
        """The account of a build slot, None without accounts."""


class NoAccounts:
    """A plain user's install: everything belongs to that user."""

    root = False

    def __init__(self, _settings: Settings, home: Home) -> None:
        self._home = home

    def ensure_platform(self) -> None:
        return None

    def ensure_app(self, app: str) -> str | None:
        app_name(app)
        for path in (self._home.app_home(app), self._home.app_run(app), self._home.app_logs(app)):
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.ensure(path, 0o700)
        folders.ensure_below(self._home.app_home(app), ("perm", "tmp"), 0o700)
        return None

    def remove_app(self, app: str) -> None:
        app_name(app)
        for path in (self._home.app_home(app), self._home.app_run(app), self._home.app_logs(app)):
            folders.remove(path)

    def rename_app(self, app: str, to: str) -> None:
        app_name(app), app_name(to)
        _move_folders(self._home, app, to)
        self.ensure_app(to)

    def app(self, app: str) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    def slot(self, number: int) -> str | None:  # noqa: ARG002 - the protocol's
        return None


class UnixAccounts:
    """A root install: accounts in /etc/passwd, made by the system's own tools. Raises ``runner/account``."""

    root = True

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home
        self._lock = threading.Lock()  # the tools lock each other out, and wait badly

    def ensure_platform(self) -> None:
        account, www = self._settings.account, self._settings.www_account
        with self._lock:
            for name in (account, www, *slot_accounts(self._settings)):
                _ensure_account(name, self._home.root)
            _join(www, account)

    def ensure_app(self, app: str) -> str | None:
        name, home = self.app(app), self._home
        with self._lock:
            _ensure_account(name, home.app_home(app))
            _join(self._settings.www_account, name)
            user, platform = pwd.getpwnam(name), pwd.getpwnam(self._settings.account)
            folders.ensure(home.app_home(app), 0o700, user.pw_uid, user.pw_gid)
            folders.ensure_below(home.app_home(app), ("perm", "tmp"), 0o700, user.pw_uid, user.pw_gid)
            folders.ensure(home.app_run(app), 0o2750, user.pw_uid, user.pw_gid)
            folders.ensure(home.app_logs(app), 0o750, 0, platform.pw_gid)
            # The platform fills it, the app and nginx read it; only root may give it to a group that is new.
            folders.ensure(home.app_codes(app), 0o750, platform.pw_uid, user.pw_gid)
        return name

    def remove_app(self, app: str) -> None:
        name, home = self.app(app), self._home
        with self._lock:
            if _is_ours(name, home.app_home(app)):
                procs.kill_all_of(pwd.getpwnam(name).pw_uid)
                _tool("userdel", name)
            if _group_exists(name):
                _tool("groupdel", name)
            for path in (home.app_home(app), home.app_run(app), home.app_logs(app)):
                folders.remove(path)

    def rename_app(self, app: str, to: str) -> None:
        old, new = self.app(app), self.app(to)
        with self._lock:
            if _is_ours(old, self._home.app_home(app)):
                procs.kill_all_of(pwd.getpwnam(old).pw_uid)  # usermod refuses while one runs
                _tool("usermod", "--login", new, "--home", str(self._home.app_home(to)), old)
            if _group_exists(old) and not _group_exists(new):
                _tool("groupmod", "--new-name", new, old)
            _move_folders(self._home, app, to)
        self.ensure_app(to)

    def app(self, app: str) -> str:
        return app_account(self._settings, app)

    def slot(self, number: int) -> str | None:
        return slot_accounts(self._settings)[number]


def accounts_for(settings: Settings, home: Home, uid: int | None = None) -> Accounts:
    """Accounts when root asks, none otherwise."""
    made: type[UnixAccounts | NoAccounts] = UnixAccounts if (os.geteuid() if uid is None else uid) == 0 else NoAccounts
    return made(settings, home)


def remove_platform(settings: Settings) -> None:
    """Remove the platform's own accounts; the apps' are removed with the apps."""
    for name in (*slot_accounts(settings), settings.www_account, settings.account):
        if _is_ours(name, settings.home):
            procs.kill_all_of(pwd.getpwnam(name).pw_uid)
            _tool("userdel", name)
    for name in (*slot_accounts(settings), settings.www_account, settings.account):
        if _group_exists(name):
            _tool("groupdel", name)


def _ensure_account(name: str, home: Path) -> None:
    """An account without a password, a shell or a home of useradd's making, and a group of the same name."""
    if _is_ours(name, home):
        return
    if not _group_exists(name):
        _tool("groupadd", name)
    no_login = ("--shell", "/usr/sbin/nologin", "--no-create-home", "--home-dir", str(home), "--gid", name)
    _tool("useradd", *no_login, "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0", name)


def _is_ours(name: str, home: Path) -> bool:
    """Does the account exist? Its home tells ours from one that somebody else made under that name."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return False
    if user.pw_uid == 0 or user.pw_dir != str(home):
        raise DaeError(
            "runner/account", f"the account {name} is not this platform's", f"rename it, or type: userdel {name}"
        )
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _join(member: str, group: str) -> None:
    if member not in grp.getgrnam(group).gr_mem:
        _tool("usermod", "--append", "--groups", group, member)


def _move_folders(home: Home, app: str, to: str) -> None:
    for path in (home.app_home, home.app_run, home.app_logs, home.app_codes):
        old, new = path(app), path(to)
        if old.exists() and not new.exists():
            old.rename(new)


def _tool(*argv: str) -> None:
    """Run one of the system's account tools; while another program holds the lock of /etc/passwd, again."""
    cause = ""
    for _ in range(_LOCK_TRIES):
        try:
            outcome = run(argv)
        except FileNotFoundError:
            raise DaeError("platform/missing", f"there is no {argv[0]}", "type: apt-get install -y passwd") from None
        if outcome.ok:
            return
        cause = outcome.output.strip()[-300:]
        if "lock" not in cause:
            break
        time.sleep(0.25)
    raise DaeError("runner/account", f"{' '.join(argv)}: {cause}", "see: dae doctor")
