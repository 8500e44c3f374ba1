"""What a commit is: which processes, which handlers, which requirements. Only text is read; nothing is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from buildpacks import manifests, runtimes
from buildpacks.foreign import ForeignLock
from buildpacks.policy import Policy
from buildpacks.sources import read_text
from core.errors import DaeError
from core.nouns import Handler, Health, Process, ProcessType
from dae import appfile, procfile

_KINDS = {"web": ProcessType.WEB, "release": ProcessType.RELEASE}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a commit asks for: the processes to run, and what they require.

    Either ``requirements`` (one in a line), ``constraints`` and ``options``, which the platform locks, or a ``lock`` of
    another manager. ``python_path``: folders of the commit that its code is imported from, beside the top one.
    ``build``, ``build_env``, ``assets``, ``collectstatic``: its compile steps, see :mod:`buildpacks.steps`.
    """

    processes: tuple[Process, ...]
    handlers: tuple[Handler, ...] = ()
    health: Health = field(default_factory=Health)
    workers: int = 1
    requirements: str = ""
    installer: str = ""
    python: runtimes.Wanted = field(default_factory=runtimes.Wanted)
    requirements_file: str = "requirements.txt"
    build: tuple[str, ...] = ()
    build_env: tuple[str, ...] = ()
    assets: bool = True
    collectstatic: bool = True
    release_timeout: int = 0
    constraints: str = ""
    options: tuple[str, ...] = ()
    lock: ForeignLock | None = None
    python_path: tuple[str, ...] = ()


def detect(source: Path, policy: Policy = Policy()) -> Recipe:  # noqa: B008 - it is frozen
    """The recipe of the tree in the folder ``source``; ``policy`` says which indexes it may name.

    Raises ``build/no-entry``, ``build/bad-app-yaml``, ``build/bad-procfile``, ``build/bad-requirements``,
    ``build/unsupported-requirement``, ``build/unsupported-manifest``, ``build/bad-lock`` and ``build/bad-runtime``.
    """
    described = _load(source, "app.yaml", appfile.SIZE_CAP, "build/bad-app-yaml", appfile.parse)
    listed = _load(source, "Procfile", procfile.SIZE_CAP, "build/bad-procfile", procfile.parse)
    app = described or appfile.AppFile()
    processes = _processes(app, listed or ())
    if not any(process.kind is not ProcessType.RELEASE for process in processes):
        raise _no_entry(source, described is not None, listed is not None)
    manifest = manifests.find(source, policy)
    return Recipe(
        processes=processes,
        handlers=tuple(Handler(h.url, h.wsgi_app, h.static_files, h.upload) for h in app.handlers),
        health=Health(app.health.path or "/", app.health.timeout, strict=bool(app.health.path)),
        workers=app.workers,
        requirements=manifest.text,
        installer=app.installer,
        python=runtimes.wanted(source, app.runtime, manifest.requires_python),
        requirements_file=manifest.filename,
        build=app.build,
        build_env=app.build_env,
        assets=app.assets,
        collectstatic=app.collectstatic,
        release_timeout=app.release_timeout,
        constraints=manifest.constraints,
        options=manifest.options,
        lock=manifest.lock,
        python_path=manifest.python_path,
    )


def _load(source: Path, name: str, cap: int, code: str, parse: Callable[[str], T]) -> T | None:
    text = read_text(source, name, cap, code)
    if text is None:
        return None
    try:
        return parse(text)
    except appfile.GrammarError as error:
        raise DaeError(error.code, error.cause, error.hint) from None


def _processes(app: appfile.AppFile, listed: tuple[tuple[str, str], ...]) -> tuple[Process, ...]:
    processes = tuple(Process(name, _KINDS.get(name, ProcessType.WORKER), command) for name, command in listed)
    has_web = any(process.kind is ProcessType.WEB for process in processes)
    if has_web and any(handler.wsgi_app for handler in app.handlers):
        cause = "Procfile has a 'web' process and app.yaml has a 'wsgi_app' handler: both would answer"
        raise DaeError("build/bad-procfile", cause, "remove one of the two")
    if app.handlers and not has_web:
        return (Process("web", ProcessType.WEB), *processes)
    return processes


def _no_entry(source: Path, described: bool, listed: bool) -> DaeError:
    found = [name for name, there in (("app.yaml", described), ("Procfile", listed)) if there]
    if found:
        cause = f"{' and '.join(found)}: there is no handler, and no process but 'release'"
    else:
        names = sorted(entry.name for entry in source.iterdir())
        shown = ", ".join(ascii(name)[1:-1] for name in names[:8]) + (", ..." if len(names) > 8 else "")
        cause = f"there is neither app.yaml nor Procfile; the commit has: {shown or 'no file'}"
    hint = "commit a Procfile with 'web: gunicorn MODULE:app', or an app.yaml with a handler 'wsgi_app: MODULE:app'"
    return DaeError("build/no-entry", cause, hint)
