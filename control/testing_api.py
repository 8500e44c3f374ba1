"""The part of the HTTP API that tells of tests, runs them again, and sets which stages require them."""

from __future__ import annotations

from typing import Any

import flask

from control import ci, gate, inputs
from control.accounts import Identity
from control.guards import Guarded
from core.nouns import stage as stage_named


class Testing(Guarded):
    """Its routes, all for whoever may do anything with the app."""

    def register(self) -> None:
        self.route("apps/<name>/ci", "GET", self.for_app(self._runs))
        self.route("apps/<name>/ci", "POST", self.for_app(self._run))
        self.route("apps/<name>/ci/<number>", "GET", self.for_app(self._show))
        self.route("apps/<name>/ci/require", "GET", self.for_app(self._required))
        self.route("apps/<name>/ci/require", "POST", self.for_app(self._require))

    def _runs(self, _identity: Identity, app: Any) -> Any:
        return flask.jsonify(ci.runs(self.context, app))

    def _run(self, identity: Identity, app: Any) -> Any:
        return ci.run(self.context, app, inputs.text(inputs.body(), "what", ""), identity.name), 201

    def _show(self, _identity: Identity, app: Any, number: str) -> Any:
        return ci.shown(self.context, app, inputs.number(number, "the run", 0, 10**9))

    def _required(self, _identity: Identity, app: Any) -> Any:
        return {"require": [str(stage) for stage in gate.required(self.context, app.name)]}

    def _require(self, identity: Identity, app: Any) -> Any:
        stages = [stage_named(name) for name in inputs.names(inputs.body(), "require")]
        return {"require": [str(stage) for stage in gate.require(self.context, app.name, stages, identity.name)]}
