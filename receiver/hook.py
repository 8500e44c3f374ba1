"""The pre-receive hook: asks control, shows what it says, and ends with 0 only when the push is live.

git runs it for every push (githooks(5)), with the new objects in quarantine; a status other than 0 leaves every ref
where it was. It is on the critical path of each push: the standard library only, started with ``-I -S``, speaking
HTTP/1.0 (RFC 1945) by hand, for ``http.client`` takes longer to import than all of the rest; and ``_socket`` is what
``socket`` is made of, without what that imports for others.

The door gives it two open files. DAE_LOCK is the repository's lock file; it was opened before git started, and git
has it open too, so that the lock taken here lasts until git has moved the ref and ended. DAE_ALIVE is a pipe that
ends when the client, or the door itself, is gone; then control hears of it by our hanging up, and the ref follows
what control in the end made of the push.
"""

from __future__ import annotations

import _socket
import fcntl
import json
import os
import select
import sys
import time

TYPE_CHECKING = False  # typing would take as long to import as json
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

LOCK_SECONDS = 600  # how long a push waits for another one
SILENCE_SECONDS = 60  # control beats every few seconds; while it is restarted it may be silent for this long
BEAT_SECONDS = 10
PAUSE = 0.1
UNKNOWN_SECONDS = 2  # a push that control does not know may be one that it has yet to read
HTTP_NOT_FOUND = 404
_CONTROLS = dict.fromkeys([*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0)])


class Refused(Exception):  # noqa: N818 - it is an outcome
    """The push does not go through: the error as it travels, ``{"error", "cause", "hint"}``."""

    def __init__(self, error: str, cause: str, hint: str = "") -> None:
        super().__init__(error)
        words, advice = " ".join(f"{error}: {cause}".split()), " ".join(hint.split())
        #: What happened, and below it what to type next.
        self.lines = [f" !     {words}", *([f"       {advice}"] if advice else [])]


class Broken(Exception):  # noqa: N818
    """The connection ended, or went silent, before control had given its answer."""


class Gone(Exception):  # noqa: N818
    """The client or the door is gone."""


class Hook:
    """One push: what git and the door told about it."""

    def __init__(self, environ: Mapping[str, str], updates: list[dict[str, str]]) -> None:
        self.app = environ["DAE_APP"]
        self.who = environ["DAE_WHO"]
        self.control = environ["DAE_CONTROL"]
        self.key_file = environ["DAE_CONTROL_KEY"]
        self.key = ""
        self.lock = int(environ["DAE_LOCK"])
        self.alive = int(environ["DAE_ALIVE"])
        quarantine = environ.get("GIT_QUARANTINE_PATH", "")
        self.quarantine = os.path.abspath(quarantine) if quarantine else ""
        self.updates = updates
        self.id = os.urandom(16).hex()
        self.client_gone = False
        self.settling = False

    def run(self) -> None:
        """Return when the push is live; raises Refused, or Gone when nothing was asked yet."""
        self.take_lock()
        self.read_key()
        connection = self.connect()
        try:
            return self.ask(connection)
        except (Gone, Broken):
            pass
        finally:
            connection.close()
        return self.settle()

    def read_key(self) -> None:
        """What proves to control that the platform itself is asking."""
        try:
            with open(self.key_file) as stream:  # noqa: PTH123 - pathlib takes 4 ms to import
                self.key = stream.read().strip()
        except OSError as error:
            raise Refused("platform/internal", f"the platform's own key cannot be read: {error.strerror}") from error

    def take_lock(self) -> None:
        """One push at a time and app: what is compared and built now is still true when git moves the ref."""
        started = beat = time.monotonic()
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
            if now - started > LOCK_SECONDS:
                raise Refused("app/busy", f"another push of {self.app} does not end", "try again later")
            if now >= beat:
                self.say(f"       another push of {self.app} is running; waiting for it")
                beat = now + BEAT_SECONDS
            self.wait(None, PAUSE)

    def connect(self) -> _socket.socket:
        """A connection to control, which may be restarting."""
        deadline = time.monotonic() + SILENCE_SECONDS
        beat = time.monotonic() + 1
        while True:
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            connection.settimeout(SILENCE_SECONDS)
            try:
                connection.connect(self.control)
                return connection
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, TimeoutError):
                connection.close()
            if time.monotonic() > deadline:
                raise Refused(
                    "platform/not-running", "control does not answer", "try again; the operator can see: dae status"
                )
            if time.monotonic() > beat:
                self.say("       waiting for the platform")
                beat = time.monotonic() + BEAT_SECONDS
            self.wait(None, PAUSE)

    def ask(self, connection: _socket.socket) -> None:
        """Send the push and follow its output to the end."""
        body = {
            "id": self.id, "app": self.app, "who": self.who, "quarantine": self.quarantine, "updates": self.updates,
        }  # fmt: skip
        self.send(connection, "POST", "/internal/push", json.dumps(body).encode())
        _status, answers = self.answers(connection)
        for answer in answers:
            if "ok" in answer:
                return
            if "error" in answer:
                raise Refused(answer["error"], answer.get("cause", ""), answer.get("hint", ""))
            self.say(str(answer.get("line", "")))
        raise Broken

    def settle(self) -> None:
        """Ask control, which may have been restarted, what became of the push: only that decides."""
        self.settling = True
        heard = beat = time.monotonic()
        self.say("       the connection to the platform broke; asking what became of the push")
        while time.monotonic() - heard < SILENCE_SECONDS:
            status, answer = self.state()
            state = answer.get("state")
            if state == "live":
                return self.say(str(answer.get("line", "")))
            if state == "failed":
                raise Refused(
                    answer.get("error") or "push/interrupted", answer.get("cause", ""), answer.get("hint", "")
                )
            if state == "running":
                heard = time.monotonic()
            if status == HTTP_NOT_FOUND and time.monotonic() - heard > UNKNOWN_SECONDS:
                break
            if time.monotonic() > beat + BEAT_SECONDS:
                beat = time.monotonic()
                self.say("       waiting for the platform")
            self.wait(None, PAUSE)
        raise Refused(
            "push/interrupted",
            "the platform stopped in the middle of it",
            "push again; what is live shows: dae releases",
        )

    def state(self) -> tuple[int, dict[str, Any]]:
        """The status and answer of control about this push; 0 when it does not answer."""
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(BEAT_SECONDS)
        try:
            connection.connect(self.control)
            self.send(connection, "GET", f"/internal/push/{self.id}", b"")
            status, answers = self.answers(connection)
            return status, next(answers, {})
        except (OSError, Broken):
            return 0, {}
        finally:
            connection.close()

    def send(self, connection: _socket.socket, method: str, path: str, body: bytes) -> None:
        head = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nX-DAE-Internal: {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            connection.sendall(head.encode() + body)
        except OSError as error:
            raise Broken from error

    def answers(self, connection: _socket.socket) -> tuple[int, Iterator[dict[str, Any]]]:
        """The status, and the JSON document on each line of the body."""
        lines = self.lines(connection)
        status = next(lines, b"").split()
        if len(status) < 2 or not status[1].isdigit():
            raise Broken
        for line in lines:
            if not line.strip():
                break
        return int(status[1]), map(parse, filter(bytes.strip, lines))  # an empty line is a pulse

    def lines(self, connection: _socket.socket) -> Iterator[bytes]:
        """Lines as they come, the last one also without a line feed."""
        pending = b""
        while True:
            *whole, pending = pending.split(b"\n")
            yield from whole
            self.wait(connection, SILENCE_SECONDS)
            try:
                data = connection.recv(65536)
            except OSError as error:
                raise Broken from error
            if not data:
                break
            pending += data
        if pending:
            yield pending

    def wait(self, connection: _socket.socket | None, seconds: float) -> None:
        """Until the connection has something to read. Raises Broken when it stays silent, and Gone unless settling."""
        watched: list[int | _socket.socket] = [] if self.client_gone else [self.alive]
        if connection:
            watched.append(connection)
        ready = select.select(watched, [], [], seconds)[0]
        if self.alive in ready:
            self.client_gone = True
            if not self.settling:
                raise Gone
        elif connection and not ready:
            raise Broken

    def say(self, line: str) -> None:
        """Show a line to who pushes; git puts ``remote: `` before it.

        Once the client is gone nothing more is said: git would end for not being able to pass it on.
        """
        if not self.client_gone:
            try:
                os.write(1, line.translate(_CONTROLS).encode(errors="replace") + b"\n")
            except BrokenPipeError:
                raise SystemExit(1) from None  # git itself is gone: no ref can move any more


def parse(line: bytes) -> dict[str, Any]:
    """A line of control's answer; raises Broken for one that was cut short."""
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise Broken from error
    if not isinstance(answer, dict):
        raise Broken
    return answer


def read_updates(lines: list[bytes]) -> list[dict[str, str]]:
    """What git writes to the hook: ``<old> SP <new> SP <ref> LF`` (githooks(5))."""
    updates = []
    for line in lines:
        old, new, ref = line.rstrip(b"\n").decode(errors="backslashreplace").split(" ", 2)
        updates.append({"ref": ref, "old": old, "new": new})
    return updates


def main() -> int:
    """0: the refs may move."""
    hook = Hook(os.environ, read_updates(sys.stdin.buffer.readlines()))
    try:
        hook.run()
    except Refused as refused:
        for line in refused.lines:
            hook.say(line)
        return 1
    except Gone:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
