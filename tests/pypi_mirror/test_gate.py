"""The policy in a mirror that runs: pages, files, views, what people are told, and changes while it runs."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import mirror_door
from core.errors import DaeError
from core.paths import Home
from pypi_mirror import gate
from pypi_mirror.approvals import approve
from pypi_mirror.publish import publish
from tests.pypi_mirror.clients import UV
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

Start = Callable[..., MirrorProcess]
STABLE = "/pypi/view/stable"


def write(home: Path, text: str) -> None:
    """The operator's file, renamed into place as an editor does."""
    fresh = home / "policy.new"
    fresh.write_text(text)
    fresh.rename(home / "mirror-policy.toml")


def ago(**span: float) -> str:
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(**span)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def offer(upstream: UpstreamModel, name: str, version: str, uploaded: str) -> tuple[str, str]:
    filename, body = f"{name}-{version}-py3-none-any.whl", build_wheel(name, version)
    return upstream.add_file(name, filename, body, **{"upload-time": uploaded})


def in_view(sha256: str, filename: str, view: str = STABLE) -> str:
    return file_url(sha256, filename).replace("/pypi", view, 1)


def test_a_denied_version(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """It is on no page, its address is 403 with the rule and what to do; the other version is served."""
    bad, bad_sha = upstream.add("shop", "1.0")
    good, good_sha = upstream.add("shop", "2.0")
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'shop'\nversion = '<2'\nreason = 'it has a hole'\n")
    mirror = new_mirror(upstream.url)
    assert f"{bad} is not let through (rule 1)" in mirror.get("/pypi/simple/shop/?why=1").text  # the first to ask
    assert mirror.get("/pypi/simple/no-shop/?why=1").text.startswith("mirror/unknown-project")
    page = mirror.get("/pypi/simple/shop/", {"Accept": "application/vnd.pypi.simple.v1+json"}).text
    assert bad not in page
    assert good in page
    assert f"{bad} is not let through (rule 1): it has a hole" in mirror.get("/pypi/simple/shop/").text
    answer = mirror.get(file_url(bad_sha, bad))
    assert (answer.status, answer.text.split(":")[0]) == (403, "mirror/refused")
    assert "it has a hole" in answer.text
    assert mirror.get(file_url(good_sha, good)).status == 200
    assert upstream.counts[f"/up/{bad}"] == 0


def test_a_policy_that_changes(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A file that is here is put out of nginx's reach when the policy hides it, and comes back with the next change."""
    filename, sha256 = upstream.add("turn")
    mirror = new_mirror(upstream.url)
    place = Home(tmp_path).mirror / "files" / sha256[:2] / sha256 / filename
    page = Home(tmp_path).mirror / "pages" / "default" / "turn" / "index.html"
    assert mirror.get("/pypi/simple/turn/").status == 200
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert place.is_file() and page.is_file()
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'turn'\n")
    poll(lambda: not place.exists() and not page.exists())
    assert mirror.get(file_url(sha256, filename)).status == 403
    assert "href" not in mirror.get("/pypi/simple/turn/").text
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'other'\n")
    poll(place.exists)
    poll(lambda: "href" in mirror.get("/pypi/simple/turn/").text)
    assert upstream.counts[f"/up/{filename}"] == 1


def test_views(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A view has pages and files of its own: what it refuses the default shows, and the other way round."""
    young, young_sha = offer(upstream, "viewed", "2.0", ago(days=1))
    old, old_sha = offer(upstream, "viewed", "1.0", ago(days=100))
    write(
        tmp_path,
        "[[rule]]\naction = 'deny'\nname = 'viewed'\nversion = '==1.0'\n"
        "[view.stable]\ncooldown_days = 7\n[[view.stable.rule]]\naction = 'allow'\n",
    )
    mirror = new_mirror(upstream.url)
    for view, seen, hidden in (("/pypi", young, old), (STABLE, old, young)):
        text = mirror.get(f"{view}/simple/viewed/").text
        assert f">{seen}<" in text
        assert f">{hidden}<" not in text
    assert mirror.get(in_view(old_sha, old)).status == 200
    assert mirror.get(file_url(old_sha, old)).status == 403, "fetched for one view, it is not served to the other"
    assert not (Home(tmp_path).mirror / "files" / old_sha[:2] / old_sha / old).exists()
    assert mirror.get(in_view(young_sha, young)).status == 403
    assert mirror.get(file_url(young_sha, young)).status == 200
    assert mirror.get(in_view(young_sha, young)).status == 403
    mirror.get(f"{STABLE}/simple/viewed/")
    assert (Home(tmp_path).mirror / "pages" / "stable" / "viewed" / "index.json.gz").is_file(), "nginx serves it"
    assert mirror.get("/pypi/view/nobody/simple/viewed/").status == 404
    assert mirror.get("/pypi/view/stable/simple/Viewed").headers["Location"] == f"{STABLE}/simple/viewed/"


def test_what_is_installed_is_held_against_a_view(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Of files that are installed already those are named that the view refuses now, and what to do; ours never are."""
    old, old_sha = offer(upstream, "made", "1.0", ago(days=100))
    young, young_sha = offer(upstream, "made", "2.0", ago(days=1))
    gone = ("gone", "gone-1.0.tar.gz", "a" * 64)  # no index names it any more
    write(
        tmp_path,
        "[view.beta]\n[[view.stable.rule]]\naction = 'deny'\nname = ['gone', 'acme-pay']\nreason = 'ask Ann'\n"
        "[view.later]\ncooldown_days = 7\n",
    )
    home = Home(new_mirror(upstream.url).home)
    publish(home, wheel(tmp_path, "acme_pay", "1.0"))
    own = ("acme-pay", "acme_pay-1.0-py3-none-any.whl", "b" * 64)
    asked = [("made", old, old_sha), ("made", young, young_sha), gone, own]
    assert mirror_door.refusals(home, "beta", asked) == []
    (denied,) = mirror_door.refusals(home, "stable", asked)
    assert denied["cause"] == "gone-1.0.tar.gz is not let through (view.stable.rule 1): ask Ann"
    assert "ask whoever runs the index" in denied["advice"]
    waiting, unknown = mirror_door.refusals(home, "later", asked)
    assert waiting["cause"].startswith(f"{young} is not let through (cooldown): it was uploaded at")
    assert "gone-1.0.tar.gz is not let through (cooldown): upstream does not say when" in unknown["cause"]
    with pytest.raises(DaeError, match="mirror/unknown-view"):
        mirror_door.refusals(home, "dev", asked)


def test_a_cooldown_that_ends(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A release is shown as soon as its time has come, with nobody asking upstream again."""
    filename, sha256 = offer(upstream, "young", "1.0", ago(seconds=80))
    write(tmp_path, f"cooldown_days = {84 / 86400}\n")
    mirror = new_mirror(upstream.url)
    assert "wait until" in mirror.get("/pypi/simple/young/").text
    assert mirror.get(file_url(sha256, filename)).status == 403
    poll(lambda: "href" in mirror.get("/pypi/simple/young/").text)
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert upstream.counts["/simple/young/"] == 1


def test_an_upstream_without_times(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Where upstream does not say when a file was uploaded, a cool-down lets nothing through but what is exempt."""
    for name in ("dateless", "exempt"):
        sha256 = "0" * 64
        upstream.html[name] = f'<a href="../../up/{name}-1.0.tar.gz#sha256={sha256}">x</a>'
    write(tmp_path, "cooldown_days = 1\ncooldown_exempt = ['exempt']\n")
    mirror = new_mirror(upstream.url)
    assert "does not say when" in mirror.get("/pypi/simple/dateless/").text
    assert "href" in mirror.get("/pypi/simple/exempt/").text


def test_licenses(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A license that nobody may have is seen when the file has come: it is refused from the first request on."""
    body = build_wheel("free", "1.0", requires="").replace(b"Name: free", b"Name: free")
    filename, sha256 = upstream.add_file("free", "free-1.0-py3-none-any.whl", _licensed(body, "AGPL-3.0-only"))
    write(tmp_path, "[[rule]]\naction = 'deny'\nlicense = 'AGPL*'\n")
    mirror = new_mirror(upstream.url)
    assert "href" in mirror.get("/pypi/simple/free/").text
    assert mirror.get(file_url(sha256, filename)).status == 403
    assert "href" not in mirror.get("/pypi/simple/free/").text
    assert not (Home(tmp_path).mirror / "files" / sha256[:2] / sha256 / filename).exists()


def _licensed(body: bytes, expression: str) -> bytes:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            text = old.read(entry)
            if entry.filename.endswith("METADATA"):
                text = text.rstrip() + f"\nLicense-Expression: {expression}\n".encode()
            new.writestr(entry, text)
    return stream.getvalue()


def test_vulnerabilities(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A document that is dropped in blocks what it names, and says which id and version; taken away it does not."""
    filename, sha256 = upstream.add("holey", "1.0")
    mirror = new_mirror(upstream.url)
    folder = tmp_path / "mirror-advisories"
    folder.mkdir()
    document = {
        "id": "PYSEC-9",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "holey"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
            }
        ],
    }
    (folder / "a.json").write_text(json.dumps(document))
    poll(lambda: "PYSEC-9: fixed in 1.1" in mirror.get("/pypi/simple/holey/").text)
    assert mirror.get(file_url(sha256, filename)).status == 403
    (folder / "b.json").write_text("{")
    poll(lambda: "b.json is not JSON" in mirror.get("/mirror/status").text)
    assert mirror.get(file_url(sha256, filename)).status == 403, "what can be read still holds"
    (folder / "a.json").write_text("{")
    poll(lambda: "a.json is not JSON" in mirror.get("/mirror/status").text)
    assert mirror.get(file_url(sha256, filename)).status == 403, "as it was when it could be read"
    (folder / "a.json").unlink()
    poll(lambda: mirror.get(file_url(sha256, filename)).status == 200)


def test_quarantine(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """What waits for approval is refused with the command to type, and served once it is approved."""
    filename, sha256 = upstream.add("waits", "1.0")
    write(tmp_path, "quarantine = ['*']\n")
    mirror = new_mirror(upstream.url)
    assert "dae mirror policy approve waits 1.0" in mirror.get("/pypi/simple/waits/").text
    approve(Home(tmp_path).mirror, "waits", "1.0")
    poll(lambda: mirror.get(file_url(sha256, filename)).status == 200)


def test_a_bad_file_keeps_the_last_good_one(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A text that cannot be read changes nothing, also after a restart; it is said, and the mended one holds."""
    filename, sha256 = upstream.add("steady")
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'steady'\n")
    mirror = new_mirror(upstream.url)
    assert mirror.get("/pypi/simple/steady/").status == 200
    write(tmp_path, "[[rule]]\naction = 'denny'\n")
    poll(lambda: "rule 1: action" in mirror.get("/mirror/status").text)
    for restart in (False, True):
        if restart:
            mirror.stop()
            mirror.start()
        assert mirror.get(file_url(sha256, filename)).status == 403
        assert json.loads(mirror.get("/mirror/status").text)["policy"]["in_force"]
    assert "rule 1: action" in mirror.log.read_text()
    write(tmp_path, "")
    poll(lambda: mirror.get(file_url(sha256, filename)).status == 200)


def test_a_first_start_with_a_bad_file(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Without a good policy nothing is served but 503 with the reason; what an older mirror left is put aside."""
    filename, sha256 = upstream.add("early")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/early/")
    assert mirror.get(file_url(sha256, filename)).status == 200
    mirror.stop()
    (Home(tmp_path).mirror / "policy.toml").unlink()  # as of a mirror that knew no policy
    write(tmp_path, "what")
    mirror.start(ready=503)
    for path in ("/pypi/simple/", "/pypi/simple/early/", file_url(sha256, filename), STABLE + "/simple/early/"):
        answer = mirror.get(path)
        assert (answer.status, answer.text.split(":")[0]) == (503, "mirror/bad-policy"), path
        assert "mirror-policy.toml" in answer.text
        assert str(tmp_path) not in answer.text, "where the platform's files are is nobody's business"
    assert not (Home(tmp_path).mirror / "files" / sha256[:2] / sha256 / filename).exists()
    assert not (Home(tmp_path).mirror / "pages" / "default" / "early").exists()
    write(tmp_path, "")
    poll(lambda: mirror.get(file_url(sha256, filename)).status == 200)


# Dependency confusion: somebody publishes a private name upstream, with a higher version.


def client(tmp_path: Path, which: str, index: str, name: str) -> tuple[int, str]:
    environ: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
    }
    put = tempfile.mkdtemp(dir=tmp_path)
    commands: dict[str, list[str | Path]] = {
        "pip": [sys.executable, "-I", "-m", "pip", "--isolated", "--retries", "0", "--no-cache-dir", "download"],
        "uv": [UV, "pip", "install", "--no-cache", "--python", sys.executable, "--target", put],
    }
    argv = commands[which]
    if which == "pip":
        argv += ["--no-deps", "-d", put]
    argv += ["--index-url", index, name]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def evil(upstream: UpstreamModel) -> None:
    upstream.add("acme-pay".replace("-", "_"), "99.0")
    upstream.pages["acme-pay"] = {**upstream.pages.pop("acme_pay"), "name": "acme-pay"}


@pytest.mark.parametrize("which", ["pip", "uv"])
def test_a_higher_version_upstream(which: str, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Attack: a private name is taken from us, in an outage of upstream too; upstream is never asked for it."""
    evil(upstream)
    mirror = new_mirror(upstream.url, ttl=0)
    publish(Home(mirror.home), wheel(tmp_path, "acme_pay", "1.0"))
    for mood in ("ok", "503"):
        upstream.mood = mood
        status, words = client(tmp_path, which, mirror.index, "acme-pay")
        assert status == 0, words
        assert "99.0" not in words
    assert not [path for path in upstream.counts if "acme" in path]


@pytest.mark.parametrize("which", ["pip", "uv"])
def test_a_private_name_that_is_gone(which: str, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Attack: with its name under 'private', a project that was deleted, or never published, fails safely."""
    evil(upstream)
    write(tmp_path, "private = ['acme-*']\n")
    mirror = new_mirror(upstream.url, ttl=0)
    publish(Home(mirror.home), wheel(tmp_path, "acme_pay", "1.0"))
    assert client(tmp_path, which, mirror.index, "acme-pay")[0] == 0
    (Home(mirror.home).mirror / "private" / "acme-pay.json").unlink()
    for mood in ("ok", "503"):
        upstream.mood = mood
        status, words = client(tmp_path, which, mirror.index, "acme-pay")
        assert status != 0
        assert "99.0" not in words
    answer = mirror.get("/pypi/simple/acme-pay/")
    assert (answer.status, answer.text.split(":")[0]) == (403, "mirror/refused")
    assert not [path for path in upstream.counts if "acme" in path]


@pytest.mark.parametrize("which", ["pip", "uv"])
def test_a_private_project_without_files(
    which: str, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start
) -> None:
    """Attack: a project whose files were all deleted keeps its name, also without a word in the policy."""
    from pypi_mirror.model import Project
    from pypi_mirror.store import Store

    evil(upstream)
    mirror = new_mirror(upstream.url, ttl=0)
    publish(Home(mirror.home), wheel(tmp_path, "acme_pay", "1.0"))
    store = Store(Home(mirror.home))
    with store.locked():
        store.save_private(Project("acme-pay"))
    status, words = client(tmp_path, which, mirror.index, "acme-pay")
    assert status != 0
    assert "99.0" not in words
    assert not [path for path in upstream.counts if "acme" in path]


@pytest.mark.parametrize("which", ["pip", "uv"])
def test_a_person_sees_why(which: str, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """pip and uv that come with a file's address say that it is refused, and why."""
    filename, sha256 = upstream.add("refused")
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'refused'\nreason = 'ask Ann first'\n")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/refused/")
    url = f"http://127.0.0.1:{mirror.port}{file_url(sha256, filename)}"
    status, words = client(tmp_path, which, mirror.index, f"refused @ {url}")
    assert status != 0
    assert "403" in words
    assert "ask Ann first" in words, words


def test_a_policy_that_changed_while_the_mirror_was_away(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Start
) -> None:
    """What was killed, or stopped, holds the files against the new policy before it answers anybody."""
    filename, sha256 = upstream.add("away")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/away/")
    mirror.get(file_url(sha256, filename))
    mirror.stop()
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'away'\n")
    mirror.start()
    assert not (Home(tmp_path).mirror / "files" / sha256[:2] / sha256 / filename).exists()
    assert not (Home(tmp_path).mirror / "pages" / "default" / "away").exists()
    assert mirror.get(file_url(sha256, filename)).status == 403


def test_a_guessed_address_of_a_private_name(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Attack: who guesses the address of upstream's file gets nothing, and upstream does not hear the name."""
    evil(upstream)
    entry = upstream.pages["acme-pay"]["files"][0]
    write(tmp_path, "private = ['acme-*']\n")
    mirror = new_mirror(upstream.url)
    assert mirror.get(file_url(entry["hashes"]["sha256"], entry["filename"])).status == 403
    assert mirror.get(file_url("0" * 64, "acme-pay-99.0.tar.gz")).status == 403
    assert not [path for path in upstream.counts if "acme-pay" in path]


@pytest.mark.parametrize("which", ["pip", "uv"])
def test_clients_of_a_view(which: str, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """pip and uv install from a view, and get the newest version that it shows."""
    upstream.add("tool", "1.0")
    upstream.add("tool", "2.0")
    write(tmp_path, "[view.stable]\n[[view.stable.rule]]\naction = 'deny'\nversion = '>=2'\n")
    mirror = new_mirror(upstream.url)
    for view, version in (("", "2.0"), ("view/stable/", "1.0")):
        index = mirror.index.replace("simple/", f"{view}simple/")
        status, words = client(tmp_path, which, index, "tool")
        assert status == 0, words
        assert version in words


def test_a_view_that_changes(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """What changes for one view alone takes its pages away from nginx, too; a view that goes is there no more."""
    filename, _ = upstream.add("apart")
    write(tmp_path, "[view.stable]\n")
    mirror = new_mirror(upstream.url)
    page = Home(tmp_path).mirror / "pages" / "stable" / "apart"
    # What became known of a file in the background takes a page away once more, until it is asked for.
    poll(lambda: filename in mirror.get(f"{STABLE}/simple/apart/").text and page.is_dir())
    write(tmp_path, "[view.stable]\n[[view.stable.rule]]\naction = 'deny'\nname = 'apart'\n")
    poll(lambda: not page.exists())
    poll(lambda: "rule 1" in mirror.get(f"{STABLE}/simple/apart/").text and page.is_dir())
    assert "href" in mirror.get("/pypi/simple/apart/").text
    write(tmp_path, "")
    poll(lambda: mirror.get(f"{STABLE}/simple/apart/").status == 404)
    poll(lambda: not page.exists())


def test_a_change_that_could_not_be_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is applied once more: else what the policy hides would be served until the next change."""
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.02)
    tried: list[int] = []

    class Once(gate.Gate):
        def apply(self) -> None:
            tried.append(1)
            if len(tried) == 2:
                raise OSError("no room for a moment")

    changes = iter([True])
    rulebook = cast(Any, SimpleNamespace(load=lambda: next(changes, False), reserved=lambda *_: False))
    Once(rulebook, cast(Any, SimpleNamespace(store=None))).watch()
    poll(lambda: len(tried) == 3)
    time.sleep(0.1)
    assert len(tried) == 3
