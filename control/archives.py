"""The part of the HTTP API by which slugs travel: archives out and in, and the keys that are trusted."""

from __future__ import annotations

import errno
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flask

from control import accounts, inputs, moving, trust
from control.accounts import Identity
from control.guards import Guarded
from control.output import Output
from core.errors import DaeError
from core.files import remove_tree
from slugs.archive import CHUNK

_TYPE = "application/zstd"  # RFC 8878, 7.1
SEND_SECONDS = 3600.0  # in which an archive is to be read; then its room is needed for others


class Archives(Guarded):
    """Its routes. Trusting and importing are for administrators: packages that come in are shared by all apps."""

    def register(self) -> None:
        self.route("keys", "GET", self.for_user(lambda _identity: trust.keys(self.context)))
        self.route("keys", "POST", self.for_admin(self._trust))
        self.route("keys/<key>", "DELETE", self.for_admin(self._distrust))
        self.route("apps/<name>/slugs", "POST", self.for_app(self._import))
        self.route("apps/<name>/slugs/<digest>/archive", "GET", self.for_app(self._export))

    def _trust(self, identity: Identity) -> Any:
        body = inputs.body()
        return trust.trust(self.context, inputs.text(body, "name"), inputs.text(body, "key"), identity.name), 201

    def _distrust(self, identity: Identity, key: str) -> Any:
        return trust.distrust(self.context, key, identity.name)

    def _import(self, identity: Identity, app: Any) -> Any:
        accounts.require_admin(identity)
        flask.request.max_content_length = sys.maxsize  # None means the usual one; counted as it comes
        moving.require_small(self.context, flask.request.content_length or 0)
        archive = moving.receive(self.context, flask.request.stream)

        def work(output: Output) -> dict[str, Any]:
            try:
                return moving.import_slug(self.context, app, archive, identity, output)
            finally:
                remove_tree(archive.parent)

        return inputs.streamed(work)

    def _export(self, _identity: Identity, app: Any, digest: str) -> Any:
        archive = moving.export(self.context, app, digest, _hung_up())
        size, name = archive.stat().st_size, f"{app.name}-{digest[:12]}.dae.tar.zst"
        headers = {"Content-Length": str(size), "Content-Disposition": f"attachment; filename={name}"}
        end = partial(moving.remove, self.context, archive)
        late = threading.Timer(SEND_SECONDS, end)
        late.daemon = True
        late.start()
        response = flask.Response(_pieces(archive, size), mimetype=_TYPE, headers=headers)
        response.call_on_close(late.cancel)
        response.call_on_close(end)
        return response


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file, piece by piece. When it goes meanwhile the connection breaks: what came is seen not to be whole."""
    with path.open("rb") as stream:
        while size:
            data = stream.read(min(CHUNK, size))
            if not data:
                raise BrokenPipeError(errno.EPIPE, "the archive was not read in time")
            size -= len(data)
            yield data


def _hung_up() -> Callable[[], None]:
    """A check that raises ``push/cancelled`` once whoever asked is gone: then there is an end of file to read."""
    connection: Any = flask.request.environ.get("gunicorn.socket")

    def check() -> None:
        import select  # late: gevent replaces it when it patches

        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        if waiting.poll(0) and not connection.recv(1, socket.MSG_PEEK):
            raise DaeError("push/cancelled", "the client went away before the slug was exported", "try again")

    return check if connection is not None else lambda: None
