"""What a commit is: which processes, which handlers, which requirements. Only text is read; nothing is run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from buildpacks import manifests, misspelt, node, runtimes
from buildpacks.foreign import ForeignLock
from buildpacks.policy import Policy
from buildpacks.sources import read_text
from core.errors import DaeError
from core.nouns import Handler, Health, Process, ProcessType
from dae import appfile, procfile
from dae.runtime import site

#: The platform's own buildpacks: an app with an environment, and a site of files.
PYTHON, STATIC = "python", "static"
_KINDS = {"web": ProcessType.WEB, "release": ProcessType.RELEASE}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a commit asks for: the processes to run, and what they require.

    Either ``requirements`` (one in a line), ``constraints`` and ``options``, which the platform locks, or a ``lock`` of
    another manager. ``python_path``: folders of the commit that its code is imported from, beside the top one.
    ``buildpacks``: the names of those that make it, in their order; ``processes`` may be empty when one of them is a
    classic one, which says more when it has run. ``build``, ``build_env``, ``assets``, ``collectstatic``: its compile
    steps, see :mod:`buildpacks.steps`. ``tests_require``: the file that 'ci' in app.yaml names.
    ``notes``: lines on what is not read, or not obeyed.
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
    buildpacks: tuple[str, ...] = (PYTHON,)
    tests_require: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_python(self) -> bool:
        """Whether its requirements count, and its Python is compiled."""
        return PYTHON in self.buildpacks

    def with_defaults(self, commands: Mapping[str, str]) -> Recipe:
        """The same with the processes of ``commands`` that the commit does not name; raises ``build/no-entry``."""
        named = {process.name for process in self.processes}
        more = [(name, command) for name, command in commands.items() if name not in named]
        found = replace(self, processes=(*self.processes, *_listed(more)))
        if not any(process.kind is not ProcessType.RELEASE for process in found.processes):
            last = self.buildpacks[-1]
            more_said = "" if last in (PYTHON, STATIC) else f", and neither does bin/release of {last}"
            cause = f"there is no Procfile or handler that says what to run{more_said}"
            raise DaeError("build/no-entry", cause, "commit a Procfile, such as 'web: COMMAND'")
        return found


def detect(source: Path, policy: Policy = Policy()) -> Recipe:  # noqa: B008 - it is frozen
    """The recipe of the tree in the folder ``source``; ``policy`` says which indexes it may name.

    Raises ``build/no-entry``, ``build/bad-app-yaml``, ``build/bad-procfile``, ``build/bad-requirements``,
    ``build/unsupported-requirement``, ``build/unsupported-manifest``, ``build/bad-lock`` and ``build/bad-runtime``.
    """
    described = describe(source)
    listed = _load(source, "Procfile", procfile.SIZE_CAP, "build/bad-procfile", procfile.parse)
    app = described or appfile.AppFile()
    names = app.buildpacks or _own(source, app)
    if STATIC in names and not app.handlers and not any(name == "web" for name, _ in listed or ()):
        app = replace(app, handlers=(appfile.AppHandler(**site.HANDLER),))
    processes = _processes(app, listed or ())
    classic = any(name not in (PYTHON, STATIC) for name in names)
    if not classic and not any(process.kind is not ProcessType.RELEASE for process in processes):
        raise _no_entry(source, described is not None, listed is not None)
    is_python = PYTHON in names
    manifest = manifests.find(source, policy) if is_python else manifests.Manifest()
    return Recipe(
        processes=processes,
        handlers=tuple(Handler(h.url, h.wsgi_app, h.static_files, h.upload) for h in app.handlers),
        health=Health(app.health.path or "/", app.health.timeout, strict=bool(app.health.path)),
        workers=app.workers,
        requirements=manifest.text,
        installer=app.installer,
        python=_python(source, app, manifest) if is_python else runtimes.Wanted(),
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
        buildpacks=names,
        tests_require=app.ci.requires,
        notes=(*manifest.notes, *(node.check(source) if is_python and app.assets else ())),
    )


def _python(source: Path, app: appfile.AppFile, manifest: manifests.Manifest) -> runtimes.Wanted:
    exact = manifest.lock.exact_python if manifest.lock else ""
    return runtimes.wanted(source, app.runtime, manifest.requires_python, manifest.required_by, exact)


def describe(source: Path) -> appfile.AppFile | None:
    """The app.yaml of the tree in the folder ``source``, None without one; raises ``build/bad-app-yaml``."""
    return _load(source, "app.yaml", appfile.SIZE_CAP, "build/bad-app-yaml", appfile.parse)


def _own(source: Path, app: appfile.AppFile) -> tuple[str, ...]:
    """Which of the platform's own buildpacks a commit is for that names none."""
    files_only = not app.handlers and site.is_site(entry.name for entry in source.iterdir())
    return (STATIC,) if files_only else (PYTHON,)


def _load(source: Path, name: str, cap: int, code: str, parse: Callable[[str], T]) -> T | None:
    text = read_text(source, name, cap, code)
    if text is None:
        return None
    try:
        return parse(text)
    except appfile.GrammarError as error:
        raise DaeError(error.code, error.cause, error.hint) from None


def _processes(app: appfile.AppFile, listed: tuple[tuple[str, str], ...]) -> tuple[Process, ...]:
    processes = _listed(listed)
    has_web = any(process.kind is ProcessType.WEB for process in processes)
    if has_web and any(handler.wsgi_app for handler in app.handlers):
        cause = "Procfile has a 'web' process and app.yaml has a 'wsgi_app' handler: both would answer"
        raise DaeError("build/bad-procfile", cause, "remove one of the two")
    if app.handlers and not has_web:
        return (Process("web", ProcessType.WEB), *processes)
    return processes


def _listed(commands: Iterable[tuple[str, str]]) -> tuple[Process, ...]:
    return tuple(Process(name, _KINDS.get(name, ProcessType.WORKER), command) for name, command in commands)


def _no_entry(source: Path, described: bool, listed: bool) -> DaeError:
    found = [name for name, there in (("app.yaml", described), ("Procfile", listed)) if there]
    if found:
        cause = f"{' and '.join(found)}: there is no handler, and no process but 'release'"
    else:
        names = sorted(entry.name for entry in source.iterdir())
        shown = ", ".join(ascii(name)[1:-1] for name in names[:8]) + (", ..." if len(names) > 8 else "")
        cause = f"there is neither app.yaml nor Procfile; the commit has: {shown or 'no file'}"
    hint = "commit a Procfile with 'web: gunicorn MODULE:app', or an app.yaml with a handler 'wsgi_app: MODULE:app'"
    meant = misspelt.found(source)
    if close := [f"git mv {shlex.quote(meant[name])} {name}" for name in ("app.yaml", "Procfile") if name in meant]:
        hint = f"{' and '.join(close)}; or {hint}"
    if (source / site.INDEX).is_file() and not found:
        hint += "; or, if it is a site of files: 'buildpacks: [static]' in app.yaml"
    return DaeError("build/no-entry", cause, hint)
