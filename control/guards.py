"""Who may ask: each route of the API stands behind one of these, so that none can be registered without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask

from control import accounts
from control.accounts import Identity
from control.context import Context

Handler = Callable[..., Any]


class Guarded:
    """Makes handlers that get the identity of who asks, once that may do it; raises ``auth/*`` and ``app/unknown``."""

    def __init__(self, app: flask.Flask, context: Context) -> None:
        self.app = app
        self.context = context

    def identity(self) -> Identity:
        return accounts.authenticate(self.context.store, flask.request.headers.get("Authorization"))

    def for_user(self, handler: Handler) -> Handler:
        return lambda **arguments: handler(self.identity(), **arguments)

    def for_admin(self, handler: Handler) -> Handler:
        def checked(**arguments: str) -> Any:
            identity = self.identity()
            accounts.require_admin(identity)
            return handler(identity, **arguments)

        return checked

    def for_app(self, handler: Handler) -> Handler:
        """For the owner of the app that the address names, and for administrators: gets the app, too."""

        def checked(name: str, **arguments: str) -> Any:
            identity = self.identity()
            return handler(identity, accounts.require_app(self.context.store, identity, name), **arguments)

        return checked

    def route(self, rule: str, method: str, handler: Handler) -> None:
        self.app.add_url_rule(f"/api/v1/{rule}", f"{method} {rule}", handler, methods=[method])
