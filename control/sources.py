"""What is required by its address: fetched by the platform, built into a wheel in a build's account, as any sdist is.

The platform fetches (``control.fetch``), since builds have no network; it runs nothing of what it gets. The wheel is
believed no more than that of a source distribution: its name and version are compared, and it is unpacked with care.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

import buildpacks
from buildpacks.deadline import Deadline
from buildpacks.direct import ARCHIVES, Source
from buildpacks.facts import facts_of
from buildpacks.interpreters import Interpreter
from buildpacks.job import Job
from buildpacks.locks import Pin, Pins, releases
from buildpacks.requirements import parse
from buildpacks.wheels import Choice, fits
from control import fetch, programs
from control.account import built_wheel
from control.context import Context
from control.output import Output
from core.errors import DaeError
from core.files import remove_tree

_MOST = 100  # of them in one app
_GRACE = 10  # seconds for the program to say itself what did not come in time


@dataclass(slots=True)
class Bringer:
    """Brings wheels for the build ``number``; they are gone when the block ends."""

    context: Context
    number: int
    output: Output
    job: Job
    interpreter: Interpreter
    deadline: Deadline
    _work: Path = field(init=False)
    _brought: dict[str, tuple[Pin, Path]] = field(init=False, default_factory=dict)

    def __enter__(self) -> Bringer:
        self._work = self.context.home.builds / f"{self.number}-sources"
        remove_tree(self._work)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        remove_tree(self._work)

    def wanted(self, job: Job) -> Pins:
        """What the job's requirements name by address, for the interpreter; raises ``build/bad-requirements``."""
        found = Pins()
        for line in parse(job.requirements, job.requirements_file):
            marker = Requirement(line.text).marker
            if line.source is None or (marker and not marker.evaluate(dict(facts_of(self.interpreter).markers))):
                continue
            pin = Pin("", line.hashes, line.source)
            if found.setdefault(line.name, pin) != pin:
                cause = f"{job.requirements_file} requires {line.name} from two addresses"
                raise DaeError("build/bad-requirements", cause, "keep one of them")
        return found

    def bring(self, wanted: Mapping[str, Pin]) -> Pins:
        """Have the wheels of what is ``wanted``; returns the same with versions and hashes.

        Raises ``build/bad-source`` for what is not what was wanted, ``build/source-unavailable``, and what building
        raises.
        """
        if not wanted:
            return {}
        if len(wanted) > _MOST:
            cause = f"more than {_MOST} packages are required by their addresses"
            raise DaeError("build/bad-requirements", cause, "upload their wheels to the internal index")
        sources = [pin.source for pin in wanted.values() if pin.source is not None]
        for number, (name, sha256) in enumerate(zip(wanted, self._fetch(sources), strict=True)):
            self._brought[name] = self._one(name, wanted[name], self._work / str(number), sha256)
        return {name: self._brought[name][0] for name in wanted}

    def built(self) -> dict[str, str]:
        """The wheels (paths) by the sha256 of what they were made of."""
        return {pin.hashes[0].removeprefix("sha256:"): str(wheel) for pin, wheel in self._brought.values()}

    def built_again(self, lock: str, missing: Sequence[Choice]) -> dict[str, str]:
        """The same for what a ``lock`` names whose package is not kept any more: what it names, or an error."""
        names = {choice.name for choice in missing} - set(self._brought)
        pins = {r.name: Pin(r.version, r.hashes, r.source) for r in releases(lock) if r.name in names}
        self.bring(pins)
        return self.built()

    def of_runtime(self) -> str:
        """Of what was brought the requirements, one in a line, that stand for something that every app gets."""
        names = {Requirement(text).name for text in buildpacks.RUNTIME} & set(self._brought)
        sources = {name: self._brought[name][0].source for name in sorted(names)}
        return "".join(f"{name} @ {source.address}\n" for name, source in sources.items() if source)

    def with_wheels(self, job: Job) -> tuple[Job, Path | None]:
        """The job with the wheels that were brought, and the folder with copies of them that it is run with."""
        if not self._brought:
            return job, None
        folder = self._work / "wheels"
        folder.mkdir(parents=True)
        for _pin, wheel in self._brought.values():
            shutil.copyfile(wheel, folder / wheel.name)
        return replace(job, wheels={name: wheel.name for name, (_pin, wheel) in self._brought.items()}), folder

    def _fetch(self, sources: Sequence[Source]) -> list[str]:
        settings = self.context.settings
        seconds = min(settings.source_timeout, max(1, int(self.deadline.left())))
        order = fetch.Order(
            home=str(self.context.home.root),
            sources=tuple(sources),
            entries=settings.build_sources,
            seconds=seconds,
            max_bytes=settings.source_bytes,
            max_files=settings.tree_files,
        )
        remove_tree(self._work)
        self._work.mkdir(mode=0o700)
        try:
            result = programs.run("control.fetch", self._work, order.to_json(), seconds + _GRACE, self.output)
        except TimeoutError as error:
            cause = f"what is required by its address did not come within {seconds} s"
            raise DaeError("build/source-unavailable", cause, "push again, or ask for more (source_timeout)") from error
        return [str(sha256) for sha256 in result["sha256"]]

    def _one(self, name: str, pin: Pin, place: Path, sha256: str) -> tuple[Pin, Path]:
        """The wheel of one, and what it is; ``sha256``: of what was fetched to the folder ``place``."""
        source = pin.source
        if source is None:
            raise ValueError(name)
        address = source.address
        if pin.hashes and pin.hashes != (f"sha256:{sha256}",):
            hint = "what is there was changed: write the hash of what you want behind the address: #sha256=..."
            raise DaeError("build/bad-source", f"{address} has the sha256 {sha256}, and not the one it must have", hint)
        wheel = place / source.filename if source.is_wheel else self._built(source, place)
        try:
            found, version = parse_wheel_filename(wheel.name)[:2]
            fitting = fits(wheel.name, facts_of(self.interpreter).tags)
        except InvalidWheelFilename:
            raise DaeError("build/bad-source", f"{address} is not called as a wheel is", "correct its name") from None
        if found != canonicalize_name(name) or (pin.version and str(version) != pin.version):
            what = f"{name} {pin.version}".strip()
            raise DaeError("build/bad-source", f"{address} is {found} {version}, and not {what}", "correct the name")
        if not fitting:
            raise DaeError("build/bad-source", f"{address} is not for this Python and machine", "require another wheel")
        self.output.detail(f"{name} {version}, sha256 {sha256[:12]}")
        return Pin(str(version), (f"sha256:{sha256}",), source), wheel

    def _built(self, source: Source, place: Path) -> Path:
        """The wheel of a source distribution or of a commit's files."""
        code = place / fetch.TREE
        given = source.subdirectory or "."
        if not source.is_git:
            given = "source" + next(ending for ending in ARCHIVES if source.filename.endswith(ending))
            code.mkdir()
            (place / source.filename).rename(code / given)
        seconds = max(1, int(self.deadline.left()))
        job = replace(self.job, requirements="", constraints="", options=(), given=given, timeout=seconds)
        return built_wheel(self.context, self.number, self.output, job, place / "wheel", code)
