"""The platform's own copy: both distributions, built and installed into ``platform/DIGEST``, and ``current`` beside it.

The checkout may be where no other account can read, and it changes under the hands of whoever works there; what runs
is a copy that root owns and nobody edits. A copy is named by what went into it, so that the same input is no work.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from control.output import Output
from control.platform.checks import passable
from core.argv import run
from core.errors import DaeError
from core.files import write_atomically
from core.paths import Home

_COMPLETE = ".complete"
_SKIPPED = {"__pycache__", "build", "dist", "tests"}
_OURS = {"dae", "dae-platform"}
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_INSTALL_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed copy; ``root`` is its virtual environment."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def procfile(self) -> Path:
        """The platform's own processes, as this copy runs them."""
        return self.root / "Procfile"

    @property
    def sdk_wheel(self) -> Path:
        """The wheel of the library and command, for the mirror."""
        return next((self.root / "dist").glob("dae-*.whl"))


def current(home: Home) -> Installation | None:
    """The copy that ``platform/current`` names, at its real path, or None."""
    link = home.platform / "current"
    return Installation(link.resolve()) if (link / _COMPLETE).exists() else None


def ensure(home: Home, out: Output, environ: Mapping[str, str], *, uid: int) -> Installation:
    """Install the checkout that this code runs from, unless that is done, and make it the current copy.

    ``environ`` is what the package index is reached with. When the code runs from a copy itself, that copy stays.
    Raises ``platform/start-failed``.
    """
    source = Path(__file__).resolve().parents[2]
    there = current(home)
    if not (source / "setup.py").exists():
        if there is None:
            raise DaeError("platform/missing", "this home holds no copy of the platform", "run it from a checkout")
        return there
    python = interpreter(uid)
    versions = constraints()
    files = read_sources(source)
    target = Installation(home.platform / digest(files, versions, python))
    if not (target.root / _COMPLETE).exists():
        out.step("Installing the platform's own copy")
        shutil.rmtree(target.root, ignore_errors=True)
        _build(target, files, versions, python, environ)
        (target.root / _COMPLETE).touch()
        out.detail(str(target.root))
    _switch(home, target)
    return target


def interpreter(uid: int) -> Path:
    """The interpreter to run the platform with: on a root install one that every account can reach."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    if uid != 0 or passable(base):
        return base
    if _SYSTEM_PYTHON.exists():
        return _SYSTEM_PYTHON.resolve()
    raise DaeError("platform/missing", f"other accounts cannot run {base}", "type: apt-get install -y python3")


def constraints() -> str:
    """What is installed beside this code, as constraints: the copy gets the versions that were tested here."""
    found = {dist.name: dist.version for dist in metadata.distributions() if dist.name not in _OURS}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def digest(files: Mapping[str, bytes], versions: str, python: Path) -> str:
    """The name of the copy: a hash over every source file, the versions beside it, and the interpreter."""
    return _hash(f"{python} {sys.version}\n{versions}", files)[:16]


def _hash(start: str, files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256(start.encode())
    for name, content in sorted(files.items()):
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()


def read_sources(source: Path) -> dict[str, bytes]:
    """The files that the two distributions are built from, read once: the checkout may change meanwhile."""
    return {str(path.relative_to(source)): path.read_bytes() for path in _sources(source)}


def _sources(source: Path) -> Iterator[Path]:
    yield from (source / name for name in ("setup.py", "pyproject.toml", "Procfile"))
    yield source / "sdk" / "pyproject.toml"
    parts = [path.parent for path in source.glob("*/__init__.py") if path.parent.name not in _SKIPPED]
    for part in [*parts, source / "sdk" / "dae"]:
        for path in part.rglob("*"):
            if path.is_file() and not _SKIPPED & set(path.relative_to(part).parts[:-1]):
                yield path


def _build(
    target: Installation, files: Mapping[str, bytes], versions: str, python: Path, environ: Mapping[str, str]
) -> None:
    """Make the virtual environment at its final place (its scripts hold their path), then fill it."""
    _must([python, "-I", "-m", "venv", "--without-pip", target.root], environ)
    work = target.root / "src"
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    _set_version(work / "sdk" / "pyproject.toml", sdk_version(target.root.parent, files))
    dist = target.root / "dist"
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    # A fixed time in the archives: the same content makes the same bytes.
    _must([*wheel, "-w", dist, work, work / "sdk"], {**environ, "SOURCE_DATE_EPOCH": "315532800"})
    shutil.copyfile(work / "Procfile", target.procfile)
    shutil.rmtree(work)
    listed = target.root / "constraints.txt"
    listed.write_text(versions)
    wheels = [str(path) for path in sorted(dist.glob("*.whl"))]
    _install(target.python, ["--constraint", str(listed), *wheels], environ)
    (target.root / ".lock").unlink(missing_ok=True)  # uv's; anybody could write to it


def sdk_version(platform: Path, files: Mapping[str, bytes]) -> str:
    """The version of the library's wheel: one of its own for each content, growing with time.

    The mirror takes no other file under a name that it has published, and builds take the newest.
    """
    content = _hash("", {name: data for name, data in files.items() if name.startswith("sdk/")})
    record = platform / "sdk-versions"
    known = record.read_text().split() if record.exists() else []
    if content not in known:
        known.append(content)
        write_atomically(record, ("\n".join(known) + "\n").encode(), 0o644)
    number = known.index(content)
    return metadata.version("dae") + (f".post{number}" if number else "")


def _set_version(pyproject: Path, version: str) -> None:
    text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', pyproject.read_text(), count=1)
    pyproject.write_text(text)


def _install(python: Path, arguments: list[str], environ: Mapping[str, str]) -> None:
    """Install with uv out of its cache, else from the index, else with pip, which knows its own configuration."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    for attempt in ([*uv, "--offline"], uv):
        if run([*attempt, *arguments], environ=environ, timeout=_INSTALL_TIMEOUT).ok:
            return
    _must([*pip, *arguments], environ)


def _must(argv: list[str | Path], environ: Mapping[str, str]) -> None:
    outcome = run(argv, environ=environ, timeout=_INSTALL_TIMEOUT)
    if not outcome.ok:
        last = " / ".join(outcome.output.splitlines()[-5:])
        raise DaeError("platform/start-failed", f"the platform's copy could not be made: {last}", "see the lines above")


def _switch(home: Home, target: Installation) -> None:
    """Point ``current`` at the copy, and remove copies that nothing runs from."""
    before = current(home)
    if before is not None and before.root == target.root.resolve():
        return
    link = home.platform / "current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(target.root.name)
    os.replace(link, home.platform / "current")  # noqa: PTH105 - the atomic one, by its own name
    kept = {target.root.name, running_copy(home), before.root.name if before else ""}
    for entry in home.platform.iterdir():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in kept:
            shutil.rmtree(entry)


def running_copy(home: Home) -> str:
    """The name of the copy that supervisord was started from: it loads its modules from there as long as it lives."""
    try:
        return (home.agent_state / "supervisord.copy").read_text().strip()
    except FileNotFoundError:
        return ""
