"""The part of the HTTP API that looks after private projects of the index, and tokens for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import flask

from control import index_events, index_tokens, inputs
from control.accounts import Identity
from control.guards import Guarded, Handler
from core.errors import DaeError
from core.nouns import user_name
from core.store import UserRow
from pypi_mirror import private, rights
from pypi_mirror.model import Project, project_name
from pypi_mirror.records import Record
from pypi_mirror.rights import Caller
from pypi_mirror.store import Store as MirrorStore


class Index(Guarded):
    """Its routes. Who may do what to a project is decided in pypi_mirror.private."""

    def register(self) -> None:
        for rule, method, handler in (
            ("tokens", "GET", self.for_user(self._tokens)),
            ("tokens", "POST", self.for_user(self._create)),
            ("tokens/<number>", "DELETE", self.for_user(self._revoke)),
            ("mirror/projects", "GET", self.for_user(self._projects)),
            ("mirror/projects", "POST", self.for_caller(self._claim)),
            ("mirror/projects/<name>", "GET", self.for_caller(self._project)),
            ("mirror/projects/<name>/yank", "POST", self.for_caller(self._yank)),
            ("mirror/projects/<name>/unyank", "POST", self.for_caller(self._unyank)),
            ("mirror/projects/<name>/delete", "POST", self.for_caller(self._delete)),
            ("mirror/projects/<name>/status", "POST", self.for_caller(self._status)),
            ("mirror/projects/<name>/release", "POST", self.for_caller(self._release)),
        ):
            self.route(rule, method, handler)

    def for_caller(self, handler: Handler) -> Handler:
        """For users, and for the tokens of single projects, which open nothing else in the API."""
        header = "Authorization"

        def checked(**arguments: str) -> Any:
            caller = index_tokens.caller(self.context.store, flask.request.headers.get(header))
            return handler(caller, MirrorStore(self.context.home), **arguments)

        return checked

    def _tokens(self, identity: Identity) -> Any:
        return flask.jsonify(index_tokens.list_tokens(self.context.store, identity))

    def _create(self, identity: Identity) -> Any:
        body = inputs.body()
        project = project_name(inputs.text(body, "project"))
        record, _ = private.owner(MirrorStore(self.context.home), project)
        rights.require(index_tokens.of_user(self.context.store, identity), project, record, rights.OWN)
        return index_tokens.create(self.context.store, identity, project, inputs.names(body, "actions")), 201

    def _revoke(self, identity: Identity, number: str) -> Any:
        index_tokens.revoke(self.context.store, identity, inputs.number(number, "the token", 0, 10**9))
        return {"id": int(number)}

    def _projects(self, _identity: Identity) -> Any:
        store = MirrorStore(self.context.home)
        return flask.jsonify([_shown(*private.owner(store, name)) for name in private.names(store)])

    def _project(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        record, project = private.owner(store, name)
        rights.require(caller, project.name, record, rights.READ)
        files = [
            {"filename": f.filename, "sha256": f.sha256, "size": f.size, "uploaded": f.upload_time, "yanked": f.yanked}
            for f in project.files
        ]
        return {**_shown(record, project), "files": files, "actions": [asdict(action) for action in record.actions]}

    def _claim(self, caller: Caller, store: MirrorStore) -> Any:
        body = inputs.body()
        owner = inputs.text(body, "owner", caller.name)
        user_name(owner)
        with self.context.store.read() as session:
            if session.get(UserRow, owner) is None:
                raise DaeError("user/unknown", f"there is no user {owner}", "see: dae users")
        return self._answer(store, private.claim(store, inputs.text(body, "name"), owner, caller)), 201

    def _yank(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        body = inputs.body()
        version, reason = inputs.text(body, "version"), inputs.text(body, "reason", "")
        return self._answer(store, private.yank(store, name, version, reason, caller))

    def _unyank(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        version = inputs.text(inputs.body(), "version")
        return self._answer(store, private.yank(store, name, version, "", caller, undo=True))

    def _delete(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        body = inputs.body()
        version, reason = inputs.text(body, "version", ""), inputs.text(body, "reason", "")
        confirm = inputs.text(body, "confirm", "")
        return self._answer(store, private.delete(store, name, version, reason, confirm, caller))

    def _status(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        body = inputs.body()
        status, reason = inputs.text(body, "status"), inputs.text(body, "reason", "")
        return self._answer(store, private.set_status(store, name, status, reason, caller))

    def _release(self, caller: Caller, store: MirrorStore, name: str) -> Any:
        private.release(store, name, inputs.text(inputs.body(), "confirm", ""), caller)
        index_events.tell(self.context.store, store, project_name(name))
        return {"project": project_name(name)}

    def _answer(self, store: MirrorStore, project: Project) -> Any:
        """A project to which something was done, which is told."""
        index_events.tell(self.context.store, store, project.name)
        return _shown(*private.owner(store, project.name))


def _shown(record: Record, project: Project) -> dict[str, Any]:
    return {
        "project": project.name,
        "owner": record.owner,
        "versions": list(project.versions),
        "status": project.status,
        "status_reason": project.status_reason,
    }
