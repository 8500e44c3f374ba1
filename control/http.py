"""The HTTP API under /api/v1, the page at /, and the hook's door (control.internal). Input -> workflow -> JSON."""

from __future__ import annotations

import logging
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

import console
from control import (
    accounts,
    apps,
    ci,
    history,
    inputs,
    inventory,
    keeping,
    locking,
    logs,
    packs,
    recovery,
    releases,
    views,
    workflows,
)
from control.accounts import Identity
from control.archives import Archives
from control.context import Context, embedded
from control.guards import Guarded
from control.index_api import Index
from control.internal import Internal
from control.mirror_care_api import MirrorCare
from control.streaming import internal_error
from control.testing_api import Testing
from core import config, events
from core.cooperative import close_at_once
from core.errors import DaeError
from core.nouns import stage as stage_named
from hooks import endpoints

log = logging.getLogger("dae.control")

REQUEST_BYTES = 8 << 20


def create_app(context: Context | None = None) -> flask.Flask:
    """The WSGI application of the control process. Settles what a dead predecessor left before it serves."""
    close_at_once()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    context = context or embedded(config.load())
    recovery.settle_interrupted(context)
    recovery.start(context)
    keeping.start(context)
    ci.start(context)
    app = flask.Flask("control")
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES
    app.register_error_handler(DaeError, _tell)
    app.register_error_handler(HTTPException, _tell_http)
    app.register_error_handler(Exception, _tell_defect)
    _Api(app, context).register()
    Archives(app, context).register()
    Testing(app, context).register()
    Index(app, context).register()
    MirrorCare(app, context).register()
    Internal(app, context).register()
    console.register(app, context.settings)
    return app


def _tell(error: DaeError) -> flask.Response:
    response = flask.jsonify(error.to_json())
    response.status_code = error.status
    if error.code == "auth/required":
        response.headers["WWW-Authenticate"] = 'Basic realm="DAE"'
    return response


def _tell_http(error: HTTPException) -> flask.Response:
    code = "input/unknown-path" if error.code == 404 else "input/invalid"
    response = _tell(DaeError(code, str(error.description), "see docs/api.md"))
    response.status_code = error.code or 400
    return response


def _tell_defect(error: Exception) -> flask.Response:
    log.exception("a request failed in a way it should not", exc_info=error)
    return _tell(internal_error(error))


class _Api(Guarded):
    """The routes, each with the permission it needs: a handler cannot be registered without one."""

    def register(self) -> None:
        user, admin = self.for_user, self.for_admin
        for rule, method, handler in (
            ("whoami", "GET", user(self._whoami)),
            ("users", "GET", admin(self._users)),
            ("users", "POST", admin(self._add_user)),
            ("apps", "GET", user(self._apps)),
            ("apps", "POST", user(self._create)),
            ("apps/<name>", "GET", self.for_app(self._info)),
            ("apps/<name>", "DELETE", self.for_app(self._destroy)),
            ("apps/<name>/rename", "POST", self.for_app(self._rename)),
            ("apps/<name>/builds", "GET", self.for_app(self._builds)),
            ("apps/<name>/builds/<number>", "GET", self.for_app(self._build)),
            ("apps/<name>/cache", "DELETE", self.for_app(self._empty_cache)),
            ("apps/<name>/releases", "GET", self.for_app(self._releases)),
            ("apps/<name>/promote", "POST", self.for_app(self._promote)),
            ("apps/<name>/rollback", "POST", self.for_app(self._rollback)),
            ("apps/<name>/restart", "POST", self.for_app(self._restart)),
            ("apps/<name>/config", "GET", self.for_app(self._config)),
            ("apps/<name>/config", "POST", self.for_app(self._set_config)),
            ("apps/<name>/ps", "GET", self.for_app(self._ps)),
            ("apps/<name>/logs", "GET", self.for_app(self._logs)),
            ("apps/<name>/slugs", "GET", self.for_app(self._slugs)),
            ("apps/<name>/slugs/<digest>", "GET", self.for_app(self._slug)),
            ("apps/<name>/deploy", "POST", self.for_app(self._deploy)),
            ("apps/<name>/slugs/verify", "POST", self.for_app(self._verify_app)),
            ("apps/<name>/lock", "POST", self.for_app(self._lock)),
            ("slugs/verify", "POST", admin(self._verify)),
            ("gc", "POST", admin(self._collect)),
            ("events", "GET", user(self._events)),
            ("hooks", "GET", user(self._hooks)),
            ("hooks", "POST", user(self._add_hook)),
            ("hooks/<number>", "DELETE", user(self._remove_hook)),
            ("hooks/<number>/deliveries", "GET", user(self._deliveries)),
            ("status", "GET", self._status),  # open to all: says only which parts answer
        ):
            self.route(rule, method, handler)

    def _whoami(self, identity: Identity) -> Any:
        return {"user": identity.name, "admin": identity.admin}

    def _users(self, _identity: Identity) -> Any:
        return flask.jsonify([{"user": u.name, "admin": u.admin} for u in accounts.list_users(self.context.store)])

    def _add_user(self, identity: Identity) -> Any:
        body = inputs.body()
        name = inputs.text(body, "name")
        token = accounts.add_user(self.context.store, name, admin=inputs.flag(body, "admin"), who=identity.name)
        return {"user": name, "token": token}, 201

    def _apps(self, identity: Identity) -> Any:
        return flask.jsonify([apps.describe(self.context, app) for app in apps.visible(self.context, identity)])

    def _create(self, identity: Identity) -> Any:
        return apps.describe(self.context, apps.create(self.context, inputs.text(inputs.body(), "name"), identity)), 201

    def _info(self, _identity: Identity, app: Any) -> Any:
        return apps.describe(self.context, app)

    def _destroy(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        confirm, dry = inputs.text(body, "confirm", ""), inputs.flag(body, "dry_run")
        return inputs.streamed(lambda out: apps.destroy(self.context, app.name, confirm, identity, out, dry_run=dry))

    def _rename(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        to, dry = inputs.text(body, "to"), inputs.flag(body, "dry_run")
        return inputs.streamed(lambda out: apps.rename(self.context, app.name, to, identity, out, dry_run=dry))

    def _builds(self, _identity: Identity, app: Any) -> Any:
        return flask.jsonify(views.builds(self.context, app))

    def _build(self, _identity: Identity, app: Any, number: str) -> Any:
        return views.build(self.context, app, inputs.number(number, "the build", 0, 10**9))

    def _empty_cache(self, identity: Identity, app: Any) -> Any:
        return {"app": app.name, "bytes": packs.empty(self.context, app.name, identity.name)}

    def _releases(self, _identity: Identity, app: Any) -> Any:
        return flask.jsonify([views.release(r) for r in releases.history(self.context.store, app.name)])

    def _promote(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        source, dry = stage_named(inputs.text(body, "from", "dev")), inputs.flag(body, "dry_run")
        untested, who = inputs.flag(body, "untested"), identity.name
        return inputs.streamed(
            lambda out: workflows.promote(self.context, app.name, source, who, out, dry_run=dry, untested=untested)
        )

    def _rollback(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        stage, to, dry = stage_named(inputs.text(body, "stage", "dev")), body.get("to"), inputs.flag(body, "dry_run")
        if to is not None and (not isinstance(to, int) or isinstance(to, bool)):
            raise DaeError("input/invalid", "to must be the number of a release", "see: dae releases")
        return inputs.streamed(
            lambda out: workflows.roll_back(self.context, app.name, stage, to, identity.name, out, dry_run=dry)
        )

    def _restart(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        stage, dry = stage_named(inputs.text(body, "stage", "dev")), inputs.flag(body, "dry_run")
        return inputs.streamed(
            lambda out: workflows.restart(self.context, app.name, stage, identity.name, out, dry_run=dry)
        )

    def _deploy(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        stage, dry = stage_named(inputs.text(body, "stage", "dev")), inputs.flag(body, "dry_run")
        digest, untested, who = inputs.text(body, "slug"), inputs.flag(body, "untested"), identity.name
        return inputs.streamed(
            lambda out: workflows.deploy(self.context, app, stage, digest, who, out, dry_run=dry, untested=untested)
        )

    def _lock(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        wish = locking.Wish(
            files=inputs.texts(body, "files"),
            check=inputs.flag(body, "check"),
            anew=inputs.flag(body, "anew"),
            upgrade=tuple(inputs.names(body, "upgrade")),
        )
        return inputs.streamed(lambda out: locking.lock(self.context, app, wish, identity.name, out))

    def _config(self, _identity: Identity, app: Any) -> Any:
        return releases.config_of(self.context.store, app.name, inputs.stage_argument())

    def _set_config(self, identity: Identity, app: Any) -> Any:
        body = inputs.body()
        stage, dry = stage_named(inputs.text(body, "stage", "dev")), inputs.flag(body, "dry_run")
        changes = inputs.texts(body, "set"), inputs.names(body, "unset")
        return inputs.streamed(
            lambda out: workflows.configure(self.context, app.name, stage, changes, identity.name, out, dry_run=dry)
        )

    def _ps(self, _identity: Identity, app: Any) -> Any:
        wanted = flask.request.args.get("stage")
        return flask.jsonify(views.instances(self.context, app, stage_named(wanted) if wanted else None))

    def _logs(self, _identity: Identity, app: Any) -> Any:
        arguments = flask.request.args
        lines = inputs.number(arguments.get("lines"), "lines", 100, logs.MOST_LINES)
        text = logs.read(
            self.context.home,
            app.name,
            inputs.stage_argument(),
            arguments.get("process", ""),
            lines,
            follow=arguments.get("follow") == "1",
        )
        return flask.Response(text, mimetype="text/plain", headers={"X-Accel-Buffering": "no"})

    def _slugs(self, _identity: Identity, app: Any) -> Any:
        return flask.jsonify(inventory.slugs(self.context, app))

    def _slug(self, _identity: Identity, app: Any, digest: str) -> Any:
        return inventory.slug(self.context, app, digest)

    def _verify_app(self, identity: Identity, app: Any) -> Any:
        pairs = {(app.name, row["slug"]) for row in inventory.slugs(self.context, app)}
        return inputs.streamed(lambda out: keeping.verify(self.context, pairs, out, identity.name))

    def _verify(self, identity: Identity) -> Any:
        return inputs.streamed(lambda out: keeping.verify(self.context, None, out, identity.name))

    def _collect(self, identity: Identity) -> Any:
        dry = inputs.flag(inputs.body(), "dry_run")
        return inputs.streamed(lambda out: keeping.collect(self.context, out, identity.name, dry_run=dry))

    def _events(self, identity: Identity) -> Any:
        arguments = flask.request.args
        name = arguments.get("app", "")
        if name:
            accounts.require_app(self.context.store, identity, name)
        else:
            accounts.require_admin(identity)
        after = inputs.number(arguments.get("after"), "after", 0, 10**12)
        with self.context.store.read() as session:
            found = events.list_events(session, app=name, after=after, limit=history.PAGE)
        return flask.jsonify([views.event(event) for event in found])

    def _hooks(self, identity: Identity) -> Any:
        mine = {app.name for app in apps.visible(self.context, identity)}
        found = endpoints.list_hooks(self.context.store)
        return flask.jsonify([views.hook(h) for h in found if h.app in mine or (identity.admin and not h.app)])

    def _add_hook(self, identity: Identity) -> Any:
        body = inputs.body()
        app = inputs.text(body, "app", "")
        self._require_hook(identity, app)
        hook = endpoints.add(
            self.context.store, self.context.settings, inputs.text(body, "url"), app=app, who=identity.name
        )
        return {**views.hook(hook), "secret": hook.secret}, 201

    def _require_hook(self, identity: Identity, app: str) -> None:
        """A webhook of one app is its owner's; one of all apps an administrator's."""
        if app:
            accounts.require_app(self.context.store, identity, app)
        else:
            accounts.require_admin(identity)

    def _remove_hook(self, identity: Identity, number: str) -> Any:
        hook = endpoints.get(self.context.store, inputs.number(number, "the webhook", 0, 10**9))
        self._require_hook(identity, hook.app)
        endpoints.remove(self.context.store, hook.id, who=identity.name)
        return {"id": hook.id}

    def _deliveries(self, identity: Identity, number: str) -> Any:
        hook = endpoints.get(self.context.store, inputs.number(number, "the webhook", 0, 10**9))
        self._require_hook(identity, hook.app)
        return flask.jsonify([views.delivery(d) for d in endpoints.deliveries(self.context.store, hook.id)])

    def _status(self) -> Any:
        parts = views.parts(self.context)
        return {"parts": parts, "ok": all(part["ok"] for part in parts)}
