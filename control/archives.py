"""The part of the HTTP API by which slugs travel: archives out and in, and the keys that are trusted."""

from __future__ import annotations

from collections.abc import Iterator
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
        flask.request.max_content_length = None  # counted as it comes, against a bound of its own
        most, said = self.context.settings.import_bytes, flask.request.content_length
        if said is not None and said > most:
            raise DaeError("slug/too-large", f"the archive has {said} bytes, more than {most}", "see import_bytes")
        archive = moving.receive(self.context, flask.request.stream)

        def work(output: Output) -> dict[str, Any]:
            try:
                return moving.import_slug(self.context, app, archive, identity.name, output)
            finally:
                remove_tree(archive.parent)

        return inputs.streamed(work)

    def _export(self, _identity: Identity, app: Any, digest: str) -> Any:
        archive = moving.export(self.context, app, digest)
        name = f"{app.name}-{digest[:12]}.dae.tar.zst"
        headers = {"Content-Length": str(archive.stat().st_size), "Content-Disposition": f"attachment; filename={name}"}
        response = flask.Response(_pieces(archive), mimetype=_TYPE, headers=headers)
        response.call_on_close(partial(remove_tree, archive.parent))
        return response


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while data := stream.read(CHUNK):
            yield data
