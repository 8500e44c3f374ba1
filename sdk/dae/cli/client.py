"""The HTTP API as Python sees it: JSON in, JSON out, streams as they come, errors as CliError."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Optional
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from dae import __version__
from dae.cli.credentials import Login
from dae.cli.errors import CliError

ANSWER_SECONDS = 60.0
# A workflow says something at least every 10 seconds; a build step may take minutes without a word only by a defect.
STREAM_SECONDS = 300.0
UPLOAD_SECONDS = 3600.0  # an archive is written before its first byte is sent
LINE_BYTES = 8 << 20  # a lock comes in one line
PIECE_BYTES = 1 << 20


def connect_host(host: str) -> str:
    """Where to connect to for ``host``: ``*.localhost`` is this machine (RFC 6761), which glibc does not know."""
    return "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host


class Client:
    """A connection to one platform, as one user. ``url`` is a normal_url."""

    def __init__(self, login: Login) -> None:
        self.url = login.url
        parts = urlsplit(login.url)
        host = parts.hostname or ""
        self._headers = {"Host": parts.netloc, "User-Agent": f"dae/{__version__}", "Accept": "application/json"}
        if login.token:
            self._headers["Authorization"] = "Bearer " + login.token
        options: dict[str, Any] = {"timeout": urllib3.Timeout(connect=5, read=ANSWER_SECONDS), "retries": False}
        self._pool: urllib3.HTTPConnectionPool
        if parts.scheme == "https":
            options["server_hostname"] = host  # the name that the certificate must be for
            self._pool = urllib3.HTTPSConnectionPool(connect_host(host), parts.port, **options)
        else:
            self._pool = urllib3.HTTPConnectionPool(connect_host(host), parts.port, **options)

    def get(self, *path: str, **query: object) -> Any:
        """GET /api/v1/PATH: the JSON of the answer; raises CliError."""
        return self._whole("GET", path, query, None)

    def post(self, *path: str, body: Mapping[str, Any]) -> Any:
        """POST a JSON body: the JSON of the answer; raises CliError."""
        return self._whole("POST", path, {}, body)

    def delete(self, *path: str) -> Any:
        """DELETE something: the JSON of the answer, or None when it is empty; raises CliError."""
        return self._whole("DELETE", path, {}, None)

    def work(self, method: str, *path: str, body: Mapping[str, Any], on_line: Callable[[str], None]) -> dict[str, Any]:
        """Ask for something that takes a while: ``on_line`` gets each line as it comes; returns what ``ok`` holds."""
        with self._asked(method, path, {}, body, STREAM_SECONDS) as response:
            return self._worked(response, on_line)

    def upload(
        self,
        *path: str,
        file: IO[bytes],
        size: int,
        on_bytes: Callable[[int], None],
        on_line: Callable[[str], None],
        query: Optional[Mapping[str, object]] = None,
    ) -> dict[str, Any]:
        """POST ``size`` bytes of a file, then as :meth:`work`; ``on_bytes`` gets how many went at each piece."""
        with self._asked("POST", path, query or {}, _Pieces(file, size, on_bytes), UPLOAD_SECONDS) as response:
            return self._worked(response, on_line)

    def publish(self, name: str, *, file: IO[bytes], size: int, on_bytes: Callable[[int], None]) -> None:
        """Upload a distribution of ``size`` bytes to the platform's index, as twine would; raises CliError."""
        boundary = secrets.token_hex(16)
        fields = {":action": "file_upload", "protocol_version": "1"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        start = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n\r\n'
        before, after = ("".join(parts) + start).encode(), f"\r\n--{boundary}--\r\n".encode()
        body = _Pieces(file, size, on_bytes, before, after, f"multipart/form-data; boundary={boundary}")
        with self._sent("POST", "/pypi/", body, UPLOAD_SECONDS) as response:
            response.read()

    def download(self, *path: str, to: IO[bytes], on_bytes: Callable[[int, int], None]) -> None:
        """GET a file; ``on_bytes`` gets how many bytes of how many came; raises CliError when it is not whole."""
        with self._asked("GET", path, {}, None, UPLOAD_SECONDS) as response:
            size, got = int(response.headers.get("Content-Length", "0")), 0
            while piece := response.read(PIECE_BYTES):
                to.write(piece)
                got += len(piece)
                on_bytes(got, size)
        if got != size:
            raise CliError("platform/bad-answer", f"{got} of {size} bytes came", "try again")

    def _worked(self, response: urllib3.BaseHTTPResponse, on_line: Callable[[str], None]) -> dict[str, Any]:
        """Read the stream of :meth:`work` to its end."""
        for line in filter(bytes.strip, _lines(response)):  # an empty line is a pulse
            message = _parsed(line)
            if "line" in message:
                on_line(str(message["line"]))
            elif "ok" in message:
                return dict(message["ok"] or {})
            elif "error" in message:
                raise CliError.from_json(message)
        hint = "see what became of it: dae releases, dae events"
        raise CliError("platform/bad-answer", "the answer ended before the work did", hint)

    def text(self, *path: str, **query: object) -> Iterator[str]:
        """GET a text as it grows, line by line; with follow=1 there is no end and no time-out."""
        seconds = None if query.get("follow") else STREAM_SECONDS
        with self._asked("GET", path, query, None, seconds) as response:
            for line in _lines(response):
                yield line.decode(errors="replace")

    def _whole(self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: object) -> Any:
        with self._asked(method, path, query, body, ANSWER_SECONDS) as response:
            content = response.read()
        return _parsed(content) if content.strip() else None

    @contextmanager
    def _asked(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: Any, seconds: Optional[float]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request; yields the answer when its status is below 300, else raises its error."""
        target = "/api/v1/" + "/".join(quote(part, safe="") for part in path)
        given = {key: value for key, value in query.items() if value not in (None, "")}
        with self._sent(method, target + ("?" + urlencode(given) if given else ""), body, seconds) as response:
            yield response

    @contextmanager
    def _sent(
        self, method: str, target: str, body: Any, seconds: Optional[float]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = dict(self._headers)
        if isinstance(body, _Pieces):
            headers.update({"Content-Type": body.kind, "Content-Length": str(body.length)})
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        try:
            response = self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=5, read=seconds),
            )
            try:
                if response.status >= 300:
                    raise _refused(response.status, response.read(LINE_BYTES), self.url)
                yield response
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> CliError:
        if isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
            hint = "start it: make up, or: dae up\nanother platform: dae login --url URL"
            return CliError("platform/not-running", f"nothing answers at {self.url}", hint)
        return CliError("platform/not-running", f"the connection to {self.url} broke: {error}", "see: dae status")


class _Pieces:
    """A file as a body of known length, perhaps with something around it, that tells how much of the file went."""

    def __init__(
        self,
        file: IO[bytes],
        size: int,
        on_bytes: Callable[[int], None],
        before: bytes = b"",
        after: bytes = b"",
        kind: str = "application/octet-stream",
    ) -> None:
        self.length = len(before) + size + len(after)
        self.kind = kind
        self._around = before, after
        self._file = file
        self._on_bytes = on_bytes

    def __iter__(self) -> Iterator[bytes]:
        before, after = self._around
        if before:
            yield before
        yield from self._pieces()
        if after:
            yield after

    def _pieces(self) -> Iterator[bytes]:
        gone = 0
        while piece := self._file.read(PIECE_BYTES):
            yield piece
            gone += len(piece)
            self._on_bytes(gone)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines of a body as they arrive; a line longer than LINE_BYTES is a defect, not something to hold."""
    pending = b""
    while True:
        piece = response.read1(65536)
        if not piece:
            break
        *lines, pending = (pending + piece).split(b"\n")
        yield from lines
        if len(pending) > LINE_BYTES:
            raise CliError("platform/bad-answer", "the answer holds a line without end", "see: dae status")
    if pending:
        yield pending


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        shown = content[:80].decode(errors="replace")
        raise CliError("platform/bad-answer", f"the answer is not JSON: {shown!r}", "is this the address?") from None


def _refused(status: int, content: bytes, url: str) -> CliError:
    try:
        return CliError.from_json(json.loads(content))
    except (ValueError, KeyError, TypeError):
        if status in (502, 503, 504):
            return CliError("platform/not-running", f"{url} answers {status}: a part of it is down", "see: dae status")
        return CliError(
            "platform/bad-answer", f"{url} answers {status} without saying why", "is this a platform's address?"
        )
