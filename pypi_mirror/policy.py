"""What may come from upstream, and who may see it: a policy as data, and its verdict on one file (pure).

The text that it is read from is explained in ``docs/mirror-policy.md``; ``policy_text.py`` reads it.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from packaging.specifiers import SpecifierSet
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from pypi_mirror.model import File, sdist_stem, version_of
from pypi_mirror.osv import Advisories, Hit

#: The view of the index that all see who do not ask for another one.
DEFAULT = "default"
KINDS = ("wheel", "sdist", "other")
ACTIONS = ("allow", "deny")
MODES = ("block", "warn", "ignore")
UNKNOWN = "unknown"  # as a license: the file says none, or it is not here to be asked
#: Versions that a person approved, by project; ``*`` is all of them.
Approvals = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of the table: what it is about, and whether that may come. The first rule that matches decides.

    Empty conditions hold for everything. ``larger_than`` is in bytes.
    """

    label: str
    allow: bool
    names: tuple[str, ...] = ()
    versions: SpecifierSet | None = None
    licenses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    larger_than: int | None = None
    reason: str = ""

    def matches(self, asked: Asked) -> bool:
        return (
            (not self.names or matches(self.names, asked.name))
            and self._version(asked.version)
            and (not self.licenses or any(_matches(self.licenses, text) for text in asked.licenses or (UNKNOWN,)))
            and (not self.kinds or asked.kind in self.kinds)
            and (not self.platforms or any(_matches(self.platforms, text) for text in asked.platforms))
            and (self.larger_than is None or (asked.file.size or 0) > self.larger_than)
        )

    def _version(self, version: Version | None) -> bool:
        if self.versions is None:
            return True
        if version is None:
            return not self.allow  # who hides behind a name without a version is not let in by it
        return self.versions.contains(version, prereleases=True)


@dataclass(frozen=True, slots=True)
class View:
    """What holds for those who ask for the index under one name. Times are seconds."""

    name: str = DEFAULT
    rules: tuple[Rule, ...] = ()
    private: tuple[str, ...] = ()
    cooldown: float = 0.0
    cooldown_exempt: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    vulnerabilities: str = "block"
    ignored: tuple[str, ...] = ()

    @property
    def asks_content(self) -> bool:
        """Whether a verdict may change once the file itself is here, with its license and size."""
        return any(rule.licenses or rule.larger_than is not None for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Policy:
    """The views by name; ``default`` is always among them."""

    views: Mapping[str, View] = field(default_factory=lambda: {DEFAULT: View()})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verdict is asked about. ``licenses``: what the file says of its license; None when that is not known."""

    name: str
    file: File
    licenses: tuple[str, ...] | None = None

    @property
    def version(self) -> Version | None:
        return _version(self.file.filename, self.name)

    @property
    def kind(self) -> str:
        if self.file.is_wheel:
            return "wheel"
        return "other" if sdist_stem(self.file.filename) is None else "sdist"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags of a wheel; none of anything else."""
        if not self.file.is_wheel or version_of(self.file.filename) is None:
            return ()
        return tuple(sorted({tag.platform for tag in parse_wheel_filename(self.file.filename)[3]}))


@dataclass(frozen=True, slots=True)
class Verdict:
    """``rule`` and ``reason`` say why a file may not come; both are empty when it may. ``warnings`` hold either way.

    ``until``: when the verdict changes by itself (seconds since 1970). ``advice``: what a person can do about it.
    """

    rule: str = ""
    reason: str = ""
    advice: str = ""
    until: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return bool(self.rule)


_ASK = "take another version, or ask whoever runs the index to change its policy"


def judge(view: View, asked: Asked, now: float, approvals: Approvals, advisories: Advisories) -> Verdict:
    """The verdict on a file of upstream. Private files are not judged: who may publish them is asked elsewhere."""
    if matches(view.private, asked.name):
        reason = f"{asked.name} is a private name, which never comes from upstream"
        return Verdict("private", reason, "publish it to this index, or require another name")
    rule = next((rule for rule in view.rules if rule.matches(asked)), None)
    if rule is not None and not rule.allow:
        return Verdict(rule.label, rule.reason or "it is denied by name, version or kind", _ASK)
    waiting = _cooldown(view, asked, now)
    if waiting is not None:
        return waiting
    if matches(view.quarantine, asked.name) and not _approved(asked, approvals):
        version = asked.version if asked.version is not None else "VERSION"
        advice = f"an administrator looks at it and types: dae mirror policy approve {asked.name} {version}"
        return Verdict("quarantine", "it waits for approval", advice)
    return _vulnerable(view, asked, advisories)


def _cooldown(view: View, asked: Asked, now: float) -> Verdict | None:
    if not view.cooldown or matches(view.cooldown_exempt, asked.name):
        return None
    uploaded = seconds(asked.file.upload_time)
    if uploaded is None:
        return Verdict("cooldown", "upstream does not say when it was uploaded", _ASK)
    until = uploaded + view.cooldown
    if until <= now:
        return None
    reason = f"it was uploaded at {_shown(uploaded)}, and new releases wait until {_shown(until)}"
    return Verdict("cooldown", reason, "take an older version, or wait; an administrator can exempt it", until)


def _vulnerable(view: View, asked: Asked, advisories: Advisories) -> Verdict:
    if view.vulnerabilities == "ignore":
        return Verdict()
    if asked.version is None:
        return _unnamed(asked.name, advisories, view)
    found = known_of(view, asked.name, asked.version, advisories)
    if not found:
        return Verdict()
    words = tuple(hit.words() for hit in found)
    if view.vulnerabilities == "warn":
        return Verdict(warnings=words)
    fixed = [hit.fixed for hit in found if hit.fixed]
    advice = f"take {asked.name}>={max(fixed, key=Version)}" if len(fixed) == len(found) else _ASK
    return Verdict("vulnerability", "; ".join(words[:5]), advice)


def known_of(view: View, name: str, version: Version, advisories: Advisories) -> list[Hit]:
    """The vulnerabilities of a version that count in that view, whether they are blocked or warned of."""
    if view.vulnerabilities == "ignore":
        return []
    return [hit for hit in advisories.affecting(name, version) if not hit.advisory.names & set(view.ignored)]


def _unnamed(name: str, advisories: Advisories, view: View) -> Verdict:
    """Of a file whose name says no version: it may be any of them, so it is none that is let in."""
    known = [one for one in advisories.of_project(name) if not one.names & set(view.ignored)]
    if not known or view.vulnerabilities == "warn":
        return Verdict()
    names = ", ".join(one.id for one in known[:5])
    return Verdict("vulnerability", f"its name says no version, and some have known vulnerabilities: {names}", _ASK)


def _approved(asked: Asked, approvals: Approvals) -> bool:
    versions = approvals.get(asked.name, frozenset())
    return "*" in versions or str(asked.version) in versions


@functools.lru_cache(maxsize=16)  # a file's verdict asks for it several times
def _version(filename: str, name: str) -> Version | None:
    found = version_of(filename, name)
    return None if found is None else Version(found)


def matches(patterns: Sequence[str], name: str) -> bool:
    """Whether a normalised name is one of the patterns (``*``, ``?``)."""
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _matches(patterns: Sequence[str], text: str) -> bool:
    return matches([pattern.lower() for pattern in patterns], text.lower())


def seconds(upload_time: str | None) -> float | None:
    """PEP 700's upload-time as seconds since 1970; None for none, and for a time that no calendar has."""
    if not upload_time:
        return None
    try:
        return datetime.fromisoformat(upload_time).timestamp()
    except (ValueError, OverflowError):
        return None


def _shown(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return "the end of time"
