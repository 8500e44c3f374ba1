"""The nouns that every part shares: frozen, and validated where they are made, so that none can be wrong.

``docs/glossary.md`` has the sentences; a name is checked here and nowhere else.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from core import manifests
from core.errors import DaeError

# The one allow-list for names. ``\Z`` and ASCII classes: neither a trailing newline nor a look-alike letter gets by.
APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}\Z")
USER_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}\Z")
CONFIG_KEY = re.compile(r"[A-Z_][A-Z0-9_]{0,127}\Z")
PROCESS_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")
BUILDPACK_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
COMMIT = re.compile(r"[0-9a-f]{40}\Z")

RESERVED_APP_NAMES = frozenset({"git", "pypi", "console", "api", "dev", "beta", "stable", "www"})
# What would change how the platform's own launcher, the loader, the shell, git or Python itself behave.
RESERVED_CONFIG_KEYS = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "IFS", "ENV", "BASH_ENV", "PORT",
        "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "GUNICORN_CMD_ARGS",
    }
)  # fmt: skip
RESERVED_CONFIG_PREFIXES = ("DAE_", "LD_", "GIT_")
CONFIG_VALUE_BYTES = 64 * 1024


class Stage(StrEnum):
    """Where a release lives; its host name is APP.dev.DOMAIN, APP.beta.DOMAIN, APP.DOMAIN."""

    DEV = "dev"
    BETA = "beta"
    STABLE = "stable"


#: The branch that deploys, and the stage it deploys to.
BRANCH_STAGES: Mapping[str, Stage] = {
    "master": Stage.DEV,
    "main": Stage.DEV,
    "beta": Stage.BETA,
    "release": Stage.STABLE,
}
#: Promotion goes one step up.
NEXT_STAGE: Mapping[Stage, Stage] = {Stage.DEV: Stage.BETA, Stage.BETA: Stage.STABLE}


class ProcessType(StrEnum):
    """The kinds of process a release consists of."""

    WEB = "web"
    WORKER = "worker"
    RELEASE = "release"


class ReleaseState(StrEnum):
    """``starting`` -> ``live`` -> ``superseded``, or ``starting`` -> ``failed``; see TRANSITIONS."""

    STARTING = "starting"
    LIVE = "live"
    SUPERSEDED = "superseded"
    FAILED = "failed"


class CiState(StrEnum):
    """Of a run of tests: ``queued`` -> ``running`` -> what came of it. ``error``: they could not be run."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    INTERRUPTED = "interrupted"


TRANSITIONS: Mapping[ReleaseState, frozenset[ReleaseState]] = {
    ReleaseState.STARTING: frozenset({ReleaseState.LIVE, ReleaseState.FAILED}),
    ReleaseState.LIVE: frozenset({ReleaseState.SUPERSEDED}),
    ReleaseState.SUPERSEDED: frozenset(),
    ReleaseState.FAILED: frozenset(),
}


class Action(StrEnum):
    """What made a release."""

    DEPLOY = "deploy"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    CONFIG = "config"


def app_name(text: str) -> str:
    """Return ``text`` if an app may have that name; raises ``app/bad-name`` otherwise."""
    shown = ascii(text if len(text) <= 40 else text[:37] + "...")
    rule = "use 1 to 30 characters: a-z, 0-9 and '-', beginning with a letter and not ending in '-'"
    if not APP_NAME.match(text) or text.endswith("-"):
        raise DaeError("app/bad-name", f"{shown} cannot be an app's name", rule)
    if text in RESERVED_APP_NAMES:
        raise DaeError("app/bad-name", f"{shown} is reserved for the platform", "choose another name")
    return text


def user_name(text: str) -> str:
    """Return ``text`` if a user may have that name; raises ``user/bad-name`` otherwise."""
    if not USER_NAME.match(text) or text.endswith("-"):
        shown = ascii(text if len(text) <= 40 else text[:37] + "...")
        raise DaeError("user/bad-name", f"{shown} cannot be a user's name", "use 1 to 30 of a-z, 0-9 and '-'")
    return text


def stage(text: str) -> Stage:
    """Return the stage of that name; raises ``input/invalid`` otherwise."""
    try:
        return Stage(text)
    except ValueError:
        raise DaeError("input/invalid", f"{text[:40]!a} is not a stage", "use dev, beta or stable") from None


def config_pair(key: str, value: str) -> tuple[str, str]:
    """Return ``(key, value)`` if it may stand in an app's environment.

    Raises ``config/bad-key``, ``config/reserved`` or ``config/bad-value``.
    """
    if not CONFIG_KEY.match(key):
        raise DaeError("config/bad-key", f"{key[:60]!a} is not a variable's name", "use A-Z, 0-9 and '_'")
    if key in RESERVED_CONFIG_KEYS or key.startswith(RESERVED_CONFIG_PREFIXES):
        raise DaeError("config/reserved", f"{key} is set by the platform", "choose another name")
    try:
        fits = "\0" not in value and len(value.encode()) <= CONFIG_VALUE_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can carry and UTF-8 cannot
        fits = False
    if not fits:
        raise DaeError("config/bad-value", f"the value of {key} holds a NUL or is longer than 64 KiB", "shorten it")
    return key, value


def canonical_json(data: Any) -> bytes:
    """The one spelling of ``data`` as JSON that digests are taken of: sorted keys, no blanks, UTF-8."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(data: bytes) -> str:
    """The sha256 of ``data`` in hex: how layers and slugs are named."""
    return hashlib.sha256(data).hexdigest()


def now() -> datetime.datetime:
    """The time in UTC, with its zone."""
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class App:
    """A named thing a team owns."""

    name: str
    owner: str
    created: datetime.datetime

    def __post_init__(self) -> None:
        app_name(self.name)
        user_name(self.owner)


@dataclass(frozen=True, slots=True)
class Push:
    """A ref update that somebody asks for: ``old`` and ``new`` are full object names (40 hex digits)."""

    app: str
    ref: str
    old: str
    new: str
    who: str

    def __post_init__(self) -> None:
        app_name(self.app)
        user_name(self.who)
        if not (COMMIT.match(self.old) and COMMIT.match(self.new)):
            raise DaeError("push/bad-ref", "an object name is not 40 hex digits", "push with git itself")


@dataclass(frozen=True, slots=True)
class Handler:
    """One line of app.yaml's ``handlers``: the first whose ``url`` matches the whole path answers.

    Exactly one of ``wsgi_app`` (``module:callable``) and ``static_files`` (a path in the commit, with ``\\1``
    references to the groups of ``url``) is set. ``upload`` is a regular expression that the resulting path must match.
    Raises ValueError.
    """

    url: str
    wsgi_app: str = ""
    static_files: str = ""
    upload: str = ""

    def __post_init__(self) -> None:
        manifests.pattern(self.url, "the url of a handler")
        manifests.pattern(self.upload, "the upload of a handler")
        manifests.line(self.wsgi_app, "the wsgi_app of a handler", manifests.PATTERN_CHARS)
        manifests.inside(self.static_files, "the static_files of a handler")
        if bool(self.wsgi_app) == bool(self.static_files):
            raise ValueError("a handler has either wsgi_app or static_files")


@dataclass(frozen=True, slots=True)
class Process:
    """A process type of a slug: its name in the Procfile, its kind, its command (empty: the handlers are served).

    Raises ``build/bad-procfile``, and ValueError for a command that is not a line.
    """

    name: str
    kind: ProcessType
    command: str = ""

    def __post_init__(self) -> None:
        if not PROCESS_NAME.match(self.name):
            raise DaeError("build/bad-procfile", f"{self.name[:40]!a} cannot be a process's name", "use a-z, 0-9, -")
        manifests.line(self.command, f"the command of {self.name}", manifests.COMMAND_CHARS)


@dataclass(frozen=True, slots=True)
class Health:
    """How a new web instance proves that it serves: GET ``path`` must answer within ``timeout`` seconds.

    When the app names no path, ``/`` is asked and any status under 500 passes; a path that the app names must answer
    with a status under 400. Raises ValueError.
    """

    path: str = "/"
    timeout: int = 30
    strict: bool = False

    def __post_init__(self) -> None:
        manifests.requested(self.path, "the path of health")
        manifests.number(self.timeout, "the timeout of health", 1, manifests.SECONDS)
        if type(self.strict) is not bool:
            raise ValueError("whether health is strict is neither true nor false")


def _searched(folder: str) -> None:
    """Raise ValueError unless it is a folder of the code, and one entry of a search path."""
    manifests.inside(folder, "a folder of python_path")
    if not folder or ":" in folder:
        raise ValueError(f"{folder!a} is not a folder of the code")


@dataclass(frozen=True, slots=True)
class Slug:
    """A manifest over two layers, named by the digest of its canonical JSON.

    ``environment`` names the layer with the virtual environment; ``code`` is the git tree of the commit or, when
    compile steps changed that, a name of the same form for what came out. ``buildpack``: what made it, joined by ``+``:
    ``NAME/VERSION`` for one of the platform's own, ``NAME@DIGEST`` for a classic one of the operator's.
    ``release_timeout``: seconds that the app gives its release command, 0: as many as the platform does.
    ``python_path``: folders of the code that modules are imported from, beside its top; relative, without ``..``.
    Raises ValueError.
    """

    commit: str
    code: str
    environment: str
    interpreter: str
    buildpack: str
    processes: tuple[Process, ...]
    handlers: tuple[Handler, ...] = ()
    health: Health = field(default_factory=Health)
    workers: int = 1
    release_timeout: int = 0
    python_path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        manifests.number(self.workers, "workers", 1, manifests.WORKERS)
        manifests.number(self.release_timeout, "release_timeout", 0, manifests.SECONDS)
        for folder in self.python_path:
            _searched(folder)

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain data; the inverse of :meth:`from_json`."""
        data = asdict(self)
        for younger in ("release_timeout", "python_path"):  # manifests of before they were there keep their digests
            if not data[younger]:
                del data[younger]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slug:
        """A slug from its manifest; raises ``slug/damaged`` when a field is missing or of another shape."""
        try:
            return cls(
                commit=str(data["commit"]),
                code=str(data["code"]),
                environment=str(data["environment"]),
                interpreter=str(data["interpreter"]),
                buildpack=str(data["buildpack"]),
                processes=tuple(Process(p["name"], ProcessType(p["kind"]), p["command"]) for p in data["processes"]),
                handlers=tuple(Handler(**h) for h in data["handlers"]),
                health=Health(**data["health"]),
                workers=data["workers"],
                release_timeout=data.get("release_timeout", 0),
                python_path=tuple(data.get("python_path", ())),
            )
        except (KeyError, TypeError, ValueError, DaeError) as error:
            raise DaeError("slug/damaged", f"the manifest cannot be read: {error}", "push the commit again") from error

    @property
    def digest(self) -> str:
        """The slug's name: sha256 of the canonical manifest."""
        return digest_of(canonical_json(self.to_json()))

    @property
    def classic(self) -> bool:
        """Whether a classic buildpack took part: its processes find their home as it expects."""
        return "@" in self.buildpack

    @property
    def python(self) -> bool:
        """Whether the platform's own buildpack for Python did: commands that start Python mean the environment's."""
        return any(part.startswith("python/") for part in self.buildpack.split("+"))

    def process(self, kind: ProcessType) -> Process | None:
        """The first process of that kind, or None."""
        return next((p for p in self.processes if p.kind is kind), None)


@dataclass(frozen=True, slots=True)
class Release:
    """Slug + config snapshot in a stage, numbered per app. Only its state ever changes (see TRANSITIONS)."""

    app: str
    number: int
    stage: Stage
    slug: str
    commit: str
    action: Action
    source: int | None
    who: str
    state: ReleaseState
    created: datetime.datetime
    error: str = ""
    #: Index of the instances that serve: a restart starts the next ones before it stops these.
    index: int = 1

    @property
    def name(self) -> str:
        """How people call it: ``v3``."""
        return f"v{self.number}"


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One running copy of a process type of a release on this node; ``key`` names it everywhere."""

    app: str
    stage: Stage
    release: int
    process: str
    index: int = 1

    def __post_init__(self) -> None:
        app_name(self.app)
        if not PROCESS_NAME.match(self.process) or self.release < 1 or self.index < 1:
            raise DaeError("runner/refused", f"there is no instance {self!r}", "")

    @property
    def key(self) -> str:
        """``blog.dev.v3.web.1``: a name without characters that a path, a command or supervisor would read."""
        return f"{self.app}.{self.stage}.v{self.release}.{self.process}.{self.index}"

    @classmethod
    def from_key(cls, key: str) -> Instance:
        """The inverse of :attr:`key`; raises ``runner/refused``, ``app/bad-name`` or ``input/invalid``."""
        parts = key.split(".")
        if (
            len(parts) != 5
            or not re.match(r"v[1-9][0-9]{0,8}\Z", parts[2])
            or not re.match(r"[1-9][0-9]{0,3}\Z", parts[4])
        ):
            raise DaeError("runner/refused", f"{key[:80]!a} does not name an instance", "")
        return cls(parts[0], stage(parts[1]), int(parts[2][1:]), parts[3], int(parts[4]))


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """Host -> the web instances of a release of an app in a stage."""

    host: str
    app: str
    stage: Stage
    release: int
    #: Index of the web instance.
    index: int = 1
    #: Loopback TCP port when the web command binds ``$PORT``; 0 when it listens on its unix socket.
    port: int = 0
    #: Git tree of the code layer that static handlers are served from.
    code: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A past-tense fact; append-only."""

    id: int
    kind: str
    app: str
    stage: str
    who: str
    data: Mapping[str, Any]
    created: datetime.datetime
