"""``dae.lock``: the platform's own lock, committed by those who want it in their repository.

It is pip's requirements format with hashes, as :mod:`buildpacks.locks` spells it, below a head of comments: for which
Python it was made, and of which requirements. So it can be compared with both, and pip can install from it anywhere,
but for what comes from a git repository: pip knows no hash of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from packaging.requirements import Requirement

from buildpacks import locks
from buildpacks.direct import shown
from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock, check_covers, is_asked, outdated
from buildpacks.locks import Pins
from buildpacks.policy import Policy
from buildpacks.requirements import Line, parse
from core.errors import DaeError

FILE = "dae.lock"
COMMAND = "dae lock"
SIZE_CAP = 4 << 20  # bytes
#: The platform's own library. Each platform has its version, which a push locks beside the rest; no other index has it.
OWN = "dae"

_HEAD = f"# Written by '{COMMAND}', and enforced by every push. Of these requirements:\n"
_ASKED = re.compile(r"^#   (\S.*)$", re.MULTILINE)
_PYTHON = re.compile(r"^# For (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock of ours that a commit has, and what the commit requires now; a :class:`buildpacks.foreign.ForeignLock`."""

    text: str
    asked: tuple[str, ...]
    required: tuple[Line, ...]
    limits: tuple[Line, ...]
    policy: Policy
    filename: str = FILE
    python_from: str = FILE
    exact_python: str = ""
    folders: tuple[str, ...] = ()
    requires_python: str = ""

    def groups(self) -> tuple[str, ...]:
        """None: it holds what the app itself requires."""
        return ()

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter; there is no ``group``.

        Raises ``build/bad-lock``, ``build/lock-outdated`` and ``build/unsupported-requirement``.
        """
        if group:
            return Pins()
        then, now = _ASKED.findall(self.text), self.asked
        changes = [f"{line!a} was added" for line in now if line not in then]
        changes += [f"{line!a} was removed" for line in then if line not in now]
        if changes:
            raise outdated(FILE, "; ".join(changes)[:400], COMMAND)
        made = _PYTHON.search(self.text)
        if made is None or made[1] != _python(facts):
            was = made[1][:80] if made else "no Python that it names"
            raise outdated(FILE, f"it was made for {was}, and the app runs on {_python(facts)}", COMMAND)
        found = read(self.text)
        for name, pin in found.items():
            if pin.source is not None:
                self.policy.check_source(pin.source, f"{FILE}: {name}")
        self._check_held(found, facts.markers)
        return found

    def _check_held(self, found: Pins, markers: Mapping[str, str]) -> None:
        """Raises ``build/lock-outdated`` unless ``found`` is within what the requirements say, also of files."""
        required = [(line, one) for line, one in _parsed(self.required) if is_asked(one, FILE, markers)]
        limits = [one for line, one in _parsed(self.limits) if line.name in found]
        check_covers(FILE, COMMAND, [*(one for _line, one in required), *limits], found, markers)
        allowed = locks.allowed_hashes((*self.required, *self.limits))
        for name, pin in found.items():
            if more := set(pin.hashes) - allowed.get(name, set(pin.hashes)):
                what = f"it allows {min(more)[:19]}... of {name} {pin.version}, which the requirements do not name"
                raise outdated(FILE, what, COMMAND)
            asked = {line.source.address for line, _one in required if line.name == name and line.source} or {""}
            address = pin.source.address if pin.source else ""
            if address not in asked:
                raise outdated(
                    FILE, f"it takes {name} from {_from(address)}, and not from {_from(min(asked))}", COMMAND
                )


def load(text: str, requirements: str, constraints: str, options: Iterable[str], policy: Policy) -> LockFile:
    """The lock in ``text``, of a commit that requires this now (see :class:`buildpacks.manifests.Manifest`)."""
    asked = _asked(requirements, constraints, options)
    return LockFile(text, asked, parse(requirements, FILE), parse(constraints, FILE), policy)


def read(text: str) -> Pins:
    """What a lock of ours holds; raises ``build/bad-lock``."""
    node, found = Node(FILE, {}), Pins()
    try:
        releases = locks.releases(text)
    except DaeError as error:
        raise bad_lock(FILE, error.cause, f"git checkout {FILE}, or remove it and type: {COMMAND}") from None
    for release in releases:
        pin = node.pin(release.name, release.version, release.hashes)
        found[node.as_name(release.name)] = pin._replace(source=release.source)
    if len(found) < len(releases):
        raise bad_lock(FILE, "it names a package twice")
    return found


def render(lock: str, requirements: str, constraints: str, options: Iterable[str], facts: Facts) -> str:
    """The file that holds ``lock``, which was made of this for an interpreter with these ``facts``.

    OWN is in it only when the app itself requires it.
    """
    pins = without_own(read(lock), requirements)
    asked = "".join(f"#   {line}\n" for line in _asked(requirements, constraints, options))
    return f"{_HEAD}{asked}# For {_python(facts)}\n{locks.render(pins)}"


def without_own(pins: Pins, requirements: str) -> Pins:
    """The ``pins`` without OWN, unless the ``requirements`` name it."""
    if OWN in {line.name for line in parse(requirements, FILE)}:
        return pins
    return {name: pin for name, pin in pins.items() if name != OWN}


def _asked(requirements: str, constraints: str, options: Iterable[str]) -> tuple[str, ...]:
    """The requirements as they stand in the head, a line each, in one order."""
    limits = [f"-c {line}" for line in constraints.splitlines()]
    return tuple(sorted({*requirements.splitlines(), *limits, *options}))


def _parsed(lines: Iterable[Line]) -> Iterator[tuple[Line, Requirement]]:
    return ((line, Requirement(line.text)) for line in lines)


def _from(address: str) -> str:
    return shown(address) if address else "the index"


def _python(facts: Facts) -> str:
    """What versions and markers depend on. The patch level is not in it: that may change below an app."""
    names = ("implementation_name", "python_version", "sys_platform", "platform_machine")
    return " ".join(facts.markers.get(name, "") for name in names)
