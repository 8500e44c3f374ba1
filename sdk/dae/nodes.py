"""The YAML of app.yaml as a tree of nodes, and plain values of it. Every complaint names its line.

The YAML (1.1, PyYAML) is never turned into objects: a key that stands twice is seen, and nothing is resolved silently.
Aliases are refused, because a few bytes of them can mean gigabytes.
"""

from __future__ import annotations

import difflib
import re
import warnings
from typing import Any

TEXT_CAP = 512  # characters of one value; regular expressions, paths and names are never longer in good faith
ITEMS_CAP = 200  # of one list
DEPTH_CAP = 8

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class GrammarError(Exception):
    """A file does not follow its grammar: a stable code, the cause with its line, and what to change."""

    def __init__(self, code: str, cause: str, hint: str = "") -> None:
        self.code = code
        self.cause = cause
        self.hint = hint
        super().__init__(f"{code}: {cause}")


def wrong(cause: str, hint: str = "", line: int = 0) -> GrammarError:
    """The error of an app.yaml, with the line where it is known."""
    where = f"app.yaml line {line}: " if line else "app.yaml: "
    return GrammarError("build/bad-app-yaml", where + cause, hint)


def line_of(node: Any) -> int:
    """The line, from 1, that a node begins on."""
    return int(node.start_mark.line) + 1


# --- from text to nodes


def compose(text: str) -> Any:
    """The node of the whole text, None when it has none; raises :class:`GrammarError`."""
    import yaml  # late: only those who read an app.yaml need it

    class Loader(yaml.SafeLoader):
        """SafeLoader's grammar up to its nodes, without anchors and aliases, and not deeper than we need."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise wrong("anchors and aliases (& and *) are not accepted", "write the value out", line_of(event))
            if self.depth >= DEPTH_CAP:
                raise wrong("lists and mappings are nested too deeply", "see the example in the docs", line_of(event))
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    loader: Any = None
    try:
        loader = Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from None
    except yaml.YAMLError as error:
        raise wrong(" ".join(str(error).split())[:200], "write it as UTF-8 text") from None
    except (ValueError, OverflowError) as error:  # PyYAML lets chr() of a bad escape through
        raise wrong(f"a value cannot be read: {error}", "put the value in single quotes") from None
    finally:
        if loader is not None:
            loader.dispose()


def _marked(error: Any) -> GrammarError:
    mark = error.problem_mark or error.context_mark
    cause = ", ".join(part for part in (error.context, error.problem) if part) or "it is not YAML"
    return wrong(cause, "check the indentation and the colons of that line", mark.line + 1 if mark else 0)


# --- from nodes to plain values


def mapping(node: Any, known: tuple[str, ...], what: str) -> dict[str, Any]:
    """The items of a mapping node, by key; keys that stand twice or are not ``known`` are refused."""
    if node.id != "mapping":
        raise wrong(f"{what} must be 'key: value' lines", f"known keys: {', '.join(known)}", line_of(node))
    lines: dict[str, int] = {}
    items: dict[str, Any] = {}
    for key_node, value in node.value:
        key = scalar(key_node, "a key")
        if key in lines:
            cause = f"the key {show(key)} stands twice, on line {lines[key]} and on line {line_of(key_node)}"
            raise wrong(cause, "join the two into one", line_of(key_node))
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise wrong(f"unknown key {show(key)} in {what}", hint, line_of(key_node))
        lines[key], items[key] = line_of(key_node), value
    return items


def show(text: str) -> str:
    """Part of a hostile text, for people."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def scalar(node: Any, what: str) -> str:
    """A single value as it is written: ``version: 1.10`` means the text 1.10."""
    if node.id != "scalar" or not node.tag.startswith("tag:yaml.org,2002:") or node.tag.endswith(":binary"):
        raise wrong(f"{what} must be a single value", "write it as text on one line", line_of(node))
    text = str(node.value)
    if not text:
        raise wrong(f"{what} is empty", "give it a value or remove the line", line_of(node))
    if len(text) > TEXT_CAP:
        raise wrong(f"{what} is longer than {TEXT_CAP} characters", "shorten it", line_of(node))
    if CONTROL.search(text) or not text.isprintable():
        raise wrong(f"{what} holds control characters", "remove them", line_of(node))
    return text


def number(node: Any, what: str, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``."""
    text = scalar(node, what)
    if not re.match(r"[0-9]{1,6}\Z", text, re.ASCII) or not low <= int(text) <= high:
        raise wrong(f"{what} is {show(text)}", f"use a whole number from {low} to {high}", line_of(node))
    return int(text)


def sequence(node: Any, what: str) -> list[Any]:
    """The nodes of a list."""
    if node.id != "sequence":
        raise wrong(f"{what} must be a list", "begin each of its items with '- '", line_of(node))
    if len(node.value) > ITEMS_CAP:
        raise wrong(f"{what} has more than {ITEMS_CAP} items", "use fewer, wider ones", line_of(node))
    return list(node.value)


def switch(node: Any, what: str) -> bool:
    """``on`` or ``off``, in any of YAML's spellings."""
    text = scalar(node, what).lower()
    if text not in ("on", "off", "true", "false", "yes", "no"):
        raise wrong(f"{what} is {show(text)}", "write 'on' or 'off'", line_of(node))
    return text in ("on", "true", "yes")


def regex(node: Any, what: str) -> re.Pattern[str]:
    """A regular expression that Python accepts."""
    text = scalar(node, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        cause = f"{what} is not a regular expression Python accepts: {error}"
        raise wrong(cause, "put a backslash before characters that are meant literally", line_of(node)) from None
