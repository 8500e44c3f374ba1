"""The part of the HTTP API by which administrators look after the mirror; and anybody searches it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flask

from control import inputs, mirror_care, mirror_metrics, mirror_moving, mirror_sync, moving
from control.accounts import Identity
from control.archives import sent
from control.guards import Guarded
from control.output import Output
from core.errors import DaeError
from core.files import remove_tree
from pypi_mirror.selection import KINDS, Wanted


class MirrorCare(Guarded):
    """Its routes. What the index holds anybody may know who may install from it; all else is for administrators."""

    def register(self) -> None:
        admin = self.for_admin
        self.route("mirror", "GET", admin(self._status))
        self.route("mirror/metrics", "GET", admin(self._metrics))
        self.route("mirror/search", "GET", self.for_user(self._search))
        self.route("mirror/sync", "POST", admin(self._sync))
        self.route("mirror/exports", "POST", admin(self._export))
        self.route("mirror/exports/<number>", "GET", admin(self._exported))
        self.route("mirror/imports", "POST", admin(self._import))
        self.route("mirror/warm", "POST", admin(self._warm))
        self.route("mirror/verify", "POST", admin(self._verify))
        self.route("mirror/evict", "POST", admin(self._evict))
        self.route("mirror/policy", "GET", admin(self._policy))
        self.route("mirror/policy/check", "POST", admin(self._check))
        self.route("mirror/policy/approve", "POST", admin(self._approve))
        self.route("mirror/policy/revoke", "POST", admin(self._revoke))

    def _status(self, _identity: Identity) -> Any:
        return mirror_care.status(self.context)

    def _metrics(self, _identity: Identity) -> Any:
        text = mirror_metrics.exposition(mirror_care.status(self.context))
        return flask.Response(text, content_type=mirror_metrics.CONTENT_TYPE, headers={"Cache-Control": "no-store"})

    def _search(self, _identity: Identity) -> Any:
        return flask.jsonify(mirror_care.search(self.context, flask.request.args.get("word", "")))

    def _warm(self, _identity: Identity) -> Any:
        text = inputs.text(inputs.body(), "requirements")
        return inputs.streamed(lambda out: mirror_sync.warm(self.context, text, out))

    def _sync(self, _identity: Identity) -> Any:
        body = inputs.body()
        text, dry = inputs.text(body, "requirements"), inputs.flag(body, "dry_run")
        newest, kinds = body.get("newest", 0), tuple(inputs.names(body, "kinds"))
        if not isinstance(newest, int) or isinstance(newest, bool) or newest < 0 or not {*kinds} <= {*KINDS}:
            hint = f"newest is a number, and kinds are of {', '.join(KINDS)}"
            raise DaeError("input/invalid", "that selection of files is none", hint)
        wanted = Wanted(newest, kinds, tuple(inputs.names(body, "platforms")))
        return inputs.streamed(lambda out: mirror_sync.sync(self.context, text, wanted, out, dry=dry))

    def _export(self, _identity: Identity) -> Any:
        body = inputs.body()
        listed = inputs.text(body, "requirements") if "requirements" in body else None
        private = None if inputs.flag(body, "all_private") else inputs.names(body, "private")
        dry = inputs.flag(body, "dry_run")
        return inputs.streamed(lambda out: mirror_moving.export(self.context, listed, private, out, dry=dry))

    def _exported(self, _identity: Identity, number: str) -> Any:
        archive = mirror_moving.exported(self.context, number)
        return sent(archive, "index.dae.tar.zst", partial(moving.remove, self.context, archive))

    def _import(self, identity: Identity) -> Any:
        given = flask.request.args
        named = [name for name in given.get("private", "").split(",") if name]
        private: Sequence[str] | None = None if given.get("all_private") == "1" else named
        flask.request.max_content_length = None  # counted as it comes, against a bound of its own
        moving.require_small(self.context, flask.request.content_length or 0, "mirror/too-large")
        archive = moving.receive(self.context, flask.request.stream, "mirror/too-large")

        def work(out: Output) -> dict[str, Any]:
            try:
                return mirror_moving.bring(self.context, archive, private, identity.name, out)
            finally:
                remove_tree(archive.parent)

        return inputs.streamed(work)

    def _verify(self, _identity: Identity) -> Any:
        return inputs.streamed(lambda out: mirror_care.verify(self.context, out))

    def _evict(self, _identity: Identity) -> Any:
        body = inputs.body()
        limit, dry = body.get("bytes"), inputs.flag(body, "dry_run")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise DaeError("input/invalid", "bytes must be a number that is not negative", "see docs/api.md")
        return inputs.streamed(lambda out: mirror_care.evict(self.context, limit, out, dry=dry))

    def _policy(self, _identity: Identity) -> Any:
        return mirror_care.policy(self.context)

    def _check(self, _identity: Identity) -> Any:
        return mirror_care.check(self.context, inputs.text(inputs.body(), "text"))

    def _approve(self, identity: Identity) -> Any:
        body = inputs.body()
        name, version = inputs.text(body, "name"), inputs.text(body, "version")
        return mirror_care.approve(self.context, name, version, identity.name)

    def _revoke(self, _identity: Identity) -> Any:
        body = inputs.body()
        return mirror_care.revoke(self.context, inputs.text(body, "name"), inputs.text(body, "version"))
