"""Failures that the command itself finds; those of the platform arrive with their own code, cause and hint."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

#: Every code that the command itself makes (``docs/cli.md`` explains each; a test holds the two together).
CODES: Mapping[str, str] = MappingProxyType(
    {
        "local/no-app": "no -a APP, and no git remote dae to take it from",
        "local/other-platform": "the git remote dae belongs to another platform than the current one",
        "local/no-platform": "logged in nowhere",
        "local/bad-url": "not the address of a platform",
        "local/no-token": "a login without a token",
        "local/bad-credentials": "the credentials file cannot be read",
        "local/no-repository": "the current folder is in no git repository",
        "local/not-top": "a starter belongs to the top of its repository",
        "local/remote-exists": "there is a git remote dae already",
        "local/git": "git failed",
        "local/uncommitted": "changes that are in no commit would not be deployed",
        "local/no-entry": "neither app.yaml nor Procfile says what to run",
        "local/file-exists": "a file of the template is there already",
        "local/bad-requirement": "not a requirement that can be recorded",
        "local/no-python": "no Python to make the local environment with",
        "local/environment": "the local environment could not be made",
        "local/install-failed": "a dependency did not install",
        "local/file": "a file cannot be read or written",
        "local/no-command": "the program to run does not exist",
        "local/port-taken": "something else listens on that port",
        "app/bad-name": "the name is not one an app may have",
        "app/confirm": "a destructive command needs the app's name typed",
        "platform/not-running": "nothing answers at the platform's address",
        "platform/bad-answer": "the platform's answer cannot be understood",
    }
)


class CliError(Exception):
    """What happened (``code`` and ``cause``) and what to type next (``hint``, may be empty)."""

    def __init__(self, code: str, cause: str, hint: str = "") -> None:
        super().__init__(f"{code}: {cause}")
        self.code = code
        self.cause = cause
        self.hint = hint

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CliError:
        """The platform's own error (``{"error", "cause", "hint"}``)."""
        return cls(str(data["error"]), str(data.get("cause", "")), str(data.get("hint", "")))

    def lines(self) -> list[str]:
        """The two lines that a person sees."""
        return [f" !     {self.code}: {self.cause}"] + [f"       {line}" for line in self.hint.splitlines()]
