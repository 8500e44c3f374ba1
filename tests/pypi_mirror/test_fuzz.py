"""Hostile input of every kind, made up by hypothesis, against the mirror as it runs, over HTTP.

What is sent: forms of any bytes and structure, file names, core metadata, archives (good ones of which something was
changed, and plain noise), and upstream's pages in both formats. What holds for all of it: the answer is a clean status
with a reason, the log has no traceback, what was taken is served as it came, and no file appears outside of the store.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pypi_mirror.hostile import (
    ANY,
    HTML,
    LINES,
    NOISE,
    PAGE,
    PART,
    PIECES,
    TARRED,
    ZIPPED,
    damaged,
    packed,
    relisted,
    spelt,
)
from tests.pypi_mirror.mirror_process import Answer, MirrorProcess
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.uploading import BOUNDARY, Ground, basic, form, sdist_bytes
from tests.pypi_mirror.upstream_model import UpstreamModel
from tests.pypi_mirror.zips import INFO, METADATA, NAME, Member, archive, wheel_members

FOLDERS = {"files", "held", "projects", "private", "pages", "old", "tmp", "records", "licenses", "lock", "policy.toml"}
FOLDERS |= {"imports", "telling.lock"}
FRESH = itertools.count()
WARM = sdist_bytes("warm")
EXAMPLES = 80
bounded = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the home lies, alone."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def model() -> Iterator[UpstreamModel]:
    made = UpstreamModel()
    yield made
    made.close()


@pytest.fixture(scope="module")
def ground(around: Path, model: UpstreamModel) -> Iterator[Ground]:
    home = around / "home"
    home.mkdir()
    made = Ground(home, lambda: MirrorProcess(home, model.url, environ={"DAE_UPLOAD_BYTES": "1000000"}))
    yield made
    made.mirror.stop()
    made.store.close()


@pytest.fixture(autouse=True)
def whole(around: Path, ground: Ground) -> Iterator[None]:
    """Nothing appears around the store, nor in it where nothing belongs; and the log has no traceback."""

    def outside() -> set[str]:
        found = {str(path) for path in around.rglob("*") if ground.home.mirror not in path.parents}
        return {path for path in found if not path.endswith(("-wal", "-shm"))}

    assert ground.upload(("warm-1.0.tar.gz", WARM)).status == 200  # the database and the folders are there
    before = outside()
    yield
    assert outside() == before
    assert {path.name for path in ground.home.mirror.iterdir()} <= FOLDERS
    assert ground.temporary() == []
    assert "Traceback" not in ground.mirror.log.read_text(errors="replace")


def clean(answer: Answer, *, taken: bool = True) -> bool:
    """Whether it was taken; if not, the answer says why, in a line of its own."""
    if answer.status == 200:
        assert taken
        return True
    assert answer.status in (400, 403, 404, 413, 502, 503), answer.body[:500]
    assert answer.text.startswith(("mirror/", "auth/", "input/")), answer.text[:500]
    assert answer.text.count("\n") == 1
    return False


def served(ground: Ground, filename: str, content: bytes) -> None:
    """What was taken comes back as it was, and its project's page can be had in both formats."""
    sha256 = hashlib.sha256(content).hexdigest()
    assert ground.mirror.get(file_url(sha256, filename)).body == content
    page = ground.mirror.get("/pypi/simple/thing/", JSON)
    assert filename in [file["filename"] for file in json.loads(page.body)["files"]]
    assert ground.mirror.get("/pypi/simple/thing/").status == 200


@bounded
@given(
    st.binary(max_size=200)
    | st.builds(spelt, st.lists(PART, max_size=6), st.sampled_from(["--\r\n", "", "--", "\r\n"])),
    st.sampled_from([f"multipart/form-data; boundary={BOUNDARY}"] * 3)
    | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
)
def test_forms(ground: Ground, body: bytes, kind: str) -> None:
    """Forms of any bytes, and forms of right and wrong parts."""
    headers = {**basic("", ground.tokens["ann"]), "Content-Type": kind.strip()}
    clean(ground.post(body, headers), taken=False)


@bounded
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=9).map("".join) | st.text(max_size=300))
def test_file_names(ground: Ground, name: str) -> None:
    """A good sdist of any name."""
    body = form({":action": "file_upload"}, "NAME", sdist_bytes("thing"))
    body = body.replace(b"NAME", name.encode("utf-8", "surrogatepass"), 1)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    clean(ground.post(body, {**basic("", ground.tokens["ann"]), **kind}))


@bounded
@given(LINES, st.booleans(), st.booleans())
def test_metadata(ground: Ground, lines: str, is_wheel: bool, is_added: bool) -> None:
    """Core metadata of any lines, in a wheel and in an sdist that are right otherwise."""
    text = (METADATA + lines if is_added else lines).encode("utf-8", "surrogatepass")
    version = f"1.0.post{next(FRESH)}"
    text = text.replace(b"Version: 1.0\n", f"Version: {version}\n".encode())
    if is_wheel:
        members = wheel_members()
        members[1] = Member(f"{INFO}/METADATA".replace("1.0", version), text)
        members[2] = Member(f"{INFO}/WHEEL".replace("1.0", version), b"Wheel-Version: 1.0\n")
        filename, content = NAME.replace("1.0", version), archive(relisted(members[:-1], version))
    else:
        filename, content = f"thing-{version}.tar.gz", packed({f"thing-{version}/PKG-INFO": text})
    if clean(ground.upload((filename, content))):
        served(ground, filename, content)


@settings(bounded, max_examples=2 * EXAMPLES)
@given(damaged() | TARRED | ZIPPED | NOISE)
def test_archives(ground: Ground, file: tuple[str, bytes]) -> None:
    """Archives with lies in their headers, with bytes changed, and noise."""
    if clean(ground.upload(file)):
        served(ground, *file)


@bounded
@given(PAGE | ANY, HTML, st.booleans())
def test_upstream(ground: Ground, model: UpstreamModel, page: object, html: str, is_json: bool) -> None:
    """Upstream's pages of any structure, and the files that they lead to."""
    name = f"fuzzed{next(FRESH)}"
    if is_json:
        model.pages[name] = page  # type: ignore[assignment]
    else:
        model.html[name] = html.encode("utf-8", "replace").decode()
    for headers in (JSON, {}):
        answer = ground.mirror.get(f"/pypi/simple/{name}/", headers)
        if clean(answer) and headers:
            for file in json.loads(answer.body)["files"][:2]:
                address = file["url"].partition("/files/")[2]
                assert address, file["url"]
                clean(ground.mirror.get(f"/pypi/files/{address}"), taken=False)
