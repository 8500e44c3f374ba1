"""The policy's text (TOML) -> Policy (pure). What is not understood is an error that says where: nothing is guessed."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from core.errors import DaeError
from pypi_mirror.model import normalize
from pypi_mirror.policy import ACTIONS, DEFAULT, KINDS, MODES, Policy, Rule, View

TEXT_BYTES = 1 << 20
RULES = 2000
VIEWS = 16
DAY = 86400.0
# A part of an address and of a path. "default" is the view without a name.
VIEW_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}\Z")
_PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,128}\Z")
VIEW_KEYS = {
    "private", "cooldown_days", "cooldown_exempt", "quarantine", "vulnerabilities", "ignore_vulnerabilities", "rule",
}  # fmt: skip
RULE_KEYS = {"action", "name", "version", "license", "kind", "platform", "larger_than", "reason"}


def parse(text: str) -> Policy:
    """Read a policy; an empty text allows everything. Raises ``mirror/bad-policy``."""
    if len(text) > TEXT_BYTES:
        raise _bad("the policy", f"is longer than {TEXT_BYTES} letters")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise _bad("the policy", f"is not TOML: {error}") from None
    views = data.pop("view", {})
    if not isinstance(views, dict) or len(views) > VIEWS:
        raise _bad("view", f"is not a table of at most {VIEWS} views")
    default = _view(DEFAULT, data, View(), "")
    found = {DEFAULT: default}
    for name, fields in views.items():
        if not VIEW_NAME.match(name) or name == DEFAULT or not isinstance(fields, dict):
            raise _bad(f"view.{name[:40]!a}", "cannot be a view: a lower case word, and a table")
        found[name] = _view(name, fields, default, f"view.{name}.")
    return Policy(found)


def _view(name: str, fields: Mapping[str, Any], base: View, where: str) -> View:
    """A view of what ``fields`` say; for the rest it is as ``base``, whose rules come after its own."""
    if unknown := set(fields) - VIEW_KEYS:
        raise _bad(f"{where}{min(unknown)[:40]}", f"is not known; known are {', '.join(sorted(VIEW_KEYS))}")
    view = replace(base, name=name)
    if "private" in fields:
        view = replace(view, private=_names(fields["private"], where + "private"))
    if "cooldown_exempt" in fields:
        view = replace(view, cooldown_exempt=_names(fields["cooldown_exempt"], where + "cooldown_exempt"))
    if "quarantine" in fields:
        view = replace(view, quarantine=_names(fields["quarantine"], where + "quarantine"))
    if "cooldown_days" in fields:
        view = replace(view, cooldown=_days(fields["cooldown_days"], where + "cooldown_days"))
    if "vulnerabilities" in fields:
        view = replace(view, vulnerabilities=_word(fields["vulnerabilities"], MODES, where + "vulnerabilities"))
    if "ignore_vulnerabilities" in fields:
        view = replace(view, ignored=_texts(fields["ignore_vulnerabilities"], where + "ignore_vulnerabilities"))
    rules = fields.get("rule", [])
    if not isinstance(rules, list) or len(rules) > RULES or not all(isinstance(rule, dict) for rule in rules):
        raise _bad(f"{where}rule", f"is not a list of at most {RULES} tables: write [[{where}rule]]")
    own = tuple(_rule(rule, f"{where}rule {number}") for number, rule in enumerate(rules, start=1))
    return replace(view, rules=(*own, *base.rules))


def _rule(fields: Mapping[str, Any], where: str) -> Rule:
    if unknown := set(fields) - RULE_KEYS:
        raise _bad(where, f"has a key {min(unknown)[:40]!a}; known are {', '.join(sorted(RULE_KEYS))}")
    action = _word(fields.get("action"), ACTIONS, f"{where}: action")
    larger, reason = fields.get("larger_than"), fields.get("reason", "")
    if larger is not None and (not isinstance(larger, int) or isinstance(larger, bool) or larger < 0):
        raise _bad(f"{where}: larger_than", "is not a number of bytes")
    if not isinstance(reason, str) or len(reason) > 500:
        raise _bad(f"{where}: reason", "is not a short text")
    return Rule(
        label=where,
        allow=action == "allow",
        names=_names(_some(fields["name"], f"{where}: name"), f"{where}: name") if "name" in fields else (),
        versions=_versions(fields["version"], f"{where}: version") if "version" in fields else None,
        licenses=_some(fields["license"], f"{where}: license") if "license" in fields else (),
        kinds=tuple(_word(kind, KINDS, f"{where}: kind") for kind in _some(fields["kind"], f"{where}: kind"))
        if "kind" in fields
        else (),
        platforms=_some(fields["platform"], f"{where}: platform") if "platform" in fields else (),
        larger_than=larger,
        reason=" ".join("".join(letter if letter.isprintable() else " " for letter in reason).split()),
    )


def _names(value: Any, where: str) -> tuple[str, ...]:
    """Patterns of names, in the spelling of addresses: ``Foo_Bar*`` is ``foo-bar*``."""
    found = _texts(value, where)
    for text in found:
        if not _PATTERN.match(text):
            raise _bad(where, f"{text[:40]!a} is no name: letters, digits, '.', '-', '_', and '*' or '?' for any")
    return tuple(normalize(text) for text in found)


def _some(value: Any, where: str) -> tuple[str, ...]:
    """Texts, and at least one: an empty list would be a condition that holds for everything."""
    found = _texts(value, where)
    if not found:
        raise _bad(where, "is empty: leave it out if it does not matter")
    return found


def _texts(value: Any, where: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) and 0 < len(one) <= 200 for one in found):
        raise _bad(where, "is neither a text nor a list of texts")
    return tuple(found)


def _word(value: Any, words: tuple[str, ...], where: str) -> str:
    if not isinstance(value, str) or value not in words:
        raise _bad(where, f"is none of {', '.join(words)}")
    return value


def _days(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 36500:
        raise _bad(where, "is not a number of days")
    return float(value) * DAY


def _versions(value: Any, where: str) -> SpecifierSet:
    try:
        if isinstance(value, str) and value.strip() and len(value) <= 500:
            return SpecifierSet(value)
    except (InvalidSpecifier, ValueError):
        pass
    raise _bad(where, "is no version specifier (PEP 440), such as '<2' or '==1.4.*'")


def _bad(where: str, what: str) -> DaeError:
    hint = "mend it; see docs/mirror-policy.md, and: dae mirror policy check"
    return DaeError("mirror/bad-policy", f"{where} {what}", hint)
