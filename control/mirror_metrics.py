"""The mirror's state as metrics (Prometheus' text format 0.0.4): pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


def exposition(state: Mapping[str, Any]) -> str:
    """What :func:`control.mirror_care.status` tells, for a scraper."""
    health = [
        ({"index": each["index"], "of": of}, each[of]) for each in state["upstreams"] for of in ("pages", "files")
    ]
    by_origin = ("upstream", ""), ("private", "private_")
    requests = [(kind, result) for kind in ("page", "file") for result in ("hit", "miss")]
    ends = {"hit": "hits", "miss": "misses"}
    families: Iterable[tuple[str, str, str, list[Sample]]] = (
        (
            "requests_total", "counter", "Pages and files that were served; a hit nginx served by itself.",
            [({"kind": kind, "result": result}, state[f"{kind}_{ends[result]}"]) for kind, result in requests],
        ),
        ("saved_bytes_total", "counter", "Bytes of files that nginx served by itself.", [({}, state["bytes_saved"])]),
        ("passed_bytes_total", "counter", "Bytes of files that the mirror sent.", [({}, state["bytes_passed"])]),
        ("uploads_total", "counter", "Files that were uploaded.", [({}, state["uploads"])]),
        ("refusals_total", "counter", "Requests that the policy refused.", [({}, state["refused"])]),
        (
            "projects", "gauge", "Projects that are here.",
            [
                ({"origin": "upstream"}, state["projects"] - state["private_projects"]),
                ({"origin": "private"}, state["private_projects"]),
            ],
        ),
        ("files", "gauge", "Files here.", [({"origin": name}, state[f"{key}files"]) for name, key in by_origin]),
        ("bytes", "gauge", "Bytes of them.", [({"origin": name}, state[f"{key}bytes"]) for name, key in by_origin]),
        ("pinned_bytes", "gauge", "Bytes of upstream that locks keep.", [({}, state["pinned_bytes"])]),
        ("hidden_files", "gauge", "Files that the default view hides.", [({}, state["held_files"])]),
        ("limit_bytes", "gauge", "What files of upstream may take; 0: any.", [({}, state["limit"])]),
        ("up", "gauge", "Whether the mirror answers.", [({}, bool(state["upstreams"]))]),
        ("policy_in_force", "gauge", "Whether a policy can be read.", _known(state["policy"]["in_force"])),
        (
            "upstream_up", "gauge", "Whether the last that was heard of an upstream was no failure.",
            [(labels, one["state"] == "answers") for labels, one in health],
        ),
        (
            "upstream_left_alone", "gauge", "Whether an upstream failed so often that it is hardly asked.",
            [(labels, one["state"] == "left alone") for labels, one in health],
        ),
        (
            "upstream_last_success_timestamp_seconds", "gauge", "When an upstream last answered.",
            [(labels, one["last_success"]) for labels, one in health if one["last_success"] is not None],
        ),
        (
            "upstream_last_failure_timestamp_seconds", "gauge", "When an upstream last failed.",
            [(labels, one["last_failure"]) for labels, one in health if one["last_failure"] is not None],
        ),
    )  # fmt: skip
    return "".join(_family(f"dae_mirror_{name}", kind, words, samples) for name, kind, words, samples in families)


def _known(value: bool | None) -> list[Sample]:
    """No sample of what nobody can tell just now: it is neither so, nor not so."""
    return [] if value is None else [({}, value)]


def _family(name: str, kind: str, words: str, samples: Iterable[Sample]) -> str:
    lines = "".join(f"{name}{_labels(labels)} {float(value):.17g}\n" for labels, value in samples)
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n{lines}" if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
