"""A real nginx with real connections."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Route, Stage
from pypi_mirror.pages import etag, stamp
from router.apply import KEPT, Applier, workers
from tests.router.conftest import TREE, Nginx
from tests.runner.ground import until

BLOG, SHOP = "blog.dev.apps.localhost", "shop.apps.localhost"


def test_hosts_lead_to_their_apps(nginx: Nginx) -> None:
    """Each host has its app's answer, with the release in a header that the app cannot forge."""
    nginx.applier.apply([nginx.instance("blog", 3), nginx.instance("shop", 7, Stage.STABLE)])
    for host, name, release in ((BLOG, "blog v3", "v3"), (SHOP, "shop v7", "v7"), (BLOG.upper(), "blog v3", "v3")):
        answer = nginx.get(f"{host}:{nginx.settings.port}", "/a%20b?c=d%2F")
        assert (answer.status, answer.json["name"], answer.json["path"]) == (200, name, "/a%20b?c=d%2F")
        assert answer.headers["x-dae-release"] == release
    assert nginx.get(BLOG, "/status/500").headers["x-dae-release"] == "v3"
    assert nginx.get(BLOG, method="POST", body=b"abc").json["body"] == "abc"


def test_what_has_no_answer(nginx: Nginx) -> None:
    """Unknown hosts, stages without a release and instances that died are told apart in a line of text."""
    route = nginx.instance("blog", 3)
    gone = replace(route, app="gone")
    nginx.applier.apply([route, gone, Route("", "fresh", Stage.DEV, 0)])
    for host, status, word in (
        ("nobody.apps.localhost", 404, b"app/unknown"),
        ("blog.beta.apps.localhost", 404, b"release/nothing-live: blog has no release in beta"),
        ("fresh.dev.apps.localhost", 404, b"release/nothing-live: fresh"),
        ("gone.dev.apps.localhost", 503, b"gone v3 does not answer in dev"),
    ):
        answer = nginx.get(host, "/x")
        assert (answer.status, answer.headers["content-type"]) == (status, "text/plain")
        assert word in answer.body
    assert (answer.headers["retry-after"], answer.headers["x-dae-release"]) == ("1", "v3")
    assert "x-dae-release" not in nginx.get("nobody.apps.localhost").headers


def test_headers_that_only_we_set(nginx: Nginx) -> None:
    """What the platform's side believes is stripped or made fresh; the rest passes."""
    nginx.applier.apply([nginx.instance("blog", 3)])
    forged = (
        "X-DAE-User X-DAE-Release X-DAE-Request X-DAE-Health X-DAE-Task X-DAE-Internal Forwarded X-Forwarded-For "
        "X-Forwarded-Proto X-Forwarded-Host X-Request-Id X-Real-IP Proxy X-Script-Name"
    )
    seen = nginx.get(BLOG, headers={"Cookie": "a=b", "X-Own": "yes", **dict.fromkeys(forged.split(), "forged")}).seen
    assert "forged" not in seen.values()
    assert not [name for name in seen if name.startswith("x-dae-")]
    assert (seen["cookie"], seen["x-own"]) == ("a=b", "yes")
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("127.0.0.1", "http", BLOG)
    assert seen["host"] == BLOG
    assert len(seen["x-request-id"]) == 32


def raw(nginx: Nginx, text: str) -> bytes:
    """What nginx answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", nginx.settings.port), timeout=20) as connection:
        connection.sendall(text.encode())
        with connection.makefile("rb") as file:
            return file.read()


def test_headers_in_disguise(nginx: Nginx) -> None:
    """An underscore for a hyphen is one header to WSGI: it does not pass. The routed host is the host that is told."""
    nginx.applier.apply([nginx.instance("blog", 3)])
    answer = raw(nginx, f"GET / HTTP/1.1\r\nHost: {BLOG}\r\nX_DAE_User: forged\r\nConnection: close\r\n\r\n")
    assert b"blog v3" in answer
    assert b"forged" not in answer.partition(b"\r\n\r\n")[2]
    answer = raw(nginx, f"GET http://{BLOG}/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert b"blog v3" in answer
    assert b"evil" not in answer


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        ("/_dae/health", True),
        ("/_dae/health?x=1", True),
        ("/_dae/release", False),
        ("/_dae/", False),
        ("//_dae/release", False),
        ("/x/../_dae/release", False),
        ("/%5fdae/release", False),
        ("/_dae/../x", False),
        ("/_dae%2Frelease", False),
        ("/_dae_static/app.py", False),
        ("/x/_dae/release", True),
        ("/_daerelease", True),
    ],
)
def test_the_platforms_space(nginx: Nginx, path: str, open_: bool) -> None:
    """Of /_dae/ only the health check is reached from outside, however the path is spelt."""
    nginx.applier.apply([nginx.instance("blog", 3)])
    answer = raw(nginx, f"GET {path} HTTP/1.1\r\nHost: {BLOG}\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") is open_
    assert (b"blog v3" in answer) is open_


def test_static_files(nginx: Nginx) -> None:
    """An app's X-Accel-Redirect gives a file of its own commit, and nothing else."""
    code = nginx.home.code("blog", TREE)
    (code / "static").mkdir(parents=True)
    (code / "static" / "a b.css").write_text("body {}")
    (code / "link").symlink_to("/etc/passwd")
    (code / "folder").symlink_to("/etc")
    nginx.applier.apply([nginx.instance("blog", 3)])
    answer = nginx.get(BLOG, "/accel/static/a%20b.css")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"body {}", "text/css")
    assert answer.headers["x-dae-release"] == "v3"
    assert nginx.get(BLOG, "/accel/static/a%20b.css", headers={"Range": "bytes=0-3"}).body == b"body"
    for path in ("link", "folder/passwd", "static/", "missing", "../../../../etc/passwd", "..%2f..%2fetc/passwd"):
        answer = nginx.get(BLOG, f"/accel/{path}")
        assert answer.status >= 400, path
        assert b"root:" not in answer.body


def websocket(nginx: Nginx) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", nginx.settings.port), timeout=20)
    request = f"GET /ws HTTP/1.1\r\nHost: {BLOG}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101")
    return connection


def test_a_switch_loses_nothing(nginx: Nginx) -> None:
    """Under a stream of requests every answer is one release's or the other's; after apply only the new one's.

    A websocket of the old release is kept.
    """
    nginx.applier.apply([nginx.instance("blog", 1)])
    stop, answers = threading.Event(), list[tuple[int, object]]()

    def ask() -> None:
        while not stop.is_set():
            found = nginx.get(BLOG, method="POST", body=b"x")
            answers.append((found.status, found.json["name"] if found.status == 200 else found.body))

    with websocket(nginx) as kept:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for release in (2, 3):
            assert nginx.applier.apply([nginx.instance("blog", release)]) is True
            assert {nginx.get(BLOG).json["name"] for _ in range(20)} == {f"blog v{release}"}
        stop.set()
        for thread in threads:
            thread.join()
        kept.sendall(b"hello\n")
        assert kept.recv(99) == b"blog v1 hello\n"
    assert {status for status, _ in answers} == {200}
    assert {name for _, name in answers} >= {"blog v1", "blog v2"}


def with_settings(nginx: Nginx, **change: object) -> Applier:
    return Applier(nginx.home, replace(nginx.settings, **change), reload_seconds=0.5)  # type: ignore[arg-type]


def test_generations(nginx: Nginx) -> None:
    """Each change of the configuration is a folder of its own, a few are kept, the link names the one in force."""
    for size in range(KEPT + 2):
        assert with_settings(nginx, domain=f"apps{size}.localhost", host=f"dae{size}.localhost").configure() is True
    folders = sorted(path.name for path in nginx.home.router.glob("gen-*"))
    assert len(folders) == KEPT
    assert (nginx.home.router / "current").readlink() == Path(max(folders, key=lambda name: int(name[4:])))
    assert not (nginx.home.router / "new").exists()
    assert nginx.applier.configure() is True
    now = (nginx.home.router / "current").readlink()
    assert nginx.applier.configure() is True
    assert (nginx.home.router / "current").readlink() == now


def test_a_refused_generation_changes_nothing(nginx: Nginx) -> None:
    """What nginx does not accept is not put in force, and is told."""
    nginx.applier.apply([nginx.instance("blog", 1)])
    before = (nginx.home.router / "current").readlink()
    with pytest.raises(DaeError, match="router/invalid"):
        with_settings(nginx, listen="203.0.113.77").configure()
    assert (nginx.home.router / "current").readlink() == before
    assert nginx.get(BLOG).status == 200


def test_a_reload_that_is_not_taken(nginx: Nginx) -> None:
    """When nginx cannot take a generation that it accepted, the one before is in force again."""
    nginx.applier.apply([nginx.instance("blog", 1)])
    master = nginx.applier.master()
    assert master is not None
    before = (nginx.home.router / "current").readlink()
    os.kill(master, signal.SIGSTOP)
    try:
        with pytest.raises(DaeError, match="release/not-routed"):
            with_settings(nginx, host="other.localhost").configure()
        assert (nginx.home.router / "current").readlink() == before
    finally:
        os.kill(master, signal.SIGCONT)
    until(lambda: nginx.get(BLOG).json["name"] == "blog v1", "the route before is served")


def test_without_nginx(stopped_nginx: Nginx) -> None:
    """Routes may be applied before nginx runs; it then starts with them, and a pid file of old misleads nobody."""
    (stopped_nginx.home.agent_state / "nginx.pid").write_text(f"{os.getpid()}\n")
    route = stopped_nginx.instance("blog", 1)
    assert stopped_nginx.applier.apply([route]) is False
    assert stopped_nginx.applier.wait_up(0.1) is False
    stopped_nginx.start()
    assert stopped_nginx.applier.wait_up(0.1) is True
    assert stopped_nginx.get(BLOG).status == 200
    master = stopped_nginx.applier.master()
    assert master is not None
    assert len(workers(master)) == 2


def test_a_switch_touches_nothing_else(nginx: Nginx) -> None:
    """A switch starts no worker anew and closes no client's connection, idle or not."""
    nginx.applier.apply([nginx.instance("blog", 1)])
    master = nginx.applier.master()
    assert master is not None
    before = workers(master)
    connection = http.client.HTTPConnection("127.0.0.1", nginx.settings.port, timeout=20)
    seen = []
    for release in (1, 2, 3):
        nginx.applier.apply([nginx.instance("blog", release)] if release > 1 else [Route("", "blog", Stage.DEV, 1)])
        connection.request("GET", "/", headers={"Host": BLOG})
        kept = connection.sock
        answer = connection.getresponse()
        seen.append((answer.getheader("X-DAE-Release"), json.loads(answer.read())["name"], connection.sock is kept))
    connection.close()
    assert seen == [(f"v{n}", f"blog v{n}", True) for n in (1, 2, 3)]
    assert workers(master) == before


def test_the_platforms_doors(nginx: Nginx) -> None:
    """Paths of the platform's host lead to its parts, whole; /internal/ leads nowhere."""
    for part in ("control", "receiver", "mirror"):
        nginx.listen(nginx.home.socket(part), part)
    for host in ("localhost", f"127.0.0.1:{nginx.settings.port}"):
        for path, part in (
            ("/", "control"),
            ("/api/v1/apps?x=1", "control"),
            ("/git/a.git/info/refs?service=git-receive-pack", "receiver"),
            ("/pypi/simple/", "mirror"),
            ("/pypi/files/ab/cd/missing.whl", "mirror"),
            ("/pypi/", "mirror"),
        ):
            answer = nginx.get(host, path, headers={"X-DAE-Internal": "forged"})
            assert (answer.json["name"], answer.json["path"]) == (part, path)
            assert "x-dae-internal" not in answer.seen
    for path in ("/internal/push", "/internal", "//internal/push", "/%69nternal/push", "/x/../internal/push"):
        found = raw(nginx, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 404"), path


def test_files_of_the_mirror(nginx: Nginx) -> None:
    """What is on disk comes from disk, for ever; links do not lead out."""
    files = nginx.home.mirror / "files" / "ab"
    files.mkdir(exist_ok=True)
    nginx.home.mirror.chmod(0o755)
    (files / "a-1.0.tar.gz").write_bytes(b"\x1f\x8b")
    (files / "link").symlink_to("/etc/passwd")
    answer = nginx.get("localhost", "/pypi/files/ab/a-1.0.tar.gz")
    assert (answer.status, answer.body) == (200, b"\x1f\x8b")
    assert "immutable" in answer.headers["cache-control"]
    assert "content-encoding" not in answer.headers
    assert b"root:" not in nginx.get("localhost", "/pypi/files/ab/link").body


PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "file", "kind"),
    [
        (PIP, "index.json", "application/vnd.pypi.simple.v1+json"),
        (UV, "index.json", "application/vnd.pypi.simple.v1+json"),
        ("application/vnd.pypi.simple.v1+json", "index.json", "application/vnd.pypi.simple.v1+json"),
        ("application/vnd.pypi.simple.v1+html", "index.html", "application/vnd.pypi.simple.v1+html; charset=utf-8"),
        ("text/html", "index.html", "text/html; charset=utf-8"),
        ("*/*", "index.html", "text/html; charset=utf-8"),
        (None, "index.html", "text/html; charset=utf-8"),
    ],
)
def test_pages_of_the_mirror(nginx: Nginx, accept: str | None, file: str, kind: str) -> None:
    """A page on the disk comes from there, in the form that is asked for, with an entity tag of its content."""
    page = nginx.home.mirror / "pages/default/some-thing"
    page.mkdir(parents=True, exist_ok=True)
    nginx.home.mirror.chmod(0o755)
    for name in ("index.html", "index.json"):
        for suffix, data in (("", name.encode()), (".gz", gzip.compress(name.encode()))):
            (page / (name + suffix)).write_bytes(data)
            os.utime(page / (name + suffix), ns=(stamp(data), stamp(data)))
    headers = {} if accept is None else {"Accept": accept}
    answer = nginx.get("localhost", "/pypi/simple/some-thing/", headers=headers)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, file.encode(), kind)
    found = (page / file).stat()
    assert answer.headers["etag"] == etag(found.st_mtime, found.st_size)
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["cache-control"] == "no-cache"
    assert "last-modified" not in answer.headers
    known = nginx.get(
        "localhost", "/pypi/simple/some-thing/", headers={**headers, "If-None-Match": answer.headers["etag"]}
    )
    assert (known.status, known.body) == (304, b"")
    zipped = nginx.get("localhost", "/pypi/simple/some-thing/", headers={**headers, "Accept-Encoding": "gzip"})
    assert (zipped.headers["content-encoding"], gzip.decompress(zipped.body)) == ("gzip", file.encode())
    assert zipped.headers["etag"] != answer.headers["etag"]
    head = nginx.get("localhost", "/pypi/simple/some-thing/", method="HEAD", headers=headers)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(file)))


def test_pages_that_the_mirror_itself_answers(nginx: Nginx) -> None:
    """What is not on the disk, and whoever asks in a way that must be weighed, reaches it with the same address."""
    nginx.listen(nginx.home.socket("mirror"), "mirror")
    (nginx.home.mirror / "pages/default").mkdir(parents=True, exist_ok=True)
    outside = nginx.home.root / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "index.json").write_text("secret")
    (nginx.home.mirror / "pages/default/led-out").symlink_to(outside)
    for path, accept in (
        ("/pypi/simple/not-there/", PIP),
        ("/pypi/simple/some-thing/?format=application/vnd.pypi.simple.v1+json", "*/*"),
        ("/pypi/simple/some-thing/", BROWSER),
        ("/pypi/simple/some-thing/", "application/vnd.pypi.simple.v2+json"),
        ("/pypi/simple/Some_Thing/", PIP),
        ("/pypi/simple/some-thing", PIP),
        ("/pypi/simple/led-out/", PIP),
        ("/pypi/simple/", PIP),
        ("/pypi/view/beta/simple/some-thing/", PIP),
        ("/pypi/view/beta/files/ab/a-1.0.tar.gz", PIP),
        ("/pypi/view/default/../beta/simple/led-out/", PIP),
    ):
        answer = nginx.get("localhost", path, headers={"Accept": accept, "X-DAE-Internal": "forged"})
        assert (answer.json["name"], answer.json["path"]) == ("mirror", path)
        assert "x-dae-internal" not in answer.seen


def test_pages_of_views(nginx: Nginx) -> None:
    """Each view's page comes from its own folder, at the door of builds too."""
    for view in ("default", "beta"):
        page = nginx.home.mirror / "pages" / view / "viewed"
        page.mkdir(parents=True, exist_ok=True)
        (page / "index.json").write_text(view)
    nginx.home.mirror.chmod(0o755)
    for path, view in (("/pypi/simple/viewed/", "default"), ("/pypi/view/beta/simple/viewed/", "beta")):
        answer = nginx.get("localhost", path, headers={"Accept": PIP})
        assert (answer.status, answer.body.decode()) == (200, view)


def test_a_part_that_is_away(nginx: Nginx) -> None:
    """Every door says so, the API in JSON."""
    for path in ("/", "/git/x.git/info/refs", "/pypi/simple/", "/pypi/simple/x/", "/pypi/files/ab/x/y"):
        answer = nginx.get("localhost", path)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.body.startswith(b"platform/not-running")
    assert nginx.get("localhost", "/api/v1/apps").json["error"] == "platform/not-running"


def test_a_large_push_streams(nginx: Nginx) -> None:
    """A body without a length passes to the receiver while it is being sent; apps have a limit."""
    path = nginx.home.socket("receiver")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen()
        with socket.create_connection(("127.0.0.1", nginx.settings.port), timeout=20) as client:
            client.sendall(
                b"POST /git/a.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            client.sendall(b"5\r\nhello\r\n")
            listener.settimeout(20)
            upstream = listener.accept()[0]
            with upstream:
                upstream.settimeout(20)
                got = b""
                while b"hello" not in got:
                    got += upstream.recv(65536)
    path.unlink()
    nginx.applier.apply([nginx.instance("blog", 1)])
    answer = nginx.get(BLOG, method="POST", headers={"Content-Length": str(200 << 20)})
    assert (answer.status, answer.headers["x-dae-release"]) == (413, "v1")
