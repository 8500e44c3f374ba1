"""What the mirror answers while all is well."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.upstream_model import UpstreamModel

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


def file_url(sha256: str, filename: str) -> str:
    return f"/pypi/files/{sha256[:2]}/{sha256}/{filename}"


def test_page_in_both_formats(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """A project's page is served as HTML and as JSON with PEP 700's fields, from one upstream request."""
    filename, sha256 = shared_upstream.add("both")
    html = shared_mirror.get("/pypi/simple/both/")
    assert html.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'href="../../files/{sha256[:2]}/{sha256}/{filename}#sha256={sha256}"' in html.text
    assert 'data-requires-python="&gt;=3.8"' in html.text
    answer = shared_mirror.get("/pypi/simple/both/", JSON)
    assert answer.headers["Content-Type"] == JSON["Accept"]
    page = json.loads(answer.body)
    assert page["meta"]["api-version"] == "1.2"
    assert page["versions"] == ["1.0"]
    (entry,) = page["files"]
    assert entry["url"] == f"../../files/{sha256[:2]}/{sha256}/{filename}"
    assert entry["size"] == len(shared_upstream.bodies[f"/up/{filename}"])
    assert entry["upload-time"] == "2024-05-06T07:08:09.123456Z"
    assert "core-metadata" not in entry
    assert shared_upstream.counts["/simple/both/"] == 1


def test_validators_and_encodings(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """A page has a strong ETag of its own in each encoding, answers 304 to it, and says what it varies with."""
    shared_upstream.add("etagged")
    plain = shared_mirror.get("/pypi/simple/etagged/")
    zipped = shared_mirror.get("/pypi/simple/etagged/", {"Accept-Encoding": "br, gzip;q=0.5"})
    assert gzip.decompress(zipped.body) == plain.body
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert zipped.headers["ETag"] != plain.headers["ETag"]
    assert plain.headers["ETag"].startswith('"')
    assert plain.headers["Vary"] == "Accept, Accept-Encoding"
    again = shared_mirror.get("/pypi/simple/etagged/", {"If-None-Match": f'"other", {plain.headers["ETag"]}'})
    assert (again.status, again.body) == (304, b"")
    head = shared_mirror.get("/pypi/simple/etagged/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(plain.body))


def test_format_parameter_and_406(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """``?format=`` beats Accept; a format that cannot be served is 406 with the error's line as plain text."""
    shared_upstream.add("formats")
    asked = shared_mirror.get(
        "/pypi/simple/formats/?format=application/vnd.pypi.simple.v1+json", {"Accept": "text/html"}
    )
    assert asked.headers["Content-Type"] == JSON["Accept"]
    for answer in (
        shared_mirror.get("/pypi/simple/formats/?format=text/plain"),
        shared_mirror.get("/pypi/simple/formats/", {"Accept": "application/vnd.pypi.simple.v2+json"}),
    ):
        assert answer.status == 406
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith("mirror/not-acceptable: ")
        assert " -- " in answer.text


def test_list_of_projects(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """The index lists the projects that the mirror holds, in both formats."""
    shared_upstream.add("listed")
    shared_mirror.get("/pypi/simple/listed/")
    assert '<a href="listed/">listed</a>' in shared_mirror.get("/pypi/simple/").text
    page = json.loads(shared_mirror.get("/pypi/simple/", JSON).body)
    assert {"name": "listed"} in page["projects"]


@pytest.mark.parametrize("path", ["Some_Name/", "some.name/", "some-name", "some--name/?x=1"])
def test_other_spellings_are_redirected(path: str, shared_mirror: MirrorProcess) -> None:
    """Every other spelling of a name is 301 to the normalised one, so that one project has one address."""
    answer = shared_mirror.get(f"/pypi/simple/{path}")
    query = "?x=1" if "?" in path else ""
    assert (answer.status, answer.headers["Location"]) == (301, f"/pypi/simple/some-name/{query}")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pypi/simple/../../../etc/passwd", 404),
        ("/pypi/simple/../", 400),
        ("/pypi/simple/%2e%2e/", 400),
        ("/pypi/simple/%2e%2e%2f%2e%2e%2fstate/", 404),
        ("/pypi/simple/a%00b/", 400),
        ("/pypi/simple/a%0ab/", 400),
        ("/pypi/simple/-r/", 400),
        ("/pypi/simple/%c3%a9/", 400),
        ("/pypi/simple/" + "a" * 3000 + "/", 400),
        ("/pypi/simple//", 400),
        ("/pypi/files/../../../../etc/passwd", 404),
        ("/pypi/files/aa/" + "a" * 64 + "/..", 404),
        ("/pypi/files/aa/" + "a" * 64 + "/%2e%2e%2f%2e%2e", 404),
        ("/pypi/files/aa/" + "a" * 64 + "/x%00.whl", 404),
        ("/pypi/files/aa/" + "a" * 64 + "/" + "x" * 400 + ".whl", 404),
        ("/pypi/files/../" + "." * 64 + "/x.whl", 404),
        ("/pypi/files/aa/" + "A" * 64 + "/x-1-py3-none-any.whl", 404),
        ("/pypi/files/bb/" + "a" * 64 + "/x-1-py3-none-any.whl", 404),
        ("/pypi", 404),
        ("/etc/passwd", 404),
    ],
)
def test_hostile_names(path: str, status: int, shared_mirror: MirrorProcess, shared_upstream: UpstreamModel) -> None:
    """Names that are none are refused with a line of words, before the disk or upstream hears of them."""
    asked = shared_upstream.counts.total()
    answer = shared_mirror.get(path)
    assert answer.status == status
    assert answer.text.split(":")[0] in ("mirror/bad-name", "mirror/unknown-file", "input/unknown-path")
    assert shared_upstream.counts.total() == asked


def test_only_reading(shared_mirror: MirrorProcess) -> None:
    """The index is read; other methods are 405 and name the allowed ones."""
    answer = shared_mirror.get("/pypi/simple/", method="DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_file_then_metadata(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """A fetched wheel is on disk where its address says, with its metadata beside it, and the page tells of that."""
    filename, sha256 = shared_upstream.add("sidecar", requires="both")
    url = file_url(sha256, filename)
    answer = shared_mirror.get(url)
    assert answer.body == shared_upstream.bodies[f"/up/{filename}"]
    assert "immutable" in answer.headers["Cache-Control"]
    on_disk = shared_mirror.home / "mirror" / url.removeprefix("/pypi/")
    assert on_disk.read_bytes() == answer.body
    assert on_disk.stat().st_mode & 0o777 == 0o640
    assert on_disk.parent.stat().st_mode & 0o777 == 0o750
    for folder in ("pages", "pages/default", "old"):  # nginx's workers go through them by their group
        assert (shared_mirror.home / "mirror" / folder).stat().st_mode & 0o777 == 0o750
    metadata = shared_mirror.get(url + ".metadata")
    assert "Requires-Dist: both" in metadata.text
    assert "data-core-metadata" in shared_mirror.get("/pypi/simple/sidecar/").text
    assert "dist-info-metadata" not in shared_mirror.get("/pypi/simple/sidecar/").text
    (entry,) = json.loads(shared_mirror.get("/pypi/simple/sidecar/", JSON).body)["files"]
    assert list(entry["core-metadata"]) == ["sha256"]
    assert shared_mirror.get(url, {"If-None-Match": answer.headers["ETag"]}).status == 304
    assert shared_upstream.counts[f"/up/{filename}"] == 1


def test_file_without_its_page(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """A file's address works before its project's page was ever asked for, as a lock file from elsewhere does."""
    filename, sha256 = shared_upstream.add("direct")
    assert shared_mirror.get(file_url(sha256, filename)).status == 200
    unknown = shared_mirror.get(file_url("0" * 64, filename))
    assert (unknown.status, unknown.text.split(":")[0]) == (404, "mirror/unknown-file")


def test_one_fetch_for_many(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """30 who ask at once for a page, and then for a file, cost upstream one request each."""
    filename, sha256 = shared_upstream.add("crowd", padding=300_000)
    for path, wanted in (("/pypi/simple/crowd/", "/simple/crowd/"), (file_url(sha256, filename), f"/up/{filename}")):
        shared_upstream.hold = threading.Event()
        try:
            with ThreadPoolExecutor(30) as pool:
                answers = [pool.submit(shared_mirror.get, path) for _ in range(30)]
                poll(lambda: shared_upstream.counts[wanted])  # noqa: B023 - used before the loop goes on
                shared_upstream.hold.set()
                assert {answer.result().status for answer in answers} == {200}
                assert len({answer.result().body for answer in answers}) == 1
        finally:
            shared_upstream.hold = None
        assert shared_upstream.counts[wanted] == 1


def test_fetch_outlives_its_asker(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """When the only asker hangs up, the fetch goes on, and the next one finds the file."""
    import socket

    filename, sha256 = shared_upstream.add("impatient")
    url = file_url(sha256, filename)
    shared_mirror.get("/pypi/simple/impatient/")
    shared_upstream.hold = threading.Event()
    try:
        with socket.create_connection(("127.0.0.1", shared_mirror.port)) as client:
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            poll(lambda: shared_upstream.counts[f"/up/{filename}"])
        shared_upstream.hold.set()
    finally:
        shared_upstream.hold = None
    poll((shared_mirror.home / "mirror" / url.removeprefix("/pypi/")).is_file)
    assert shared_mirror.get(url).status == 200
    assert shared_upstream.counts[f"/up/{filename}"] == 1


def test_hash_mismatch(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file that is not the one its index names is 502, and nothing of it is stored; nor after a restart."""
    filename, sha256 = upstream.add("forged", claim="ab" * 32)
    mirror = new_mirror(upstream.url)
    for _ in range(2):
        answer = mirror.get(file_url(sha256, filename))
        assert (answer.status, answer.text.split(":")[0]) == (502, "mirror/hash-mismatch")
        assert [path for path in (mirror.home / "mirror" / "files").rglob("*") if path.is_file()] == []
        assert list((mirror.home / "mirror" / "tmp").iterdir()) == []
        mirror.stop()
        mirror.start()


def test_longer_than_stated(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file larger than its index says is cut off and refused."""
    filename, sha256 = upstream.add("longer", padding=500_000)
    upstream.pages["longer"]["files"][0]["size"] = 1000
    mirror = new_mirror(upstream.url)
    assert mirror.get(file_url(sha256, filename)).status == 502
    assert [path for path in (mirror.home / "mirror" / "files").rglob("*") if path.is_file()] == []


def test_changes_upstream_are_seen(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """An expired page is fetched anew, beside who asks; unchanged it keeps its ETag, changed it shows the change."""
    upstream.add("moving", "1.0")
    mirror = new_mirror(upstream.url, ttl=0)
    first = mirror.get("/pypi/simple/moving/")
    assert mirror.get("/pypi/simple/moving/", {"If-None-Match": first.headers["ETag"]}).status == 304
    upstream.add("moving", "2.0")
    poll(lambda: "moving-2.0-py3-none-any.whl" in mirror.get("/pypi/simple/moving/").text)
    del upstream.pages["moving"]
    poll(lambda: mirror.get("/pypi/simple/moving/").status == 404)


def test_damage_is_mended(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Pages lost are rendered again; a record cut short is fetched again; leftovers of killed writers are swept."""
    upstream.add("dented")
    mirror = new_mirror(upstream.url)
    before = mirror.get("/pypi/simple/dented/").body
    page = mirror.home / "mirror/pages/default/dented" / "index.html"
    page.unlink()
    assert mirror.get("/pypi/simple/dented/").body == before
    page.unlink()
    (mirror.home / "mirror" / "projects" / "dented.json").write_text('{"name": "dent')
    left = mirror.home / "mirror" / "tmp" / "write-left"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    mirror.stop()
    mirror.start()
    assert mirror.get("/pypi/simple/dented/").body == before
    assert not left.exists()


def test_html_upstream(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """An upstream that speaks only HTML is mirrored too; the JSON page then claims no more than it knows."""
    filename, sha256 = shared_upstream.add("plain")
    del shared_upstream.pages["plain"]
    shared_upstream.html["plain"] = f'<a href="/up/{filename}#sha256={sha256}" data-yanked="bad">x</a>'
    page = json.loads(shared_mirror.get("/pypi/simple/plain/", JSON).body)
    assert page["meta"]["api-version"] == "1.0"
    assert page["files"][0]["yanked"] == "bad"
    assert shared_mirror.get(file_url(sha256, filename)).status == 200


def test_its_own_upstream(shared_mirror: MirrorProcess, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A mirror whose upstream is itself says so instead of asking itself for ever."""
    import http.server

    mirror: MirrorProcess

    class Relay(http.server.BaseHTTPRequestHandler):
        """Stands for nginx: hands the mirror its own request."""

        def do_GET(self) -> None:
            answer = mirror.get(self.path, {"Via": self.headers["Via"]})
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    relay = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        mirror = new_mirror(f"http://127.0.0.1:{relay.server_address[1]}/pypi/simple/")
        assert mirror.get("/pypi/simple/anything/").status == 503
    finally:
        relay.shutdown()
        relay.server_close()
