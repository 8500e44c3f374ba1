"""Requirements with addresses: their grammar, what the operator allows, and how a lock spells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks import Policy, detect, direct, locks
from buildpacks.direct import Source, entry_of
from buildpacks.requirements import parse, render
from core.errors import DaeError

COMMIT, SHA = "0123456789" * 4, "a" * 64
GIT = f"git+https://code.example/team/thing.git@{COMMIT}"
WHEEL = "https://code.example/team/thing-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("line", "name", "text", "source"),
    [
        (f"thing @ {GIT}", "thing", f"thing @ {GIT}", Source("https://code.example/team/thing.git", COMMIT)),
        (f"{GIT}#egg=Thing", "thing", f"Thing @ {GIT}", Source("https://code.example/team/thing.git", COMMIT)),
        (f"{GIT}#egg=thing&subdirectory=a/b ; python_version > '3'", "thing",
         f'thing @ {GIT}#subdirectory=a/b ; python_version > "3"',
         Source("https://code.example/team/thing.git", COMMIT, "a/b")),
        (f"Thing[x, a] @ {WHEEL}#sha256={SHA}", "thing", f"Thing[a,x] @ {WHEEL}", Source(WHEEL, sha256=SHA)),
        (f"{WHEEL} --hash=sha256:{SHA}", "thing", f"thing @ {WHEEL}", Source(WHEEL, sha256=SHA)),
        ("thing @ http://h.example:81/x/v1.zip?a=b", "thing", "thing @ http://h.example:81/x/v1.zip?a=b",
         Source("http://h.example:81/x/v1.zip?a=b")),
        ("https://h.example/older-1.0.tar.gz", "older", "older @ https://h.example/older-1.0.tar.gz",
         Source("https://h.example/older-1.0.tar.gz")),
    ],
)  # fmt: skip
def test_accepted(line: str, name: str, text: str, source: Source) -> None:
    """A name before @, in #egg= or in the file's name; what is rendered is read again as the same."""
    (found,) = parse(line, "r.txt")
    assert (found.name, found.text, found.source) == (name, text, source)
    assert parse(render([found]), "r.txt") == (found,)


UNSUPPORTED, BAD = "build/unsupported-requirement", "build/bad-requirements"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("git+https://code.example/x.git@main#egg=x", UNSUPPORTED, "does not name a commit"),
        ("x @ git+https://code.example/x.git", UNSUPPORTED, "does not name a commit"),
        (f"x @ git+https://code.example/x.git@{COMMIT[:12]}", UNSUPPORTED, "does not name a commit"),
        (f"x @ git+ssh://git@code.example/x.git@{COMMIT}", UNSUPPORTED, "is not fetched"),
        (f"x @ git+file:///srv/x.git@{COMMIT}", UNSUPPORTED, "is not fetched"),
        (f"x @ git+ext::sh@{COMMIT}", UNSUPPORTED, "is not fetched"),
        (f"x @ hg+https://code.example/x@{COMMIT}", UNSUPPORTED, "is not fetched"),
        ("x @ ftp://code.example/x.whl", UNSUPPORTED, "is not fetched"),
        ("x @ https://me:secret@code.example/x.whl", UNSUPPORTED, "credentials"),
        (f"x @ git+https://me@code.example/x.git@{COMMIT}", UNSUPPORTED, "credentials"),
        ("x @ https://code.example/x.exe", UNSUPPORTED, "neither a wheel"),
        ("x @ https://code.example/x.whl#md5=00", UNSUPPORTED, "has md5="),
        ("x @ https://code.example/x.zip#subdirectory=a", UNSUPPORTED, "subdirectory"),
        (f"git+https://code.example/x.git@{COMMIT}", BAD, "which package"),
        ("x @ https://code.example/team/../x.whl", BAD, "address"),
        ("x @ https://code.example/team/%2e%2e/x.whl", BAD, "address"),
        ("x @ https://code.example/team%2fx.whl", BAD, "address"),
        ("x @ https://code.example//x.whl", BAD, "address"),
        ("x @ https://code.example:99999/x.whl", BAD, "address"),
        (f"x @ git+https://code.example/x.git?a=b@{COMMIT}", BAD, "address"),
        (f"x @ git+https://code.example/x.git@{COMMIT}#subdirectory=../x", BAD, "not a folder"),
        (f"x @ git+https://code.example/x.git@{COMMIT}#subdirectory=-x", BAD, "not a folder"),
        (f"x @ {GIT} --hash=sha256:{SHA}", BAD, "needs no hash"),
        (f"x @ {WHEEL}#sha256={SHA} --hash=sha256:{'b' * 64}", BAD, "one sha256"),
        (f"x @ {WHEEL} --hash=sha512:{'b' * 128}", BAD, "one sha256"),
        (f"x @ {WHEEL}#sha256=short", BAD, "not a sha256"),
    ],
)  # fmt: skip
def test_refused(line: str, code: str, words: str) -> None:
    """What moves, what is not fetched, what can be read in two ways; no password is shown."""
    with pytest.raises(DaeError) as caught:
        parse(line, "r.txt")
    assert caught.value.code == code
    assert words in caught.value.cause
    assert "r.txt line 1" in caught.value.cause
    assert "secret" not in caught.value.line()


@given(st.text(alphabet=st.sampled_from(list("x@:/.#?&=%2e+-[]\\ \t\x00é0")), max_size=40))
def test_never_another_error(text: str) -> None:
    """Whatever stands behind the scheme, it is read or refused with one of the two codes."""
    for scheme in ("https://", "git+https://h.example/", "x @ https://h", f"x @ git+https://h/{text}@{COMMIT}#"):
        try:
            parse(scheme + text, "r.txt")
        except DaeError as error:
            assert error.code in (UNSUPPORTED, BAD)


@pytest.mark.parametrize(
    ("url", "git", "allowed"),
    [
        ("https://code.example/team/a.whl", False, True),
        ("https://code.example:443/team/a/b.whl", False, True),
        ("https://CODE.example/team/a.whl", False, True),
        ("https://code.example/teamster/a.whl", False, False),
        ("http://code.example/team/a.whl", False, False),
        ("https://code.example.org/team/a.whl", False, False),
        ("https://code.example:444/team/a.whl", False, False),
        ("https://code.example/team/a.git", True, False),
        ("https://code.example/one.git", True, True),
        ("https://code.example/one.git", False, False),
        ("https://code.example/one.gitx", True, False),
        ("https://private.example/x.whl", False, True),
    ],
)
def test_what_an_entry_allows(url: str, git: bool, allowed: bool) -> None:
    """The same scheme, host and port, and the same path or one below it; git and files are allowed apart."""
    entries = ("https://code.example/team/", "git+https://code.example/one.git", "https://me:pw@private.example")
    assert (entry_of(entries, url, git=git) is not None) is allowed


def test_locks() -> None:
    """A lock of ours holds address, version and hash; what an engine wrote can name no address."""
    pins = {
        "thing": locks.Pin("1.0", (f"sha256:{SHA}",), Source("https://h.example/t.git", COMMIT, "sub")),
        "other": locks.Pin("2.0", (f"sha256:{SHA}",), Source(WHEEL)),
        "six": locks.Pin("1.16.0", (f"sha256:{SHA}",)),
    }
    text = locks.render(pins)
    assert f"thing @ git+https://h.example/t.git@{COMMIT}#subdirectory=sub&version=1.0 \\\n" in text
    assert {r.name: locks.Pin(r.version, r.hashes, r.source) for r in locks.releases(text)} == pins
    assert locks.beside(text, f"thing==9 --hash=sha256:{SHA}\n") == text
    with pytest.raises(DaeError, match="build/failed"):
        locks.canonical(text)
    engines = f"six==1.16.0 --hash=sha256:{SHA}\nthing[x] @ file:///work/code/thing.whl --hash=sha256:{SHA}\n"
    assert [release.name for release in locks.releases(locks.canonical(engines))] == ["six"]


ALLOWED = Policy(sources=("git+https://code.example/team/", "https://code.example/team/"))


@pytest.mark.parametrize(
    "files",
    [
        {"pip-req.txt": f"-e {GIT}#egg=thing\n"},
        {"pip-req.txt": f"thing @ {GIT}\nsix --hash=sha256:{SHA}\n"},
        {"pyproject.toml": f"[project]\nname = 'a'\ndependencies = ['thing @ {GIT}']\n"},
        {"setup.cfg": f"[options]\ninstall_requires =\n  thing @ {GIT}\n"},
        {"requirements.txt": "-e .\n", "setup.cfg": f"[options]\ninstall_requires =\n  thing @ {GIT}\n"},
    ],
)
def test_wherever_it_stands(tmp_path: Path, files: dict[str, str]) -> None:
    """Allowed, it is required; not allowed, it is refused with the name of the setting."""
    for name, text in {"Procfile": "web: x\n", **files}.items():
        (tmp_path / name).write_text(text)
    (line,) = [line for line in parse(detect(tmp_path, ALLOWED).requirements, "r") if line.source]
    assert (line.name, line.source) == ("thing", Source("https://code.example/team/thing.git", COMMIT))
    with pytest.raises(DaeError) as caught:
        detect(tmp_path)
    assert caught.value.code == UNSUPPORTED
    assert "build_sources" in caught.value.hint


def test_not_as_a_constraint(tmp_path: Path) -> None:
    """A constraint limits versions, and an address has none."""
    (tmp_path / "Procfile").write_text("web: x\n")
    (tmp_path / "pip-req.txt").write_text("-c limits.txt\n")
    (tmp_path / "limits.txt").write_text(f"thing @ {GIT}\n")
    with pytest.raises(DaeError, match="a constraint has no address"):
        detect(tmp_path, ALLOWED)


def test_shown() -> None:
    """No password gets into a message."""
    assert direct.shown("https://me:pw@h.example/x") == "https://h.example/x"
