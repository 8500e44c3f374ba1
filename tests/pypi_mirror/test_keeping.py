"""What stays on the disk, and the administrators' verbs: the real command, the real API, a real mirror."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import flask
import pytest
from werkzeug.serving import make_server

from control import accounts
from control.http import _tell
from control.mirror_care_api import MirrorCare
from core.errors import DaeError
from core.paths import Home
from pypi_mirror import keeping
from pypi_mirror.publish import publish
from pypi_mirror.store import Store
from tests.control.ground import platform
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import JSON_TYPE, UpstreamModel

Start = Callable[..., MirrorProcess]


def place(home: Path, sha256: str, filename: str) -> Path:
    return Home(home).mirror / "files" / sha256[:2] / sha256 / filename


def fetched(mirror: MirrorProcess, upstream: UpstreamModel, name: str, padding: int = 0) -> tuple[str, str]:
    filename, sha256 = upstream.add(name, padding=padding)
    mirror.get(f"/pypi/simple/{name}/")
    assert mirror.get(file_url(sha256, filename)).status == 200
    return filename, sha256


def logged(path: str, *, when: datetime.datetime, upstream: str = "", size: int = 100, status: int = 200) -> str:
    """A line as nginx writes it (router/templates.py)."""
    fields = {"time": when.isoformat(timespec="seconds"), "path": path, "status": status, "bytes": size}
    return json.dumps({**fields, "upstream": upstream}, separators=(",", ":")) + "\n"


def test_eviction(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """The least recently used goes first, by nginx's log; what a lock names and what is our own stays; pages stay.

    What was removed is fetched again by who asks, and its metadata was never gone.
    """
    mirror = new_mirror(upstream.url)
    names = ("first", "second", "third", "pinned")
    files = {name: fetched(mirror, upstream, name, 10_000) for name in names}
    own = publish(Home(tmp_path), wheel(tmp_path, "ours"))
    home, store = Home(tmp_path), Store(Home(tmp_path))
    home.locks.mkdir()
    (home.locks / f"{'a' * 64}.txt").write_text(f"pinned==1.0 \\\n    --hash=sha256:{files['pinned'][1]}\n")
    home.logs.mkdir()
    log = home.logs / "nginx-access.log"
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    order = ("pinned", "second", "first", "third")
    for number, name in enumerate(order):
        filename, sha256 = files[name]
        with log.open("a") as stream:
            stream.write(logged(file_url(sha256, filename), when=soon + datetime.timedelta(minutes=number)))
    keeping.read_log(store, log)
    page = mirror.get("/pypi/simple/second/").body
    limit = sum(place(tmp_path, sha256, filename).stat().st_size for filename, sha256 in files.values()) - 1
    assert keeping.evict(store, home.locks, limit, dry=True)["files"] == [files["second"][0]]
    assert place(tmp_path, files["second"][1], files["second"][0]).exists()
    assert keeping.evict(store, home.locks, limit)["files"] == [files["second"][0]]
    assert keeping.evict(store, home.locks, 0)["files"] == [files["first"][0], files["third"][0]]
    assert place(tmp_path, files["pinned"][1], files["pinned"][0]).exists()
    assert place(tmp_path, own.sha256, own.filename).exists()
    assert mirror.get("/pypi/simple/second/").body == page
    filename, sha256 = files["second"]
    assert mirror.get(file_url(sha256, filename) + ".metadata").status == 200
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert upstream.counts[f"/up/{filename}"] == 2


def test_the_log_is_read_once(tmp_path: Path) -> None:
    """Lines count once, half a line later, a new log from its start; what is no line of ours counts for nothing."""
    store, log = Store(Home(tmp_path)), tmp_path / "access.log"
    assert keeping.read_log(store, log) == keeping.Counts()
    when = datetime.datetime.now(datetime.UTC)
    file = f"/pypi/files/ab/{'ab' * 32}/a-1.0.tar.gz"
    lines = [
        logged(file, when=when),
        logged(file, when=when, upstream="0.1"),
        logged("/pypi/simple/a/", when=when),
        logged("/pypi/view/beta/simple/a/", when=when, upstream="0.0"),
        logged(file, when=when, status=404),
        logged(f"/pypi/files/ab/{'ab' * 32}/..%2fx", when=when),
        '{"path":"/pypi/simple/","status":"x"\n',
        "\0\xff\n",
        '{"path":"/pypi/half',
    ]
    log.write_text("".join(lines))
    for _ in range(2):
        found = keeping.read_log(store, log)
        assert (found.page_hits, found.page_misses, found.file_hits, found.file_misses) == (1, 1, 2, 1)
    assert found.hit_rate == 3 / 5
    assert found.bytes_saved == 200
    with log.open("a") as stream:
        stream.write('/","status":200}\n' + logged("/pypi/simple/b/", when=when))
    assert keeping.read_log(store, log).page_hits == 2
    log.rename(tmp_path / "access.log.1")
    log.write_text(logged("/pypi/simple/c/", when=when))
    assert keeping.read_log(store, log).page_hits == 3


def test_records_that_were_lost(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Without its records a mirror makes them of its files: private projects stay private, upstream's are served."""
    mirror = new_mirror(upstream.url)
    filename, sha256 = fetched(mirror, upstream, "kept")
    upstream.add("ours", "99.0")
    own = publish(Home(tmp_path), wheel(tmp_path, "ours"))
    before = (Home(tmp_path).mirror / "private" / "ours.json").read_bytes()
    mirror.stop()
    for folder in ("projects", "private", "pages", "old"):
        shutil.rmtree(Home(tmp_path).mirror / folder)
    upstream.mood = "503"
    mirror.start()
    assert (Home(tmp_path).mirror / "private" / "ours.json").read_bytes() == before
    page = mirror.get("/pypi/simple/ours/").text
    assert own.filename in page
    assert "99.0" not in page
    assert filename in mirror.get("/pypi/simple/kept/").text
    assert mirror.get(file_url(sha256, filename)).status == 200
    upstream.mood = "ok"
    newer, _ = upstream.add("kept", "2.0")
    poll(lambda: newer in mirror.get("/pypi/simple/kept/").text)


@dataclass
class Desk:
    """An administrator's terminal."""

    mirror: MirrorProcess
    environ: dict[str, str]

    def dae(self, *words: str | Path, status: int = 0) -> tuple[str, str]:
        argv = [Path(sys.executable).with_name("dae"), "mirror", *words]
        done = subprocess.run(argv, env=self.environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout, done.stderr


@pytest.fixture
def desk(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> Iterator[Desk]:
    mirror = new_mirror(upstream.url)
    with platform(Home(tmp_path), tmp_path / "dae.db") as context:
        app = flask.Flask("control")
        app.register_error_handler(DaeError, _tell)
        MirrorCare(app, context).register()
        token = accounts.add_user(context.store, "ann", admin=True, who="mary")
        plain = accounts.add_user(context.store, "bob", admin=False, who="mary")
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DAE_URL": url, "DAE_CONFIG": str(tmp_path / "c")}
        yield Desk(mirror, {**environ, "DAE_TOKEN": token, "PLAIN": plain})
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_verbs(desk: Desk, tmp_path: Path, upstream: UpstreamModel) -> None:
    """status, search, warm, verify and evict tell and do what they say; each writes JSON, too."""
    filename, sha256 = upstream.add("warmed", "1.0")
    upstream.add("warmed", "2.0")
    upstream.add("other-one".replace("-", "_"))
    (tmp_path / "lock.txt").write_text(f"warmed==1.0 \\\n    --hash=sha256:{sha256}\n")
    (tmp_path / "plain.txt").write_text("warmed\n")
    assert json.loads(desk.dae("warm", "-r", tmp_path / "lock.txt", "--json")[0])["files"] == [filename]
    assert place(tmp_path, sha256, filename).is_file()
    assert json.loads(desk.dae("warm", "-r", tmp_path / "plain.txt", "--json")[0])["files"] == [
        "warmed-2.0-py3-none-any.whl"
    ]
    (tmp_path / "bad.txt").write_text("nowhere\n")
    assert "no index has a project nowhere" in desk.dae("warm", "-r", tmp_path / "bad.txt", status=1)[1]
    found = json.loads(desk.dae("search", "War", "--json")[0])
    assert found == [{"project": "warmed", "private": False, "newest": "2.0", "files": 2, "here": 2}]
    assert "warmed" in desk.dae("search", "war")[0]
    state = json.loads(desk.dae("status", "--json")[0])
    assert (state["files"], state["upstream"], state["policy"]["views"]) == (2, "answers", ["default"])
    assert "2 of upstream, 0 of our own" in desk.dae("status")[0]
    place(tmp_path, sha256, filename).write_bytes(b"rotten")
    answer, words = desk.dae("verify", "--json", status=1)
    assert json.loads(answer)["damaged"] == [{"file": filename, "sha256": sha256, "private": False}]
    assert "mirror/damaged: 1 of 2 files was damaged; 1 of upstream's removed" in words
    assert not place(tmp_path, sha256, filename).exists()
    page = json.loads(desk.mirror.get("/pypi/simple/warmed/", {"Accept": JSON_TYPE}).body)
    assert ["core-metadata" in file for file in page["files"]] == [False, True], "it is promised only when it is known"
    assert desk.mirror.get(file_url(sha256, filename)).status == 200
    nothing, words = desk.dae("search", "nobody")
    assert (nothing, "no project with nobody in its name" in words) == ("", True)
    assert json.loads(desk.dae("search", "nobody", "--json")[0]) == []
    assert "none of them damaged" in desk.dae("verify")[1]
    assert json.loads(desk.dae("evict", "--bytes", "0", "--dry-run", "--json")[0])["files"]
    for size, number in (("5GB", 5 * 10**9), ("1.5 MB", 1_500_000), ("2KiB", 2048), ("1000000", 10**6)):
        assert json.loads(desk.dae("evict", "--bytes", size, "--dry-run", "--json")[0])["limit"] == number
    assert "no size" in desk.dae("evict", "--bytes", "much", status=2)[1]
    assert place(tmp_path, sha256, filename).exists()
    assert "2 files less" in desk.dae("evict", "--bytes", "0")[1]
    assert not place(tmp_path, sha256, filename).exists()
    assert "mirror_bytes" in desk.dae("evict", status=1)[1]


def test_the_verbs_of_the_policy(desk: Desk, tmp_path: Path, upstream: UpstreamModel) -> None:
    """check says what is wrong with a file, and what it would refuse; approve lets through; show shows both."""
    filename, sha256 = fetched(desk.mirror, upstream, "held")
    (tmp_path / "new.toml").write_text("[[rule]]\naction = 'dney'\n")
    assert "rule 1: action is none of allow, deny" in desk.dae("policy", "check", tmp_path / "new.toml", status=1)[1]
    (tmp_path / "new.toml").write_text("quarantine = ['h*']\n")
    refused = json.loads(desk.dae("policy", "check", tmp_path / "new.toml", "--json")[0])["refused"]
    assert [(row["view"], row["file"], row["rule"]) for row in refused] == [("default", filename, "quarantine")]
    (tmp_path / "new.toml").rename(tmp_path / "mirror-policy.toml")
    poll(lambda: desk.mirror.get(file_url(sha256, filename)).status == 403)
    assert "held 1.0 may come" in desk.dae("policy", "approve", "Held", "1.0")[1]
    poll(lambda: desk.mirror.get(file_url(sha256, filename)).status == 200)
    words = desk.dae("policy")[0]
    assert "quarantine = ['h*']" in words
    assert "# approved: held 1.0 by ann, 20" in words
    shown = json.loads(desk.dae("policy", "show", "--json")[0])
    assert shown["approved"] == {"held": ["1.0"]}
    assert [(one["project"], one["version"], one["by"]) for one in shown["approvals"]] == [("held", "1.0", "ann")]
    assert "is no version" in desk.dae("policy", "approve", "held", "one", status=1)[1]
    desk.dae("policy", "approve", "held", "*")
    assert json.loads(desk.dae("policy", "revoke", "held", "1.0", "--json")[0]) == {"project": "held", "version": "1.0"}
    assert "approved of it is *" in desk.dae("policy", "revoke", "held", "1.0", status=1)[1]
    assert desk.mirror.get(file_url(sha256, filename)).status == 200
    assert "not approved any more" in desk.dae("policy", "revoke", "held", "*")[1]
    poll(lambda: desk.mirror.get(file_url(sha256, filename)).status == 403)
    assert "# approved" not in desk.dae("policy")[0]
    for verb in (("warm", "-r"), ("policy", "check")):
        for path, what in ((tmp_path, "is a directory"), (tmp_path / "none", "no such file or directory")):
            said = desk.dae(*verb, path, status=1)[1]
            assert what in said
            assert "Errno" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("search", "x"),
        ("verify",),
        ("evict",),
        ("policy",),
        ("policy", "approve", "a", "1"),
        ("policy", "revoke", "a", "1"),
    ],
)
def test_they_are_for_administrators(desk: Desk, words: tuple[str, ...]) -> None:
    """Another user may do none of it."""
    desk.environ["DAE_TOKEN"] = desk.environ["PLAIN"]
    assert "auth/forbidden" in desk.dae(*words, status=1)[1]


def test_nginx_may_enter(tmp_path: Path) -> None:
    """Whatever the umask is of who comes first: nginx's workers, in the folder's group, reach what they serve."""
    before = os.umask(0o077)
    try:
        store = Store(Home(tmp_path))
    finally:
        os.umask(before)
    for place in ("files", "held", "pages", "pages/default", "old", "old/default"):
        assert (store.root / place).stat().st_mode & 0o777 == 0o750, place
