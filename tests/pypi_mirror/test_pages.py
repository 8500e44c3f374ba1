"""The pure parts: names, pages, parsers, the choice of a format, metadata in hostile archives."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DaeError
from pypi_mirror import metadata, model, pages, ranges, record
from pypi_mirror.parse import parse_html, parse_json
from tests.pypi_mirror.upstream_model import build_wheel

BASE = "http://127.0.0.1/pypi/simple/thing/"
FILE_NAMES = st.from_regex(r"thing-[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\+[a-z]{1,3})?\.tar\.gz", fullmatch=True)
FILES = st.builds(
    model.File,
    filename=FILE_NAMES,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size=st.integers(0, 1 << 40),
    requires_python=st.none() | st.text(min_size=1).filter(lambda text: "\r" not in text),
    upload_time=st.none() | st.just("2024-01-02T03:04:05.678901Z"),
    yanked=st.booleans() | st.text(min_size=1).filter(lambda text: "\r" not in text),
)
PROJECTS = st.lists(FILES, unique_by=lambda file: file.filename, min_size=1).map(
    lambda files: model.Project("thing", tuple(files), model.versions_of(files))
)


def without_urls(project: model.Project) -> list[tuple[object, ...]]:
    return [(f.filename, f.sha256, f.size, f.requires_python, f.upload_time, f.yanked) for f in project.files]


@settings(deadline=None, max_examples=80)
@given(PROJECTS)
def test_json_round_trip(project: model.Project) -> None:
    """What the JSON page says, the JSON parser reads back; addresses resolve to /pypi/files/."""
    again = parse_json(pages.render(project, {})[pages.Format.JSON], "thing", BASE)
    assert without_urls(again) == without_urls(project)
    assert again.versions == project.versions
    assert all(file.url.startswith("http://127.0.0.1/pypi/files/") for file in again.files)


@settings(deadline=None, max_examples=80)
@given(PROJECTS)
def test_html_round_trip(project: model.Project) -> None:
    """No words of upstream break out of the HTML page: the parser reads back what went in, and as many links."""
    again = parse_html(pages.render(project, {})[pages.Format.HTML], "thing", BASE)
    assert [f.filename for f in again.files] == [f.filename for f in project.files]
    for old, new in zip(project.files, again.files, strict=True):
        if "\0" not in str(old.requires_python) + str(old.yanked) and str(old.requires_python).isascii():
            assert (new.sha256, new.requires_python) == (old.sha256, old.requires_python)
        assert (new.yanked is False) == (old.yanked is False)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


FIELDS = (
    "filename", "url", "hashes", "size", "upload-time", "requires-python", "yanked", "core-metadata",
    "dist-info-metadata", "provenance", "gpg-sig",
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON_VALUES)))
def test_odd_entries_are_left_out(entry: dict[str, Any]) -> None:
    """An entry of any shape is read or left out; it never spoils its page, and what is read can be rendered."""
    body = {
        "meta": {"api-version": "1.1"},
        "name": "Thing",
        "files": [entry, {**entry, "hashes": {"sha256": "a" * 64}}],
    }
    project = parse_json(json.dumps(body).encode(), "thing", BASE)
    pages.render(project, {})


@settings(deadline=None, max_examples=150)
@given(JSON_VALUES, JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_odd_words_about_a_project(status: Any, tracks: Any, locations: Any, versions: Any) -> None:
    """What a page says of its project may be of any shape: what can be read is passed on, in pages that can be read."""
    body = {
        "meta": {"api-version": "1.4", "tracks": tracks}, "name": "thing", "files": [], "versions": versions,
        "project-status": {"status": status, "reason": locations}, "alternate-locations": locations,
    }  # fmt: skip
    project = parse_json(json.dumps(body).encode(), "thing", BASE)
    rendered = pages.render(project, {})
    assert parse_json(rendered[pages.Format.JSON], "thing", BASE) == project
    assert record.load(record.dump(project)) == project


def test_records_of_before() -> None:
    """A record that was written before a field was known is read, and the field has its default."""
    file = {"filename": "thing-1.tar.gz", "sha256": "a" * 64, "url": "http://127.0.0.1/x", "size": 1}
    project = record.load(json.dumps({"name": "thing", "files": [file], "versions": ["1"]}).encode())
    assert (project.status, project.tracks, project.files[0].provenance) == ("active", (), None)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"core-metadata": {"sha256": "AB" * 32}}, "ab" * 32),
        ({"core-metadata": True}, ""),
        ({"core-metadata": {"md5": "x"}}, ""),
        ({"core-metadata": False, "dist-info-metadata": True}, None),
        ({"dist-info-metadata": {"sha256": "ab" * 32}}, "ab" * 32),
        ({"core-metadata": "yes"}, None),
        ({}, None),
    ],
)
def test_metadata_upstream_has(claim: dict[str, Any], expected: str | None) -> None:
    """The new name counts where it stands, else the old one (PEP 714); a hash is a sha256 or none that we know."""
    entry = {"filename": "thing-1-py3-none-any.whl", "url": "x", "hashes": {"sha256": "a" * 64}, **claim}
    body = {"meta": {"api-version": "1.0"}, "name": "thing", "files": [entry]}
    assert parse_json(json.dumps(body).encode(), "thing", BASE).files[0].core_metadata == expected
    values = {name: value if isinstance(value, str) else "true" if value is True else "".join(
        f"{key}={digest}" for key, digest in value.items()) for name, value in claim.items() if value}  # fmt: skip
    attributes = " ".join(f'data-{name}="{value}"' for name, value in values.items())
    html = f'<a href="thing-1-py3-none-any.whl#sha256={"a" * 64}" {attributes}>x</a>'
    if False not in claim.values():  # which HTML cannot say
        assert parse_html(html.encode(), "thing", BASE).files[0].core_metadata == expected


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 2000))
def test_ranges(header: str, total: int) -> None:
    """Whatever is asked for, a part lies within the file, or is none."""
    part = ranges.asked(header, "", '"tag"', total)
    assert part is None or (part.length == 0 or 0 <= part.start < part.start + part.length <= total)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"files": 1}',
        b'{"files": [], "name": "thing", "meta": {"api-version": "2.0"}}',
        b'{"files": [], "name": "other", "meta": {"api-version": "1.0"}}',
        b'{"files": [], "name": "thing"}',
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    """Anything but a page of that project is refused as a whole, also what is nested beyond reason."""
    with pytest.raises(DaeError) as caught:
        parse_json(body, "thing", BASE)
    assert caught.value.code == "mirror/bad-upstream"


@pytest.mark.parametrize(
    "change",
    [
        {"hashes": {}},
        {"hashes": {"md5": "0" * 32}},
        {"filename": "../../x.whl"},
        {"filename": ".hidden"},
        {"filename": "a/b.whl"},
        {"filename": "x.whl.metadata"},
        {"filename": "x" * 300},
        {"url": "file:///etc/passwd"},
        {"url": "ftp://127.0.0.1/x"},
        {"url": "http://[bad/x"},
        {"size": -1},
    ],
)
def test_files_that_are_left_out(change: dict[str, Any]) -> None:
    """No file gets in without a sha256, with a name that is a path, or from an address that is not HTTP."""
    entry = {"filename": "thing-1.tar.gz", "url": "thing-1.tar.gz", "hashes": {"sha256": "a" * 64}}
    body = {"meta": {"api-version": "1.0"}, "name": "thing", "files": [entry | change]}
    assert parse_json(json.dumps(body).encode(), "thing", BASE).files == ()


def test_tls_page_names_tls_files() -> None:
    """A page that came over TLS cannot send the mirror to an address without."""
    entry = {"filename": "thing-1.tar.gz", "url": "http://127.0.0.1/x", "hashes": {"sha256": "a" * 64}}
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "thing", "files": [entry]}).encode()
    assert parse_json(body, "thing", "https://127.0.0.1/thing/").files == ()


HTML, JSON = pages.Format.HTML, pages.Format.JSON


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, HTML),
        ("", HTML),
        ("*/*", HTML),
        ("text/*", HTML),
        ("application/*", JSON),
        ("application/vnd.pypi.simple.v1+json", JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
        ("APPLICATION/VND.PYPI.SIMPLE.V1+JSON", JSON),
        ("application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01", JSON),
        ("application/vnd.pypi.simple.v1+json;q=0.1, text/html;q=0.5", HTML),
        ("text/html, application/vnd.pypi.simple.v1+json", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("application/vnd.pypi.simple.v1+json;q=0, */*", HTML),
        ("application/json", None),
        ("text/html;q=0", None),
        ("text/html;q=nonsense", None),
        ("text/html;q=nan", None),
    ],
)
def test_choice_of_format(accept: str | None, expected: pages.Format | None) -> None:
    """Accept is read with its qualities and precisions; nothing acceptable is None."""
    chosen = pages.choose(accept)
    assert (chosen[0] if chosen else None) == expected


@pytest.mark.parametrize(("text", "name"), [("Foo", "foo"), ("a.-_b", "a-b"), ("A__B", "a-b"), ("1", "1")])
def test_normalisation(text: str, name: str) -> None:
    """PEP 503's rule."""
    assert model.project_name(text) == name


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "a-", "a/b", "a b", "a\n", "é", "a" * 129, "\0"])
def test_bad_names(text: str) -> None:
    """What PEP 508 allows, up to a length, and nothing else."""
    with pytest.raises(DaeError) as caught:
        model.project_name(text)
    assert caught.value.code == "mirror/bad-name"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("my_tool-1.0-py3-none-any.whl", ("my-tool",)),
        ("my-tool-1.0.tar.gz", ("my-tool", "my")),
        ("tool.zip", ()),
    ],
)
def test_projects_of_a_file(filename: str, expected: tuple[str, ...]) -> None:
    """A file's name tells which projects can have it."""
    assert model.possible_projects(filename) == expected


def test_hostile_wheels(tmp_path: Path) -> None:
    """Metadata is read only where it belongs, once, and not beyond its limit; a damaged wheel has none."""
    path = tmp_path / "x"
    path.write_bytes(build_wheel("thing", "1.0"))
    assert metadata.of_wheel(path, "thing-1.0-py3-none-any.whl") is not None
    assert metadata.of_wheel(path, "other-1.0-py3-none-any.whl") is None
    path.write_bytes(build_wheel("thing", "1.0")[:-30])
    assert metadata.of_wheel(path, "thing-1.0-py3-none-any.whl") is None
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", b"Name: thing\nVersion: 1\n\n" + b"x" * (5 << 20))
    assert metadata.of_wheel(path, "thing-1.0-py3-none-any.whl") is None
