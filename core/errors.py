"""The one tree of errors. Every failure that a person can meet has a stable code, a cause and a next step.

A code is ``area/name``. The areas are the branches of the tree; the catalogue below is the whole tree, and
``docs/errors.md`` explains every leaf (a test holds the two together). The edges (git, HTTP, the command) turn an
error into words; nothing in between prints.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """What is fixed about a code: the HTTP status that carries it and one line that sums it up."""

    status: int
    summary: str


CATALOG: Mapping[str, ErrorKind] = MappingProxyType(
    {
        # who is asking
        "auth/required": ErrorKind(401, "no token, or one that is not known"),
        "auth/forbidden": ErrorKind(403, "this user may not do that"),
        # names and input
        "app/bad-name": ErrorKind(400, "the name is not one an app may have"),
        "app/unknown": ErrorKind(404, "there is no app of that name"),
        "app/exists": ErrorKind(409, "an app of that name exists already"),
        "app/confirm": ErrorKind(400, "a destructive command needs the app's name typed"),
        "app/busy": ErrorKind(409, "another operation on this app is running"),
        "input/invalid": ErrorKind(400, "the request is not well formed"),
        "input/unknown-path": ErrorKind(404, "there is nothing at that address"),
        "user/bad-name": ErrorKind(400, "the name is not one a user may have"),
        "user/exists": ErrorKind(409, "a user of that name exists already"),
        "user/unknown": ErrorKind(404, "there is no user of that name"),
        "token/unknown": ErrorKind(404, "there is no token of that number"),
        "config/bad-key": ErrorKind(400, "the name is not one a config variable may have"),
        "config/bad-value": ErrorKind(400, "the value cannot be put into an environment"),
        "config/reserved": ErrorKind(400, "the platform sets this variable itself"),
        "settings/invalid": ErrorKind(500, "the platform's own configuration is wrong"),
        # pushing
        "push/wrong-branch": ErrorKind(400, "this branch does not deploy"),
        "push/stale": ErrorKind(409, "the branch moved while this push was on its way"),
        "push/delete": ErrorKind(400, "a deploying branch cannot be deleted"),
        "push/several": ErrorKind(400, "one push moves one branch"),
        "push/bad-ref": ErrorKind(400, "the ref's name is not acceptable"),
        "push/too-large": ErrorKind(413, "the push is larger than the platform accepts"),
        "push/cancelled": ErrorKind(409, "the pushing client went away before the switch"),
        "push/interrupted": ErrorKind(503, "the platform was stopped in the middle of it"),
        "repo/unknown": ErrorKind(404, "there is no repository at that path"),
        # building
        "build/no-entry": ErrorKind(422, "neither app.yaml nor Procfile nor a buildpack says what to run"),
        "build/bad-app-yaml": ErrorKind(422, "app.yaml is malformed"),
        "build/bad-procfile": ErrorKind(422, "Procfile is malformed"),
        "build/bad-requirements": ErrorKind(422, "the requirements file is malformed"),
        "build/unsupported-requirement": ErrorKind(422, "a requirement of a kind that is not accepted"),
        "build/unsupported-manifest": ErrorKind(422, "the requirements stand in a file that is not read"),
        "build/bad-lock": ErrorKind(422, "the committed lock is malformed, or does not serve this Python"),
        "build/lock-outdated": ErrorKind(422, "the lock is not of what the project requires now"),
        "build/unresolvable": ErrorKind(422, "no set of versions satisfies the requirements"),
        "build/install-failed": ErrorKind(422, "a dependency did not install"),
        "build/unsafe-tree": ErrorKind(422, "the commit holds a file that may not be deployed"),
        "build/bad-source": ErrorKind(422, "what a requirement's address gave is not what it may be"),
        "build/source-unavailable": ErrorKind(503, "a requirement's address could not be fetched"),
        "build/bad-runtime": ErrorKind(422, "no such interpreter on this platform"),
        "build/no-node": ErrorKind(422, "the commit has front-end assets, and the node has no Node.js"),
        "build/no-value": ErrorKind(422, "a variable that the build asks for has no value"),
        "build/unknown-buildpack": ErrorKind(422, "no buildpack of that name is installed"),
        "build/not-detected": ErrorKind(422, "a buildpack says that it cannot build this commit"),
        "build/step-failed": ErrorKind(422, "a compile step of the app ended with an error"),
        "build/timeout": ErrorKind(422, "the build took too long"),
        "build/out-of-memory": ErrorKind(422, "the build needed more memory than a build may have"),
        "build/too-large": ErrorKind(422, "the build took more of the disk than a build may have"),
        "build/limit": ErrorKind(422, "the build printed more, or started more processes, than a build may"),
        "build/busy": ErrorKind(503, "other builds took all places for as long as a build may take"),
        "build/failed": ErrorKind(500, "the build ended in a way it should not"),
        "build/refused": ErrorKind(422, "the index's policy does not let through what the lock names"),
        "build/mirror-unavailable": ErrorKind(503, "the index could not be reached and does not hold what is needed"),
        # slugs
        "slug/unknown": ErrorKind(404, "there is no slug of that digest"),
        "slug/damaged": ErrorKind(500, "a layer does not match its manifest"),
        "slug/bad-archive": ErrorKind(422, "the file is no archive of a slug, or not whole"),
        "slug/untrusted": ErrorKind(403, "the archive is not signed by a platform that is trusted here"),
        "slug/wrong-interpreter": ErrorKind(422, "the slug is for a Python that this platform does not have"),
        "slug/busy": ErrorKind(503, "as many slugs are exported as may be at once"),
        "slug/timeout": ErrorKind(503, "exporting or importing the slug took longer than it may"),
        "slug/too-large": ErrorKind(413, "the archive is larger than the platform accepts"),
        # releasing
        "release/unknown": ErrorKind(404, "there is no such release"),
        "release/nothing-live": ErrorKind(409, "the stage has no release"),
        "release/no-earlier": ErrorKind(409, "there is no earlier release to go back to"),
        "release/wrong-stage": ErrorKind(400, "releases are not promoted that way"),
        "release/untested": ErrorKind(409, "the stage takes only what has passed the app's tests"),
        "release/refused": ErrorKind(409, "the stage's view of the index lets a package of the slug through no more"),
        "release/crashed": ErrorKind(422, "the app stopped before it answered"),
        "release/unhealthy": ErrorKind(422, "the app answered its health check with an error"),
        "release/silent": ErrorKind(422, "the app did not answer its health check in time"),
        "release/command-failed": ErrorKind(422, "the release command failed"),
        "release/not-routed": ErrorKind(500, "the router did not take the new route"),
        # the node
        "runner/unavailable": ErrorKind(503, "the node's agent does not answer"),
        "runner/refused": ErrorKind(400, "the agent was asked something it does not do"),
        "runner/path-too-long": ErrorKind(500, "a unix socket's path would be longer than the system allows"),
        "runner/account": ErrorKind(500, "a UNIX account could not be made or removed"),
        "router/invalid": ErrorKind(500, "nginx does not accept the configuration"),
        "router/unavailable": ErrorKind(503, "nginx is not running"),
        # the mirror
        "mirror/bad-name": ErrorKind(400, "the name is not one a project may have"),
        "mirror/unknown-project": ErrorKind(404, "no index has a project of that name"),
        "mirror/unknown-file": ErrorKind(404, "no index has that file"),
        "mirror/unavailable": ErrorKind(503, "the upstream index does not answer, and the mirror does not hold it"),
        "mirror/bad-upstream": ErrorKind(502, "the upstream index answered something that is not an index"),
        "mirror/hash-mismatch": ErrorKind(502, "the file from upstream is not the one its index names"),
        "mirror/refused": ErrorKind(403, "the index's policy does not let it through"),
        "mirror/bad-policy": ErrorKind(503, "the index's policy, or its data of vulnerabilities, cannot be read"),
        "mirror/unknown-view": ErrorKind(404, "the index has no view of that name"),
        "mirror/not-acceptable": ErrorKind(406, "none of the accepted formats can be served"),
        "mirror/bad-upload": ErrorKind(400, "the form, the file or its metadata is not as the standards want it"),
        "mirror/file-exists": ErrorKind(400, "a file of that name is or was published, with other bytes"),
        "mirror/too-large": ErrorKind(413, "the file is larger than the index accepts"),
        "mirror/too-many-uploads": ErrorKind(429, "this user has too many uploads under way"),
        "mirror/busy": ErrorKind(503, "too many uploads, or exports, are under way"),
        "mirror/too-slow": ErrorKind(408, "the upload comes too slowly"),
        "mirror/name-taken": ErrorKind(403, "upstream has a project of that name, or somebody one that looks like it"),
        "mirror/closed": ErrorKind(403, "the project's state does not allow that"),
        "mirror/unknown-version": ErrorKind(404, "the project has no such version"),
        "mirror/bad-archive": ErrorKind(422, "the file is no export of an index, or not whole"),
        "mirror/untrusted": ErrorKind(403, "the export is not signed by a platform that is trusted here"),
        "mirror/damaged": ErrorKind(500, "a file of the index is not what its name says"),
        "mirror/confirm": ErrorKind(400, "a destructive command needs the project's name typed"),
        # hooks
        "hook/bad-url": ErrorKind(400, "the address is not one a webhook may be sent to"),
        "hook/unknown": ErrorKind(404, "there is no such webhook"),
        # coordination
        "coord/conflict": ErrorKind(409, "the key was changed by somebody else"),
        "coord/timeout": ErrorKind(409, "the lock was not free in time"),
        "coord/lost": ErrorKind(503, "the session ended, and with it all that it held"),
        # the platform itself
        "platform/missing": ErrorKind(500, "a system package is missing"),
        "platform/port-taken": ErrorKind(500, "another program listens on the platform's port"),
        "platform/disk-full": ErrorKind(507, "there is no room left on the node's disk"),
        "platform/not-running": ErrorKind(503, "the platform does not run"),
        "platform/start-failed": ErrorKind(500, "a part of the platform did not become healthy"),
        "platform/internal": ErrorKind(500, "a defect of the platform; its log has the details"),
    }
)


class DaeError(Exception):
    """One failure: a code of the catalogue, the cause in a sentence, and what to type or change next.

    Raises KeyError when the code is not in the catalogue: that is a defect of the caller.
    """

    def __init__(self, code: str, cause: str, hint: str = "") -> None:
        self.kind = CATALOG[code]
        self.code = code
        self.cause = cause
        self.hint = hint
        super().__init__(f"{code}: {cause}")

    @property
    def status(self) -> int:
        """The HTTP status that carries this error."""
        return self.kind.status

    def line(self) -> str:
        """The error as its one closing line: code, cause, next step."""
        return f"{self.code}: {self.cause}" + (f" -- {self.hint}" if self.hint else "")

    def lines(self) -> str:
        """The error as whoever pushes sees it: what happened, and below it what to type next."""
        return f" !     {self.code}: {self.cause}" + (f"\n       {self.hint}" if self.hint else "")

    def to_json(self) -> dict[str, str]:
        """The error as it travels between parts: ``{"error", "cause", "hint"}``."""
        return {"error": self.code, "cause": self.cause, "hint": self.hint}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DaeError:
        """The inverse of :meth:`to_json`; a code that this version does not know becomes ``platform/internal``."""
        code = str(data.get("error", ""))
        cause, hint = str(data.get("cause", "")), str(data.get("hint", ""))
        if code not in CATALOG:
            return cls("platform/internal", f"{code}: {cause}", hint)
        return cls(code, cause, hint)


def disk_full(cause: str) -> DaeError:
    """The error of whoever found no room on the node's disk."""
    return DaeError("platform/disk-full", cause, "the operator makes room on the node; then try again")


def no_room(error: BaseException | None) -> DaeError | None:
    """``platform/disk-full`` when a full disk is what is behind ``error`` (itself, or what it was raised in); or None.

    SQLite tells it in its own words (SQLITE_FULL).
    """
    seen: list[BaseException] = []  # an error may have been raised from itself
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, DaeError) and error.code == "platform/disk-full":
            return error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return disk_full(f"there is no room on the disk: {error.strerror}")
        if "database or disk is full" in str(error):
            return disk_full("there is no room on the disk for the platform's database")
        error = error.__cause__ or error.__context__
    return None
