"""Bare repositories, one per app, and the hook that all of them share."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.argv import run
from core.errors import DaeError, disk_full
from core.files import has_room, sync_folder, write_atomically
from core.nouns import COMMIT
from core.paths import Home
from receiver import git
from receiver.checkout import Base, Checkout, checkout

# tmp_objdir_create() in git's tmp-objdir.c; before git 2.35 without the first part.
_QUARANTINE = re.compile(r"(tmp_objdir-)?incoming-[A-Za-z0-9]{6}\Z")
_LOCK = "dae-push.lock"
_PLAIN = re.compile(r"refs/heads/[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository of an app, whether it is there or not."""

    home: Home
    app: str

    @property
    def path(self) -> Path:
        """Where it is; raises ``app/bad-name``."""
        return self.home.repo(self.app)

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def lock_path(self) -> Path:
        """The file whose flock a push holds until git has moved the ref."""
        return self.path / _LOCK

    def create(self) -> None:
        """Make it, empty, with the platform's constant config; does nothing when it is there."""
        if self.exists:
            return
        aside = self._aside("new")
        argv = ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", "--initial-branch=master"]
        outcome = run(git.command(self.home, aside, *argv, "--end-of-options", str(aside)), environ=git.GIT_ENVIRON)
        if not outcome.ok:
            raise DaeError("platform/internal", f"git init failed: {outcome.output.strip()}", "see: dae doctor")
        write_atomically(aside / "config", git.config_text(git.REPOSITORY_CONFIG).encode())
        write_atomically(aside / _LOCK, b"")
        aside.chmod(0o700)
        try:
            aside.rename(self.path)
        except OSError:
            shutil.rmtree(aside)
            if not self.exists:  # otherwise somebody else made it meanwhile
                raise
        sync_folder(self.home.repos)

    def destroy(self) -> None:
        """Remove it at once (a rename) and then its files; raises ``repo/unknown``."""
        aside = self._aside("gone")
        self._move(aside)
        shutil.rmtree(aside)

    def rename(self, to: str) -> None:
        """Give it the name of another app; raises ``repo/unknown`` or ``app/exists``."""
        target = Repository(self.home, to)
        try:
            self._move(target.path)
        except (FileExistsError, OSError) as error:
            if not target.exists:
                raise
            raise DaeError("app/exists", f"there is a repository of {to} already", "choose another name") from error

    def ref(self, name: str) -> str | None:
        """The object that a full ref name, such as ``refs/heads/master``, points to; raises ``push/bad-ref``."""
        if not name.startswith("refs/") or name.startswith("refs/-") or "\0" in name:
            raise DaeError("push/bad-ref", f"{name[:80]!a} is not a full ref name", "push with git itself")
        if _PLAIN.match(name):  # as a rule it stands in a file of its own, and no program needs to be asked
            with suppress(OSError):
                text = (self.path / name).read_text().strip()
                if COMMIT.match(text):
                    return text
        outcome = run(self._git("show-ref", "--verify", "--hash", "--end-of-options", name), environ=git.GIT_ENVIRON)
        found = outcome.output.strip()
        return found if outcome.ok and COMMIT.match(found) else None

    def checkout(
        self,
        commit: str,
        dest: Path,
        *,
        max_bytes: int,
        max_files: int,
        quarantine: Path | None = None,
        base: Base | None = None,
    ) -> Checkout:
        """Write the files of ``commit``, byte for byte, to the new folder ``dest``; those of ``base`` are linked.

        ``quarantine`` is the folder of the objects that a push brought and that are not in the repository yet. Modes,
        limits and errors: :func:`receiver.checkout.checkout`.
        """
        if not COMMIT.match(commit):
            raise DaeError("push/bad-ref", f"{commit[:80]!a} is not a commit's full name", "push with git itself")
        environ = {**git.GIT_ENVIRON, **self._objects(quarantine)}
        try:
            return checkout(self._git(), environ, commit, dest, (max_bytes, max_files), base)
        except DaeError as error:
            if has_room(self.path):
                raise
            raise disk_full("not all of the push could be stored") from error  # git lets that pass until later

    def follow_pushed_branch(self) -> None:
        """Let HEAD name ``main`` where that, and no ``master``, was pushed: a clone then has files."""
        try:
            head = (self.path / "HEAD").read_text().removeprefix("ref: ").strip()
        except FileNotFoundError:  # it was renamed or destroyed meanwhile
            return
        if (self.path / head).exists():  # as a rule: no program needs to be asked
            return
        if self.ref(head) is None and self.ref("refs/heads/main") is not None:
            run(self._git("symbolic-ref", "HEAD", "refs/heads/main"), environ=git.GIT_ENVIRON)

    def _git(self, *words: str) -> list[str]:
        return git.command(self.home, self.path, f"--git-dir={self.path}", *words)

    def _objects(self, quarantine: Path | None) -> Mapping[str, str]:
        """What makes git see the objects in quarantine."""
        if quarantine is None:
            return {}
        objects = (self.path / "objects").resolve()
        folder = quarantine.resolve()
        if folder.parent != objects or not _QUARANTINE.match(folder.name) or not folder.is_dir():
            raise DaeError("push/bad-ref", f"{str(quarantine)[:200]!a} is not a quarantine of {self.app}", "push again")
        return {"GIT_OBJECT_DIRECTORY": str(folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(objects)}

    def _aside(self, why: str) -> Path:
        return self.home.repos / f".{self.path.name}.{secrets.token_hex(4)}.{why}"

    def _move(self, target: Path) -> None:
        try:
            self.path.rename(target)
        except FileNotFoundError as error:
            raise DaeError("repo/unknown", f"there is no repository of {self.app}", "see: dae apps") from error
        sync_folder(self.home.repos)


def hook_script(python: Path, program: Path) -> str:
    """The text of ``pre-receive``: it depends on two paths of the platform's own and on nothing else.

    A shell starts it, for a script's first line takes neither blanks in a path nor, everywhere, more than one option.
    """
    return f"#!/bin/sh\nexec {shlex.quote(str(python))} -I -S {shlex.quote(str(program))}\n"


def install_hooks(home: Home, python: Path) -> Path:
    """Put the hook into its folder unless it is there; returns the folder. Atomic, and may be repeated."""
    folder = git.hooks_folder(home)
    text = hook_script(python, Path(__file__).with_name("hook.py")).encode()
    if hook_is_ready(home) and (folder / "pre-receive").read_bytes() == text:
        return folder
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.chmod(0o755)
    write_atomically(folder / "pre-receive", text, 0o755)
    return folder


def hook_is_ready(home: Home) -> bool:
    """Whether git will run the hook: without it, git would take any push and deploy nothing."""
    script = git.hooks_folder(home) / "pre-receive"
    return script.is_file() and os.access(script, os.X_OK)


def _quoted(path: Path) -> str:
    """A path as git reads it from a list that ':' divides (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES)."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
