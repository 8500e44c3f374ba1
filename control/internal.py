"""The door of the receive hook: a push is built, released and followed, or asked about after its stream broke."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import Any

import flask

from control import inputs, push, views
from control.context import Context
from control.output import Output
from control.streaming import internal_error
from core.errors import DaeError

OUTCOMES_KEPT = 1000


class Internal:
    """What only the hook may ask: nginx routes nothing here, and only the platform's account can read the key."""

    def __init__(self, app: flask.Flask, context: Context) -> None:
        self.app = app
        self.context = context
        self.outcomes: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def register(self) -> None:
        self.app.add_url_rule("/internal/push", "push", self._push, methods=["POST"])
        self.app.add_url_rule("/internal/push/<number>", "push state", self._state, methods=["GET"])

    def _require_key(self) -> None:
        key = self.context.home.internal_key.read_text().strip()
        sent = flask.request.headers.get("X-DAE-Internal", "")
        if not key or not hmac.compare_digest(sent.encode(), key.encode()):  # an empty file opens nothing
            raise DaeError("auth/required", "this door is the hook's", "")

    def _push(self) -> Any:
        self._require_key()
        request = push.PushRequest.from_json(inputs.body())
        self._note(request.id, {"state": "running"})

        def work(output: Output) -> dict[str, Any]:
            outcome = {"state": "failed", **internal_error().to_json()}
            try:
                result = push.receive(self.context, request, output)
                outcome = {"state": "live", "line": result.get("line", "")}
            except DaeError as error:
                outcome = {"state": "failed", **error.to_json()}
                raise
            except Exception as error:
                outcome = {"state": "failed", **internal_error(error).to_json()}
                raise
            finally:
                self._note(request.id, outcome)
            return result

        return inputs.streamed(work)

    def _note(self, number: str, outcome: dict[str, Any]) -> None:
        self.outcomes[number] = outcome
        while len(self.outcomes) > OUTCOMES_KEPT:
            self.outcomes.popitem(last=False)

    def _state(self, number: str) -> Any:
        """How a push stands whose stream broke: known here, or since a restart of control from its release."""
        self._require_key()
        return self.outcomes.get(number) or views.push_state(self.context, number)
