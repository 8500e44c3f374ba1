"""Who typed the command, and where this person's logins are kept."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dae.cli.credentials import Credentials, Login, default_folder


@dataclass(frozen=True, slots=True)
class Person:
    """``name`` is one that a user of the platform may have; ``uid`` and ``gid`` own the files in ``folder``."""

    name: str
    uid: int
    gid: int
    folder: Path


def invoker(environ: Mapping[str, str], uid: int) -> Person:
    """The person behind ``sudo``, else the account that runs this."""
    entry = pwd.getpwuid(uid)
    sudo = environ.get("SUDO_USER", "")
    if uid == 0 and sudo not in ("", "root"):
        try:
            entry = pwd.getpwnam(sudo)
        except KeyError:
            sudo = ""  # a name that this machine does not know: it is root's own platform then
    through_sudo = entry.pw_uid != uid
    folder = default_folder(environ)
    if through_sudo and not environ.get("DAE_CONFIG"):
        folder = default_folder({"HOME": entry.pw_dir})
    return Person(valid_name(entry.pw_name), entry.pw_uid, entry.pw_gid, folder)


def valid_name(text: str) -> str:
    """``text`` as a user's name.

    >>> valid_name("Jane.Doe"), valid_name("_x"), valid_name("42")
    ('jane-doe', 'x', 'admin')
    """
    name = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:30].strip("-")
    return name if re.match(r"[a-z]", name) else "admin"


def saved_token(person: Person, url: str) -> str:
    """The token that this person has for ``url``, or nothing."""
    login = Credentials(person.folder).get(url)
    return login.token if login is not None and login.user == person.name else ""


def log_in(person: Person, url: str, token: str) -> None:
    """Remember a new token for ``url``, or when there is none that ``url`` is the platform that commands talk to.

    Under sudo the file is given to the person behind it.
    """
    credentials = Credentials(person.folder)
    current = credentials.current()
    if not token and current is not None and current.url == url:
        return
    credentials.put(Login(url, person.name, token or saved_token(person, url)))
    if person.uid != os.geteuid():
        for path in (credentials.path.parent, credentials.path):
            os.chown(path, person.uid, person.gid, follow_symlinks=False)
