"""Uploads as they come over HTTP: who may, what is taken, what is refused and how, and what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from control import accounts, index_tokens
from control.accounts import Identity
from core.errors import DaeError
from core.store import Store
from pypi_mirror import private, rights
from pypi_mirror.store import Store as MirrorStore
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_archives import zipped
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.uploading import BOUNDARY, Ground, basic, form, sdist_bytes
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

LIMIT = 300_000


@pytest.fixture
def ground(tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> Iterator[Ground]:
    made = Ground(tmp_path, lambda: new_mirror(upstream.url, DAE_UPLOAD_BYTES=str(LIMIT)))
    yield made
    made.store.close()


def wheel(name: str, version: str = "1.0", requires: str = "") -> tuple[str, bytes]:
    return f"{name}-{version}-py3-none-any.whl", build_wheel(name, version, requires)


def page(ground: Ground, name: str) -> dict[str, object]:
    answer = ground.mirror.get(f"/pypi/simple/{name}/", JSON)
    assert answer.status == 200
    return dict(json.loads(answer.body))


def test_upload_and_again(ground: Ground) -> None:
    """A wheel and an sdist are taken and served at once with their metadata; the same bytes again are 200."""
    name, content = wheel("mine")
    sha256 = hashlib.sha256(content).hexdigest()
    for _ in range(2):
        answer = ground.upload(
            (name, content), name="Mine", version="1.0.0", filetype="bdist_wheel", sha256_digest=sha256
        )
        assert answer.status == 200, answer.text
    assert ground.upload(("mine-1.0.tar.gz", sdist_bytes("mine")), filetype="sdist").status == 200
    files = page(ground, "mine")["files"]
    assert isinstance(files, list)
    assert [file["filename"] for file in files] == [name, "mine-1.0.tar.gz"]
    assert "core-metadata" in files[0]
    assert ground.mirror.get(file_url(sha256, name)).body == content
    assert ground.temporary() == []


def test_other_bytes_are_refused(ground: Ground) -> None:
    """Other bytes under a published name, in whichever spelling, are 400 with the words that clients look for."""
    assert ground.upload(wheel("steady")).status == 200
    for other in (wheel("steady", requires="x"), wheel("steady", "1.0.0")):
        answer = ground.upload(other)
        assert answer.status == 400
        assert "File already exists" in answer.text
    answer = ground.upload(wheel("steady", requires="x"))
    assert answer.text.startswith("mirror/file-exists: File already exists: steady-1.0-py3-none-any.whl")
    assert ground.upload(wheel("steady")).status == 200


def test_one_sdist(ground: Ground) -> None:
    """An sdist may be a .zip; there is one sdist of a version, whatever its ending, and others are refused by name."""
    content = zipped({"one-1.0/PKG-INFO": "Metadata-Version: 2.2\nName: one\nVersion: 1.0\n"})
    assert ground.upload(("one-1.0.zip", content), filetype="sdist").status == 200
    answer = ground.upload(("one-1.0.tar.gz", sdist_bytes("one")), filetype="sdist")
    assert (answer.status, "File already exists: one-1.0.zip" in answer.text) == (400, True)
    answer = ground.upload(("one-1.1.tar.bz2", content), filetype="sdist")
    assert answer.status == 400
    assert ".tar.gz, .zip" in answer.text


def test_who_may(ground: Ground) -> None:
    """Only who has an app, or an administrator, takes a free name; then only he and administrators upload to it."""
    assert ground.upload(wheel("owned"), "eve").status == 403
    assert ground.mirror.get("/pypi/simple/owned/").status == 404
    assert ground.upload(wheel("owned"), "ann").status == 200
    assert ground.upload(wheel("owned", "1.1"), "bob").status == 403
    assert ground.upload(wheel("owned", "1.1"), "root").status == 200
    for header in (
        {},
        basic("__token__", "dae_wrong"),
        basic("__token__", "daei_wrong"),
        basic("bob", ground.tokens["ann"]),
    ):
        answer = ground.post(form({":action": "file_upload"}, *wheel("owned", "1.2")), header)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="DAE"')
    assert page(ground, "owned")["versions"] == ["1.0", "1.1"]


def test_tokens_of_a_project(ground: Ground) -> None:
    """A token is worth its project and its actions and no more, is no login, and is nothing once it is revoked."""
    for name in ("first", "second"):
        assert ground.upload(wheel(name)).status == 200
    token = ground.project_token("ann", "first", "upload")
    assert ground.upload(wheel("first", "1.1"), token).status == 200
    assert ground.upload(wheel("second", "1.1"), token).status == 403
    assert ground.upload(wheel("free"), token).status == 403
    assert ground.upload(wheel("first", "1.2"), ground.project_token("ann", "first", "yank", "read")).status == 403
    assert ground.upload(wheel("first", "1.2"), ground.project_token("bob", "first", "upload")).status == 403
    with pytest.raises(DaeError, match="auth/required"):
        accounts.authenticate(ground.store, f"Bearer {token}")
    rows = index_tokens.list_tokens(ground.store, Identity("ann", False))
    assert token not in str(rows)
    assert token.encode() not in ground.home.database.read_bytes()
    with pytest.raises(DaeError, match="token/unknown"):
        index_tokens.revoke(ground.store, Identity("eve", False), rows[0]["id"])
    index_tokens.revoke(ground.store, Identity("ann", False), rows[0]["id"])
    assert ground.upload(wheel("first", "1.3"), token).status == 401


def test_upstreams_names(ground: Ground, upstream: UpstreamModel) -> None:
    """A name that upstream has, or may have for all that can be told, is taken by nobody's upload."""
    theirs, _ = upstream.add("popular", "9.0")
    for who in ("ann", "root"):
        assert ground.upload(wheel("popular"), who).status == 403
    assert theirs in str(page(ground, "popular"))
    private.claim(MirrorStore(ground.home), "Popular", "ann", rights.PLATFORM)
    assert ground.upload(wheel("popular")).status == 200
    assert theirs not in str(page(ground, "popular"))
    upstream.refuse()
    answer = ground.upload(wheel("unasked"))
    assert answer.status == 503
    assert "Retry-After" in answer.headers


def test_sizes(ground: Ground) -> None:
    """A file above the limit, announced or not, and fields without end are refused; nothing of them is left."""
    large = ("large-1.0-py3-none-any.whl", bytes(LIMIT + 1))
    assert ground.upload(large).status == 413
    assert ground.upload(("x-1.0.tar.gz", b""), name="n" * 5000).status == 400
    assert ground.upload(("x-1.0.tar.gz", b""), description="n" * (17 << 20)).status == 400
    many = {f"field{number}": "" for number in range(5000)}
    assert ground.upload(("x-1.0.tar.gz", b""), **many).status == 400
    assert ground.temporary() == []
    assert ground.mirror.get("/pypi/simple/").status == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({":action": "submit"}, ":action is not file_upload"),
        ({"protocol_version": "2"}, "protocol_version 1"),
        ({"name": "theirs"}, "the form is for 'theirs'"),
        ({"version": "2.0"}, "the form is for version '2.0'"),
        ({"version": "one"}, "which is none"),
        ({"filetype": "sdist"}, "filetype"),
        ({"md5_digest": "0" * 32}, "md5_digest"),
        ({"sha256_digest": "0" * 64}, "sha256_digest"),
        ({"blake2_256_digest": "0" * 64}, "blake2_256_digest"),
    ],
)
def test_forms_that_contradict(shared_ground: Ground, fields: dict[str, str], words: str) -> None:
    """A form that says something else than its file does is refused, and says what."""
    answer = shared_ground.upload(wheel("contradicted"), **fields)
    assert answer.status == 400
    assert words in answer.text


@pytest.fixture(scope="module")
def shared_ground(tmp_path_factory: pytest.TempPathFactory, shared_upstream: UpstreamModel) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("g")
    made = Ground(home, lambda: MirrorProcess(home, shared_upstream.url))
    yield made
    made.mirror.stop()
    made.store.close()


def test_elsewhere(shared_ground: Ground) -> None:
    """An upload to another address is told where uploads go, and answers 405."""
    answer = shared_ground.post(b"", basic("", shared_ground.tokens["ann"]), "/pypi/simple/")
    assert answer.status == 405
    assert "uploads go to /pypi/" in answer.text


def test_others_are_served_meanwhile(shared_ground: Ground) -> None:
    """While a large file comes in as fast as it can, and is checked, the mirror answers others."""
    assert shared_ground.upload(wheel("quick")).status == 200
    large = ("large-1.0-py3-none-any.whl", build_wheel("large", "1.0", padding=100 << 20))
    answered = 0
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(shared_ground.upload, large)
        while not upload.done():
            assert shared_ground.mirror.get("/pypi/simple/quick/").status == 200
            answered += 1
        assert upload.result().status == 200
    assert answered > 10


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "multipart/form-data; boundary=b0undary", "multipart/form-data"]))
def test_any_body(shared_ground: Ground, body: bytes, kind: str) -> None:
    """Whatever is sent with a good token: the answer is a clean refusal, and nothing is left."""
    answer = shared_ground.post(body, {**basic("", shared_ground.tokens["ann"]), "Content-Type": kind})
    assert answer.status == 400
    assert answer.text.startswith("mirror/bad-upload: ")
    assert shared_ground.temporary() == []


def test_json_errors(shared_ground: Ground) -> None:
    """Who asks for JSON gets the error as the API tells it."""
    answer = shared_ground.post(b"", {"Accept": "application/json"})
    assert (answer.status, json.loads(answer.body)["error"]) == (401, "auth/required")


def test_killed_in_the_middle(ground: Ground, upstream: UpstreamModel) -> None:
    """A mirror that is killed while a file comes in shows nothing of it, and takes it whole the next time."""
    name, content = wheel("halfway")
    body = form({":action": "file_upload"}, name, content)
    with socket.create_connection(("127.0.0.1", ground.mirror.port)) as connection:
        head = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(body))}
        head |= {"Host": "localhost", **basic("ann", ground.tokens["ann"])}
        lines = "".join(f"{key}: {value}\r\n" for key, value in head.items())
        connection.sendall(f"POST /pypi/ HTTP/1.1\r\n{lines}\r\n".encode() + body[: len(body) // 2])
        poll(ground.temporary)
        ground.mirror.stop()
    ground.mirror.start()
    assert ground.mirror.get("/pypi/simple/halfway/").status == 404
    assert not (ground.home.mirror / "private" / "halfway.json").exists()
    assert list((ground.home.mirror / "files").rglob("*.whl")) == []
    assert ground.upload((name, content)).status == 200


def test_a_client_that_leaves(ground: Ground) -> None:
    """A client that hangs up in the middle leaves nothing, and the mirror serves on."""
    body = form({":action": "file_upload"}, *wheel("left"))
    with socket.create_connection(("127.0.0.1", ground.mirror.port)) as connection:
        token = basic("ann", ground.tokens["ann"])["Authorization"]
        head = f"POST /pypi/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        connection.sendall(head.encode() + body[:-20])
        poll(ground.temporary)
    poll(lambda: not ground.temporary())
    assert ground.mirror.get("/pypi/simple/left/").status == 404


def test_the_old_database_is_migrated(tmp_path: Path) -> None:
    """A database of the version before gets the table of tokens, and keeps what it has."""
    store = Store.at(tmp_path / "dae.db")
    store.migrate()
    token = accounts.add_user(store, "ann")
    with store.write() as session:
        session.execute(sa.text("DROP TABLE index_tokens"))
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    assert not store.ready()
    store.migrate()
    assert store.ready()
    assert index_tokens.list_tokens(store, accounts.authenticate(store, f"Bearer {token}")) == []
