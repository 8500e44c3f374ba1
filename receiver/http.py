"""The HTTP door: git's smart protocol under ``/git/APP.git/`` (gitprotocol-http(5)), as a WSGI app for gunicorn+gevent.

Three requests exist: ``GET info/refs?service=...``, ``POST git-upload-pack``, ``POST git-receive-pack``. Everything
else under that path is answered alike, whether an app of that name exists or not.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control import warm
from control.accounts import Identity, authenticate, require_app
from core import config
from core.config import Settings
from core.cooperative import close_at_once
from core.errors import DaeError, disk_full
from core.files import has_room
from core.paths import Home
from core.store import Store
from receiver import git
from receiver.body import reader
from receiver.exchange import Body, Exchange
from receiver.packets import Head, band, read_head, refusal, service_line, unpack_failed
from receiver.process import Program, close
from receiver.repository import Repository, hook_is_ready, install_hooks

log = logging.getLogger("dae.receiver")

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"
PATH = re.compile(rf"/git/([a-z][a-z0-9-]{{0,29}})\.git/(info/refs|{UPLOAD}|{RECEIVE})\Z")
PROTOCOL = re.compile(r"version=[012]\Z")
NO_CACHE = [
    ("Expires", "Fri, 01 Jan 1980 00:00:00 GMT"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache, max-age=0, must-revalidate"),
    ("X-Accel-Buffering", "no"),  # nginx passes each line on as it comes
]

StartResponse = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is allowed: who asks, for which app's repository, what."""

    who: Identity
    repository: Repository
    service: str
    advertise: bool


def create_app(settings: Settings | None = None) -> Wsgi:
    """The WSGI app; puts the hook in place if nobody did, for without it git would take every push."""
    close_at_once()
    settings = settings or config.load()
    home = Home(settings.home)
    if not hook_is_ready(home):
        install_hooks(home, Path(sys.executable))
    return Door(settings, home, Store.at(home.database))


@dataclass(frozen=True, slots=True)
class Door:
    settings: Settings
    home: Home
    store: Store

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            asked = self._ask(environ)
            if asked.advertise:
                answer = self._advertise(asked, environ)
            elif asked.service == UPLOAD:
                answer = self._upload(asked, environ)
            else:
                answer = self._receive(asked, environ)
        except DaeError as error:
            return _refuse(error, start_response)
        kind = "advertisement" if asked.advertise else "result"
        start_response("200 OK", [("Content-Type", f"application/x-{asked.service}-{kind}"), *NO_CACHE])
        return answer

    def _ask(self, environ: dict[str, Any]) -> Asked:
        """Who, then what: an unknown caller learns nothing about paths."""
        who = authenticate(self.store, environ.get("HTTP_AUTHORIZATION"))
        match = PATH.match(environ.get("PATH_INFO", ""))
        if match is None:
            raise _unknown()
        name, action = match.groups()
        service, advertise = _service(action, environ)
        try:
            app = require_app(self.store, who, name)
        except DaeError as error:
            raise error if error.code == "auth/forbidden" else _unknown() from error
        repository = Repository(self.home, app.name)
        if not repository.exists:
            raise _unknown()
        return Asked(who, repository, service, advertise)

    def _advertise(self, asked: Asked, environ: dict[str, Any]) -> Iterable[bytes]:
        protocol = _protocol(environ)
        argv = self._argv(asked, "--http-backend-info-refs")
        exchange = Exchange(Program(argv, self._environ(asked, protocol)), Body(lambda _size: b""))
        first = b"" if protocol == "version=2" else service_line(asked.service)
        return Answer(exchange, first=first)

    def _upload(self, asked: Asked, environ: dict[str, Any]) -> Iterable[bytes]:
        body = Body(reader(environ), connection=environ.get("gunicorn.socket"))
        return Answer(Exchange(Program(self._argv(asked), self._environ(asked, _protocol(environ))), body))

    def _receive(self, asked: Asked, environ: dict[str, Any]) -> Iterable[bytes]:
        if not hook_is_ready(self.home):
            raise DaeError("platform/internal", "the receive hook is not in its place", "restart the platform")
        read = reader(environ)
        try:
            head = read_head(read)
        except EOFError as error:
            raise DaeError("input/invalid", f"the body cannot be unpacked: {error}", "push with git itself") from error
        body = Body(read, head.raw, self.settings.push_bytes, environ.get("gunicorn.socket"))
        # The lock file is opened here and locked by the hook: git, which has it open as well, keeps the lock.
        lock = os.open(asked.repository.lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        watched, alive = os.pipe()
        try:
            variables = self._environ(asked, _protocol(environ)) | self._hook_environ(asked, lock, watched)
            program = Program(self._argv(asked), variables, pass_fds=(lock, watched))
        except BaseException:
            close(alive)
            raise
        finally:
            close(lock)
            close(watched)
        exchange = Exchange(program, body, settles=True, alive=alive)
        begun = warm.begin(self.home, self.store, asked.repository.app, [os.fsdecode(ref) for ref in head.refs])
        return Answer(exchange, head=head, repository=asked.repository, begun=begun)

    def _argv(self, asked: Asked, *flags: str) -> list[str]:
        path = str(asked.repository.path)
        limit = {"receive.maxInputSize": str(self.settings.push_bytes)}
        words = [asked.service.removeprefix("git-"), "--stateless-rpc", *flags, "--end-of-options", path]
        return git.command(self.home, asked.repository.path, *words, config=limit)

    def _environ(self, asked: Asked, protocol: str) -> dict[str, str]:
        who = asked.who.name  # the reflog tells who moved a ref
        return {
            **git.GIT_ENVIRON,
            "GIT_COMMITTER_NAME": who,
            "GIT_COMMITTER_EMAIL": f"{who}@{self.settings.host}",
            **({"GIT_PROTOCOL": protocol} if protocol else {}),
        }

    def _hook_environ(self, asked: Asked, lock: int, watched: int) -> dict[str, str]:
        return {
            "DAE_APP": asked.repository.app,
            "DAE_WHO": asked.who.name,
            "DAE_CONTROL": str(self.home.socket("control")),
            "DAE_CONTROL_KEY": str(self.home.internal_key),
            "DAE_LOCK": str(lock),
            "DAE_ALIVE": str(watched),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the client: ``first``, then git's output, then what the door has to add to a push."""

    exchange: Exchange
    first: bytes = b""
    head: Head | None = None
    repository: Repository | None = None
    begun: ExitStack = field(default_factory=ExitStack)  # what lasts as long as the push

    def __iter__(self) -> Iterator[bytes]:
        if self.first:
            yield self.first
        yield from self.exchange if self.head is None else self._explained()
        if self.repository is not None:
            self.repository.follow_pushed_branch()
        if self.head is not None and self.exchange.error is not None:
            yield refusal(self.head, self.exchange.error)
            self.exchange.drained()

    def _explained(self) -> Iterator[bytes]:
        """git's frames; before its report on objects that it had no room for stands the platform's own line."""
        full = False
        for frame in self.exchange:
            full = full or os.strerror(errno.ENOSPC).encode() in frame
            if unpack_failed(frame) and (full or (self.repository and not has_room(self.repository.path))):
                error = disk_full("there is no room on the disk for what was pushed")
                yield band(2, f"\n{error.lines()}\n".encode())
            yield frame

    def close(self) -> None:
        try:
            self.exchange.close()
        finally:
            self.begun.close()


def _service(action: str, environ: dict[str, Any]) -> tuple[str, bool]:
    """Which of git's services is asked for, and whether only its refs; the query and types are exact."""
    method = environ["REQUEST_METHOD"]
    if action == "info/refs":
        service = environ.get("QUERY_STRING", "").removeprefix("service=")
        if method != "GET":
            raise _unknown()
        if service not in (UPLOAD, RECEIVE):
            raise DaeError("input/invalid", "only git's smart HTTP protocol is served here", "use git 1.6.6 or newer")
        return service, True
    if method != "POST" or environ.get("CONTENT_TYPE") != f"application/x-{action}-request":
        raise DaeError("input/invalid", f"{action} takes a POST of its own content type", "use git itself")
    return action, False


def _protocol(environ: dict[str, Any]) -> str:
    """GIT_PROTOCOL from the client's header, which reaches git only when it is one of three texts."""
    wanted = environ.get("HTTP_GIT_PROTOCOL", "")
    return wanted if PROTOCOL.match(wanted) else ""


def _unknown() -> DaeError:
    return DaeError("repo/unknown", "there is no repository of yours at this address", "see: dae apps")


def _refuse(error: DaeError, start_response: StartResponse) -> Iterable[bytes]:
    """An error in plain text: git shows the body of that type only, line by line behind ``remote:``."""
    text = (error.line() + "\n").encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text))), *NO_CACHE]
    if error.status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="DAE"'))
    if error.status >= 500:
        log.error("%s", error.line())
    start_response(f"{error.status} {error.kind.summary}", headers)
    return [text]
