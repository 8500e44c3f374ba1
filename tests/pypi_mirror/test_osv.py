"""Documents of the OSV schema: which versions they speak of, and texts that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from core.errors import DaeError
from pypi_mirror import osv
from pypi_mirror.osv import Advisories, Advisory, Span

OSV_WORDS = """id affected package ecosystem name ranges type events introduced fixed last_affected versions withdrawn
aliases summary limit"""
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["1.0", "0"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(OSV_WORDS.split()),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
EVENTS = st.lists(
    st.dictionaries(
        st.sampled_from(["introduced", "fixed", "last_affected", "limit"]),
        st.sampled_from(["0", "1.0", "1.0rc1", "2!3", "x", "", "9" * 5000]),
        max_size=2,
    ),
    max_size=6,
)
DOCUMENTS = st.one_of(
    JSON,
    EVENTS.map(
        lambda events: {
            "id": "X",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "a"},
                    "ranges": [{"type": "ECOSYSTEM", "events": events}],
                }
            ],
        }
    ),
)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
def test_any_document(document: object) -> None:
    """Whatever an OSV document holds, there are advisories that can be asked, or a clean error."""
    try:
        found = osv.Advisories.of(osv.parse(json.dumps(document).encode(), "a.json"))
    except DaeError as error:
        assert error.code == "mirror/bad-policy"
    else:
        for hit in found.affecting("a", Version("1.0")):
            assert "\n" not in hit.words()


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"[" * 100_000, b'{"id": 1}', b'{"id": "  "}', b"[1]"])
def test_documents_that_are_none(body: bytes) -> None:
    """What is no OSV document is an error that names the file."""
    with pytest.raises(DaeError) as caught:
        osv.parse(body, "a.json")
    assert "a.json" in caught.value.cause


FIXED = [{"introduced": "0"}, {"fixed": "1.0"}]
LAST = [{"introduced": "0"}, {"last_affected": "1.0"}]
FROM = [{"introduced": "1.0"}, {"fixed": "2.0"}]
TWICE = [{"fixed": "1.2"}, {"introduced": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.1"}]
RANGES: list[tuple[list[dict[str, str]], str, bool]] = [
    ([{"introduced": "0"}], "9.0", True),
    ([{"introduced": "0"}], "0.dev0", True),
    ([], "1.0", False),
    (FIXED, "1.0", False),
    (FIXED, "0.9.post1", True),
    (FIXED, "1.0rc1", True),  # before 1.0, which mends it
    (FIXED, "1.0.dev1", True),
    (FIXED, "1.0.post1", False),
    (FIXED, "1.0+cpu", False),  # a build of what mends it
    (FIXED, "0.9+cpu", True),
    (FIXED, "1!0.5", False),  # an epoch is above all versions without one
    ([{"introduced": "1!0"}], "99", False),
    ([{"introduced": "1!0"}], "1!0.1", True),
    ([{"introduced": "0"}, {"fixed": "1.0+safe"}], "1.0", True),
    ([{"introduced": "0"}, {"fixed": "1.0+safe"}], "1.0+safe", False),
    ([{"introduced": "0"}, {"fixed": "1.0+safe.2"}], "1.0+safe.1", True),
    (FROM, "1.0", True),
    (FROM, "1.0rc1", False),
    (FROM, "1.0+cpu", True),
    (FROM, "1.0.0", True),  # one version, spelt otherwise
    (FROM, "2.0b1", True),
    (LAST, "1.0", True),
    (LAST, "1.0.post1", False),
    (LAST, "1.0+cpu", True),  # a build of the last that has it
    (LAST, "1.0rc1", True),
    ([{"introduced": "1.0"}, {"last_affected": "1.0"}], "1.0", True),
    ([{"introduced": "1.0"}, {"last_affected": "1.5"}], "1.5.1", False),
    (TWICE, "1.1", True),
    (TWICE, "1.9", False),
    (TWICE, "2.0.5", True),
    (TWICE, "2.1", False),
    ([{"introduced": "1.0"}, {"limit": "3"}], "2", True),
    ([{"introduced": "1.0"}, {"limit": "3"}], "4", False),
    ([{"introduced": "1.0"}, {"limit": "3"}, {"limit": "5"}], "4", True),
    ([{"introduced": "1.0"}, {"limit": "*"}], "4", True),
]


def advisories(ranges: list[dict[str, Any]], versions: list[str], ecosystem: str = "PyPI", **fields: Any) -> bytes:
    entry = {"package": {"ecosystem": ecosystem, "name": "a"}, "ranges": ranges, "versions": versions}
    return json.dumps({"id": "X", "affected": [entry], **fields}).encode()


def affected(text: bytes, version: str) -> bool:
    return bool(osv.Advisories.of(osv.parse(text, "a.json")).affecting("a", Version(version)))


@pytest.mark.parametrize(("events", "version", "hit"), RANGES)
def test_ranges(events: list[dict[str, str]], version: str, hit: bool) -> None:
    """Events mean what the OSV schema says, in whichever order they stand, of versions in PEP 440's order."""
    ranges = [{"type": "ECOSYSTEM", "events": events}]
    assert affected(advisories(ranges, []), version) is hit
    assert affected(advisories([{"type": "ECOSYSTEM", "events": events[::-1]}], []), version) is hit
    assert not affected(advisories(ranges, [], withdrawn="2020-01-01T00:00:00Z"), version)
    assert not affected(advisories(ranges, [], ecosystem="npm"), version)
    assert affected(advisories(ranges, [], ecosystem="PyPI:of somebody"), version) is hit


@pytest.mark.parametrize(
    ("version", "hit"),
    [("1.0", True), ("1.0.0", True), ("1.0+cpu", True), ("1.0rc1", False), ("1.0.post1", False), ("1!1.0", False),
     ("2.0+cpu", True), ("2.0", False), ("2.0+gpu", False), ("3.0rc1", True), ("3.0", False)],
)  # fmt: skip
def test_lists_of_versions(version: str, hit: bool) -> None:
    """A listed version counts in every spelling, and its builds with it; a listed build says nothing of others."""
    text = advisories([{"type": "GIT", "events": [{"introduced": "0"}]}], ["1.0", "2.0+cpu", "3.0-rc.1", "of 2004"])
    assert affected(text, version) is hit


def test_the_version_that_mends_it() -> None:
    """It is one that has the hole no more: not the end of one range inside another."""
    ranges = [
        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]},
        {"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "2.0"}]},
        {"type": "ECOSYSTEM", "events": [{"introduced": "3.0"}, {"fixed": "3.1"}]},
    ]
    known = osv.Advisories.of(osv.parse(advisories(ranges, []), "a.json"))
    fixed = {text: known.affecting("a", Version(text))[0].fixed for text in ("0.5", "1.7", "3.0")}
    assert fixed == {"0.5": "2.0", "1.7": "2.0", "3.0": "3.1"}


VERSIONS = st.sampled_from(["0.5", "1.0.dev1", "1.0rc1", "1.0", "1.0.post1", "1.1", "2.0", "1!0.1"])
CHANGES = st.lists(st.tuples(st.sampled_from(["introduced", "fixed", "last_affected"]), VERSIONS), max_size=6)


@settings(max_examples=300, deadline=None)
@given(CHANGES.filter(lambda changes: len({version for _, version in changes}) == len(changes)), VERSIONS)
def test_the_algorithm_of_the_schema(changes: list[tuple[str, str]], text: str) -> None:
    """A version is in a range exactly when the last event in the order of versions that speaks of it lets it be."""
    version, inside = Version(text), False
    for kind, bound in sorted(((kind, Version(of)) for kind, of in changes), key=lambda change: change[1]):
        if kind == "introduced" and version >= bound:
            inside = True
        if (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            inside = False
    ranges = [{"type": "ECOSYSTEM", "events": [{kind: bound} for kind, bound in changes]}]
    assert affected(advisories(ranges, []), text) is inside


def test_a_version_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files it has, and however its number is spelt; another one, and another project, anew."""
    monkeypatch.setattr(osv, "REMEMBERED", 2)
    asked: list[str] = []
    affects = Advisory.affects

    def counted(self: Advisory, version: Version) -> bool:
        asked.append(str(version))
        return affects(self, version)

    monkeypatch.setattr(Advisory, "affects", counted)
    known = Advisories.of([("holey", Advisory("A", spans=(Span(last=Version("1.5")),)))])
    for text in ("1.0", "1.0", "1.0.0", "2.0", "1.0", "2.0", "3.0", "1.0"):
        assert [hit.advisory.id for hit in known.affecting("holey", Version(text))] == ["A"] * (text < "1.5")
        assert known.affecting("whole", Version(text)) == ()
    assert asked == ["1.0", "2.0", "3.0", "1.0"]
