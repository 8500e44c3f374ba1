"""The program that fetches what is required by its address, against a real git server and a file server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpacks.direct import Source
from control.fetch import Order
from core.errors import DaeError
from tests.blackbox.code_host import CodeHost, git


@pytest.fixture
def host(tmp_path: Path) -> Iterator[CodeHost]:
    made = CodeHost(tmp_path / "host")
    yield made
    made.close()


def carry_out(folder: Path, host: CodeHost, *sources: Source, **other: Any) -> tuple[int, dict[str, Any]]:
    """Have the sources fetched to ``folder``; ``entries`` name what is allowed, by default all that the host has."""
    fields = {
        "home": str(folder / "home"),
        "sources": sources,
        "entries": (f"{host.url}/team/", f"git+{host.url}/team/"),
        "seconds": 30,
        "max_bytes": 1 << 20,
        "max_files": 100,
    }
    folder.mkdir()
    (folder / "order.json").write_bytes(Order(**{**fields, **other}).to_json())
    command = [sys.executable, "-I", "-m", "control.fetch", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd="/", umask=0o022)
    assert ran.stderr == ""
    return ran.returncode, json.loads((folder / "result.json").read_text())


def refused(folder: Path, host: CodeHost, source: Source, **other: Any) -> DaeError:
    status, result = carry_out(folder, host, source, **other)
    assert status == 1
    return DaeError.from_json(result)


def repo(host: CodeHost, name: str) -> str:
    return f"{host.url}/team/{name}.git"


def test_a_commit_byte_for_byte(host: CodeHost, tmp_path: Path) -> None:
    """No attribute, filter or hook changes what is there; the hash is the same wherever it is fetched."""
    files = {".gitattributes": "*.txt filter=evil export-ignore eol=crlf ident\n", "a.txt": "$Id$\n", "d/b.py": "x\n"}
    commit = host.commit("plain", files, {"link": "d/b.py"})
    host.commit("plain", {"a.txt": "later\n"})
    found = []
    for name in ("one", "two"):
        status, result = carry_out(tmp_path / name, host, Source(repo(host, "plain"), commit))
        assert status == 0, result
        tree = tmp_path / name / "0" / "tree"
        assert {path: (tree / path).read_text() for path in files} == files
        assert (tree / "link").readlink() == Path("d/b.py")
        assert not (tree / ".git").exists()
        found.append(result["sha256"])
    assert found[0] == found[1]
    status, other = carry_out(tmp_path / "sub", host, Source(repo(host, "plain"), commit, "d"))
    assert (status, other["sha256"] != found[0]) == (0, True)


def test_what_a_repository_may_not_hold(host: CodeHost, tmp_path: Path) -> None:
    """Links that lead out, submodules, folders that are not there, too many files and too many bytes are refused."""
    out = host.commit("out", {"a": "a"}, {"link": "../../../etc/passwd"})
    error = refused(tmp_path / "a", host, Source(repo(host, "out"), out))
    assert (error.code, "outside the commit" in error.cause) == ("build/bad-source", True)
    many = host.commit("many", {f"f{number}": "x" for number in range(200)})
    assert "more than 100 files" in refused(tmp_path / "b", host, Source(repo(host, "many"), many)).cause
    large = host.commit("large", {"zeros": "0" * (2 << 20)})  # a small pack, and a large file
    assert refused(tmp_path / "c", host, Source(repo(host, "large"), large)).code == "build/bad-source"
    noise = host.commit("noise", {"noise": os.urandom(2 << 20).hex()})
    assert "larger than" in refused(tmp_path / "d", host, Source(repo(host, "noise"), noise)).cause
    error = refused(tmp_path / "e", host, Source(repo(host, "many"), many, "gone"), max_files=999)
    assert "no folder gone" in error.cause
    sub = host.folder / "out.work"
    git(sub, "update-index", "--add", "--cacheinfo", f"160000,{many},vendored")
    git(sub, "rm", "--quiet", "--cached", "link")
    git(sub, "commit", "--quiet", "-m", "a submodule")
    git(sub, "push", "--quiet", str(host.folder / "team" / "out.git"), "main")
    head = git(sub, "rev-parse", "HEAD")
    error = refused(tmp_path / "f", host, Source(repo(host, "out"), head))
    assert (error.code, "submodule" in error.cause) == ("build/bad-source", True)


def test_a_commit_that_is_not_there(host: CodeHost, tmp_path: Path) -> None:
    """An unknown commit is the requirement's fault, a server without an answer is not."""
    host.commit("plain", {"a": "a"})
    error = refused(tmp_path / "a", host, Source(repo(host, "plain"), "1" * 40))
    assert (error.code, "does not have that commit" in error.cause) == ("build/bad-source", True)
    assert refused(tmp_path / "b", host, Source(repo(host, "gone"), "1" * 40)).code == "build/source-unavailable"
    assert refused(tmp_path / "c", host, Source(f"{host.url}/team/a.whl")).code == "build/source-unavailable"


def test_redirects(host: CodeHost, tmp_path: Path) -> None:
    """A file may move within what is allowed, and nowhere else; a repository not at all."""
    host.files["/team/new.whl"] = host.files["/other/x.whl"] = b"content"
    host.redirects |= {"/team/old.whl": "new.whl", "/team/out.whl": f"{host.url}/other/x.whl"}
    host.redirects |= {"/team/up.whl": "../other/x.whl", "/team/dots.whl": f"{host.url}/team/%2e%2e/other/x.whl"}
    host.redirects |= {"/team/file.whl": "file:///etc/passwd", "/team/loop.whl": "loop.whl"}
    status, result = carry_out(tmp_path / "a", host, Source(f"{host.url}/team/old.whl"))
    assert (status, result) == (0, {"sha256": [hashlib.sha256(b"content").hexdigest()]})
    for name in ("out", "up", "dots", "file"):
        error = refused(tmp_path / name, host, Source(f"{host.url}/team/{name}.whl"))
        assert (error.code, "redirects to" in error.cause) == ("build/bad-source", True), error
    assert "more than 5 times" in refused(tmp_path / "loop", host, Source(f"{host.url}/team/loop.whl")).cause
    commit = host.commit("plain", {"a": "a"})
    host.redirects["/team/moved.git"] = repo(host, "plain")
    host.redirects["/team/moved.git/info/refs"] = repo(host, "plain") + "/info/refs?service=git-upload-pack"
    error = refused(tmp_path / "git", host, Source(repo(host, "moved"), commit))
    assert (error.code, "redirects" in error.cause) == ("build/bad-source", True), error
    assert not [path for path, _who in host.asked if path.startswith("/other/")]


def test_nothing_but_what_is_allowed_is_asked(host: CodeHost, tmp_path: Path) -> None:
    """The program looks itself, whatever looked before it: at folders, at hosts, and at git or not."""
    host.files["/teamster/x.whl"] = b"content"
    for number, url in enumerate((f"{host.url}/teamster/x.whl", "http://127.0.0.2:1/team/x.whl")):
        assert refused(tmp_path / str(number), host, Source(url)).code == "build/bad-source"
    only_files = {"entries": (f"{host.url}/team/",)}
    assert refused(tmp_path / "g", host, Source(repo(host, "plain"), "1" * 40), **only_files).code == "build/bad-source"
    assert host.asked == []


def test_credentials_go_where_they_belong(host: CodeHost, tmp_path: Path) -> None:
    """They are sent below their own entry, to files and to git, and not after a redirect to another one."""
    secret = host.url.replace("//", "//me:s%40cret@")
    commit = host.commit("plain", {"a": "a"})
    host.files["/open/x.whl"] = b"content"
    host.redirects["/team/x.whl"] = f"{host.url}/open/x.whl"
    entries = (f"{secret}/team/", f"git+{secret}/team/", f"{host.url}/open/")
    sources = (Source(f"{host.url}/team/x.whl"), Source(repo(host, "plain"), commit))
    status, result = carry_out(tmp_path / "a", host, *sources, entries=entries)
    assert status == 0, result
    sent = dict(host.asked)
    assert sent["/team/x.whl"] == "Basic bWU6c0BjcmV0"
    assert sent["/open/x.whl"] == ""
    assert sent["/team/plain.git/git-upload-pack"] == "Basic bWU6c0BjcmV0"


def test_bounds_of_bytes_and_time(host: CodeHost, tmp_path: Path) -> None:
    """What is too large is given up, and so is a server that does not answer."""
    host.files["/team/large.whl"] = b"x" * (2 << 20)
    assert "larger than 1024 KiB" in refused(tmp_path / "a", host, Source(f"{host.url}/team/large.whl")).cause
    hang = {"entries": (f"{host.url}/hang/", f"git+{host.url}/hang/"), "seconds": 1}
    for number, source in enumerate((Source(f"{host.url}/hang/x.whl"), Source(f"{host.url}/hang/x.git", "1" * 40))):
        error = refused(tmp_path / str(number), host, source, **hang)
        assert (error.code, "within 1 s" in error.cause) == ("build/source-unavailable", True), error
