"""Which platforms this person is logged in to: one file, readable by nobody else."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

from dae.cli.errors import CliError

DEFAULT_PORTS = {"http": 80, "https": 443}
FILE, ANSWERS = "credentials.json", "git"


@dataclass(frozen=True)
class Login:
    """A platform's address, and who we are there. ``user`` is empty when only DAE_TOKEN is known."""

    url: str
    user: str
    token: str = field(repr=False)


def normal_url(text: str) -> str:
    """The one spelling of a platform's address: scheme, host in lower case, port unless it is the scheme's own.

    Raises ``local/bad-url``: it has neither path nor user.
    """
    wrong = CliError(
        "local/bad-url", f"{text!r} is not the address of a platform", "use something like http://HOST:8080"
    )
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in DEFAULT_PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise wrong
    if "@" in parts.netloc or any(letter.isspace() or ord(letter) < 32 for letter in text.strip()):
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, DEFAULT_PORTS[parts.scheme]) else "")


def default_folder(environ: Mapping[str, str]) -> Path:
    """``$DAE_CONFIG``, else ``dae`` in the user's configuration folder (``~/.config``)."""
    if environ.get("DAE_CONFIG"):
        return Path(environ["DAE_CONFIG"])
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(base) / "dae"


@dataclass
class _Content:
    current: str = ""
    platforms: dict[str, dict[str, str]] = field(default_factory=dict)


class Credentials:
    """The file ``credentials.json`` in ``folder``: tokens by the platform's URL, and which platform is the current.

    Beside it the folder ANSWERS has what git is answered, so that at each push a shell can do that, which takes a fifth
    of the time that an interpreter does. An answer counts unless the file is gone or was written after it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def get(self, url: str) -> Optional[Login]:
        """Who we are at ``url``, or None."""
        entry = self._read().platforms.get(url)
        return Login(url, entry["user"], entry["token"]) if entry else None

    def current(self) -> Optional[Login]:
        """Who we are at the platform that was logged in to last, or None."""
        return self.get(self._read().current)

    def urls(self) -> list[str]:
        """All platforms that we are logged in to."""
        return sorted(self._read().platforms)

    def put(self, login: Login) -> None:
        """Remember a login and make its platform the current one."""
        content = self._read()
        content.platforms[login.url] = {"user": login.user, "token": login.token}
        content.current = login.url
        self._write(content)

    def remove(self, url: str) -> bool:
        """Forget a login; returns whether there was one. Another platform becomes the current one."""
        content = self._read()
        known = content.platforms.pop(url, None) is not None
        if content.current == url:
            content.current = next(iter(sorted(content.platforms)), "")
        self._write(content)
        return known

    def _read(self) -> _Content:
        try:
            content = json.loads(self.path.read_text())
            platforms = {
                url: {"user": str(e["user"]), "token": str(e["token"])} for url, e in content["platforms"].items()
            }
            return _Content(str(content["current"]), platforms)
        except FileNotFoundError:
            return _Content()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = f"mend or remove {self.path}, then: dae login"
            raise CliError("local/bad-credentials", f"{self.path} cannot be read: {error}", hint) from error

    def _write(self, content: _Content) -> None:
        answers = self.path.parent / ANSWERS
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        answers.mkdir(mode=0o700, exist_ok=True)
        for path in answers.glob("[!.]*"):  # first, so that no answer outlives what it was made of
            path.unlink(missing_ok=True)  # another login may be at it, too
        _replace(self.path, json.dumps(asdict(content), indent=2))
        for url, entry in content.platforms.items():
            text = f"username={entry['user']}\npassword={entry['token']}\n"
            if len(text.splitlines()) == 2:
                _replace(answers / answer_name(url), text)


def answer_name(url: str) -> str:
    """The file in the folder :data:`ANSWERS` with what git is answered when it asks for ``url``."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def chosen(environ: Mapping[str, str]) -> Login:
    """The platform that commands talk to: DAE_URL and DAE_TOKEN before what was saved; raises ``local/no-platform``."""
    saved = Credentials(default_folder(environ))
    url = normal_url(environ["DAE_URL"]) if environ.get("DAE_URL") else ""
    login = saved.get(url) if url else saved.current()
    token = environ.get("DAE_TOKEN", "").strip()
    if token and (url or login):
        return Login(url or (login.url if login else ""), "", token)
    if login is None:
        where = f"not logged in at {url}" if url else "not logged in anywhere"
        raise CliError("local/no-platform", where, f"dae login --url {url or 'http://HOST:8080'}")
    return login
