"""The part of the HTTP API by which administrators look after the mirror."""

from __future__ import annotations

from typing import Any

import flask

from control import inputs, mirror_care
from control.accounts import Identity
from control.guards import Guarded
from core.errors import DaeError


class MirrorCare(Guarded):
    """Its routes, all for administrators."""

    def register(self) -> None:
        admin = self.for_admin
        self.route("mirror", "GET", admin(self._status))
        self.route("mirror/search", "GET", admin(self._search))
        self.route("mirror/warm", "POST", admin(self._warm))
        self.route("mirror/verify", "POST", admin(self._verify))
        self.route("mirror/evict", "POST", admin(self._evict))
        self.route("mirror/policy", "GET", admin(self._policy))
        self.route("mirror/policy/check", "POST", admin(self._check))
        self.route("mirror/policy/approve", "POST", admin(self._approve))
        self.route("mirror/policy/revoke", "POST", admin(self._revoke))

    def _status(self, _identity: Identity) -> Any:
        return mirror_care.status(self.context)

    def _search(self, _identity: Identity) -> Any:
        return flask.jsonify(mirror_care.search(self.context, flask.request.args.get("word", "")))

    def _warm(self, _identity: Identity) -> Any:
        text = inputs.text(inputs.body(), "requirements")
        return inputs.streamed(lambda out: mirror_care.warm(self.context, text, out))

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
