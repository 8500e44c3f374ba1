"""The door: who gets in, what exists, what is spoken."""

import base64
import gzip
import http.client
from collections.abc import Mapping

import pytest

from receiver.packets import packet
from tests.receiver.conftest import Platform

V2_LIST = packet(b"command=ls-refs\n") + b"0001" + packet(b"ref-prefix refs/heads/\n") + b"0000"
UPLOAD_TYPE = "application/x-git-upload-pack-request"


def ask(
    platform: Platform,
    path: str,
    method: str = "GET",
    user: str = "ann",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=20)
    login = base64.b64encode(f"{user}:{platform.tokens.get(user, 'wrong')}".encode()).decode()
    sent = {"Authorization": f"Basic {login}", **(headers or {})} if user else dict(headers or {})
    connection.request(method, path, body, {key: value for key, value in sent.items() if value})
    response = connection.getresponse()
    text = response.read().decode(errors="replace")
    connection.close()
    return response.status, text, response.headers


def test_without_a_token_there_is_nothing(platform: Platform) -> None:
    """401 and the realm, for what exists, what does not, and what never could."""
    platform.app("door")
    for path in ("door.git/info/refs?service=git-upload-pack", "none.git/git-upload-pack", "../../etc/passwd", ""):
        for user in ("", "stranger"):
            status, text, headers = ask(platform, f"/git/{path}", user=user)
            assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="DAE"')
            assert text.startswith("auth/required: ")


def test_git_without_a_good_token_is_told_so(platform: Platform) -> None:
    """A token that is not known fails before anything is sent."""
    repository = platform.app("wrong")
    clone = platform.clone("wrong")
    clone.commit()
    clone.git("remote", "set-url", "dae", platform.url("wrong", token="dae_wrong"))
    done = clone.push()
    assert done.returncode != 0
    assert "Authentication failed" in done.stderr
    assert repository.ref("refs/heads/master") is None


def test_bearer_is_taken_as_well(platform: Platform) -> None:
    """The token alone is enough (RFC 6750)."""
    platform.app("bearer")
    headers = {"Authorization": f"Bearer {platform.tokens['ann']}"}
    path = "/git/bearer.git/info/refs?service=git-upload-pack"
    assert ask(platform, path, user="", headers=headers)[0] == 200


def test_another_users_app_is_forbidden(platform: Platform) -> None:
    """Neither reading nor pushing; the client shows the reason."""
    repository = platform.app("private")
    clone = platform.clone("private", user="bob")
    clone.commit()
    for done in (clone.push(), clone.run("fetch", "dae")):
        assert done.returncode != 0
        assert "403" in done.stderr
        assert "auth/forbidden: private is not an app of bob" in done.stderr
    assert repository.ref("refs/heads/master") is None


@pytest.mark.parametrize(
    "path",
    [
        "nosuch.git/info/refs?service=git-upload-pack",
        "paths/info/refs?service=git-upload-pack",
        "paths.git/../paths.git/info/refs?service=git-upload-pack",
        "../git/paths.git/info/refs?service=git-upload-pack",
        "%2e%2e/git/paths.git/info/refs?service=git-upload-pack",
        "paths%00.git/info/refs?service=git-upload-pack",
        "paths.git%0a/info/refs?service=git-upload-pack",
        "Paths.git/info/refs?service=git-upload-pack",
        "-x.git/info/refs?service=git-upload-pack",
        "paths-.git/info/refs?service=git-upload-pack",
        "p%C3%A4ths.git/info/refs?service=git-upload-pack",
        "paths.git//info/refs?service=git-upload-pack",
        "paths.git/info/refs/?service=git-upload-pack",
        "paths.git/HEAD",
        "paths.git/config",
        "paths.git/objects/info/packs",
        "paths.git/dae-push.lock",
        "paths.git/git-upload-archive",
        "a" * 31 + ".git/info/refs?service=git-upload-pack",
        "a" * 3000,
    ],
)
def test_hostile_and_unknown_paths_are_answered_alike(platform: Platform, path: str) -> None:
    """404 and the same words, so that nothing is learnt from the difference."""
    if not (platform.home.repos / "paths.git").exists():
        platform.app("paths")
    status, text, _headers = ask(platform, f"/git/{path}")
    assert (status, text) == (404, "repo/unknown: there is no repository of yours at this address -- see: dae apps\n")


def test_an_app_without_repository_is_unknown(platform: Platform) -> None:
    """It is being created or removed."""
    platform.app("bare").destroy()
    assert ask(platform, "/git/bare.git/info/refs?service=git-upload-pack")[0] == 404


@pytest.mark.parametrize(
    "query", ["", "?service=git-upload-archive", "?service=git-upload-pack&x=1", "?x=1", "?service=", "?service=../sh"]
)
def test_only_the_smart_protocol_is_spoken(platform: Platform, query: str) -> None:
    """The dumb one, and any service but the two, is refused with a sentence."""
    if not (platform.home.repos / "smart.git").exists():
        platform.app("smart")
    status, text, headers = ask(platform, "/git/smart.git/info/refs" + query)
    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert text.startswith("input/invalid: only git's smart HTTP protocol is served here")


def test_a_service_wants_its_method_and_content_type(platform: Platform) -> None:
    """A form of a web page can send neither."""
    platform.app("forms")
    path = "/git/forms.git/git-upload-pack"
    assert ask(platform, path)[0] == 400
    assert ask(platform, path, "POST", body=b"0000", headers={"Content-Type": "text/plain"})[0] == 400
    assert ask(platform, path, "POST", body=b"0000", headers={"Content-Type": UPLOAD_TYPE})[0] == 200
    assert ask(platform, "/git/forms.git/info/refs?service=git-upload-pack", "POST")[0] == 404


@pytest.mark.parametrize(
    ("header", "taken"), [("version=2", True), ("version=1:x", False), ("version=2\t", False), ("version=22", False)]
)
def test_only_known_protocol_versions_reach_git(platform: Platform, header: str, taken: bool) -> None:
    """Whatever else stands in Git-Protocol is as if it were not there."""
    if not (platform.home.repos / "proto.git").exists():
        platform.app("proto")
    path = "/git/proto.git/info/refs?service=git-upload-pack"
    _status, text, _headers = ask(platform, path, headers={"Git-Protocol": header})
    assert text.startswith("000eversion 2\n") is (taken or header.strip() == "version=2")
    assert text.startswith("001e# service=git-upload-pack\n0000") is not text.startswith("000eversion 2\n")


def list_refs(platform: Platform, body: bytes, **headers: str) -> tuple[int, str]:
    sent = {"Git-Protocol": "version=2", "Content-Type": UPLOAD_TYPE, **headers}
    return ask(platform, "/git/zipped.git/git-upload-pack", "POST", headers=sent, body=body)[:2]


def test_bodies_may_be_gzip(platform: Platform) -> None:
    """Unpacked on the way; what is cut short, not gzip, or otherwise encoded ends without harm."""
    platform.app("zipped")
    clone = platform.clone("zipped")
    commit = clone.commit()
    assert clone.push().returncode == 0
    answer = f"{commit} refs/heads/master"
    packed = gzip.compress(V2_LIST)
    assert answer in list_refs(platform, V2_LIST)[1]
    assert answer in list_refs(platform, packed, **{"Content-Encoding": "gzip"})[1]
    assert answer in list_refs(platform, packed, **{"Content-Encoding": "x-gzip"})[1]
    assert answer not in list_refs(platform, packed[:-12], **{"Content-Encoding": "gzip"})[1]
    assert answer not in list_refs(platform, V2_LIST, **{"Content-Encoding": "gzip"})[1]
    assert list_refs(platform, V2_LIST, **{"Content-Encoding": "br"})[0] == 400


def test_a_push_that_is_not_git_is_refused(platform: Platform) -> None:
    """Malformed frames, too many of them, a body that does not unpack: 400."""
    platform.app("junk")
    path = "/git/junk.git/git-receive-pack"
    kind = {"Content-Type": "application/x-git-receive-pack-request"}
    assert ask(platform, path, "POST", body=b"zzzzjunk", headers=kind)[0] == 400
    assert ask(platform, path, "POST", body=b"fff5" + b"x" * 70000, headers=kind)[0] == 400
    assert ask(platform, path, "POST", body=packet(b"x" * 60000) * 80, headers=kind)[0] == 400
    packed = {**kind, "Content-Encoding": "gzip"}
    assert ask(platform, path, "POST", body=b"not gzip", headers=packed)[0] == 400
    assert ask(platform, path, "POST", body=b"0000", headers=kind)[:2] == (200, "")
