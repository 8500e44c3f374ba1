"""A lock of ours in the repository: what it says, what it is compared with, what nobody should have written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks import detect, lockfile
from buildpacks.locks import Pins
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.test_foreign import FACTS

HASH = "sha256:" + "a" * 64
LOCK = f"flask==3.1.0 \\\n    --hash={HASH}\nsix==1.16.0 \\\n    --hash={HASH}\n"
ASKED = ("flask>=3\nsix ; python_version > '3'\n", "six<2\n", ("--pre",))
POLICY = Policy(lambda: ())


def made() -> str:
    return lockfile.render(LOCK, *ASKED, FACTS)


def test_there_and_back() -> None:
    """What was rendered is read as it was, for the same requirements and the same kind of Python."""
    pins = lockfile.load(made(), *ASKED, POLICY).pins(FACTS)
    assert {name: pin.version for name, pin in pins.items()} == {"flask": "3.1.0", "six": "1.16.0"}
    assert pins["six"].hashes == (HASH,)


def test_the_own_library() -> None:
    """The platform's own library is left out, for it is each platform's; not when the app requires a version of it."""
    lock = LOCK + f"dae==0.1 --hash={HASH}\n"
    assert "dae==" not in lockfile.render(lock, *ASKED, FACTS)
    assert "dae==0.1 " in lockfile.render(lock, "dae<1\n", "", (), FACTS)


def test_another_patch_level_will_do() -> None:
    """The patch level of the Python may be renewed below an app; another series is another lock."""
    lock = lockfile.load(made(), *ASKED, POLICY)
    newer = replace(FACTS, markers={**FACTS.markers, "python_full_version": "3.11.9"})
    assert lock.pins(newer) == lock.pins(FACTS)
    with pytest.raises(
        DaeError, match=r"made for cpython 3\.11 linux x86_64, and the app runs on cpython 3\.12"
    ) as caught:
        lock.pins(replace(FACTS, markers={**FACTS.markers, "python_version": "3.12"}))
    assert caught.value.code == "build/lock-outdated"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("flask>=3\n", "six<2\n", ("--pre",)), "six ; python_version > .* was removed"),
        ((ASKED[0] + "toolz\n", *ASKED[1:]), "'toolz' was added"),
        ((ASKED[0], "", ("--pre",)), "'-c six<2' was removed"),
        ((*ASKED[:2], ()), "'--pre' was removed"),
        (("flask>=4\n" + ASKED[0].split("\n")[1], *ASKED[1:]), "'flask>=4' was added; 'flask>=3' was removed"),
    ],
)
def test_other_requirements(asked: tuple[str, str, tuple[str, ...]], said: str) -> None:
    """When the requirements are others now, the error says which were added and which removed."""
    with pytest.raises(DaeError, match=said) as caught:
        lockfile.load(made(), *asked, POLICY).pins(FACTS)
    assert caught.value.code == "build/lock-outdated"
    assert caught.value.hint == "run 'dae lock', and commit dae.lock"


def test_addresses_need_the_operator() -> None:
    """An address that only the lock names is fetched no more than one in a requirements file."""
    text = made() + f"own @ https://host.example/own-1-py3-none-any.whl#version=1 --hash={HASH}\n"
    with pytest.raises(DaeError) as caught:
        lockfile.load(text, *ASKED, POLICY).pins(FACTS)
    assert caught.value.code == "build/unsupported-requirement"


OTHER = "sha256:" + "b" * 64
GIT = f"git+https://host.example/own.git@{'1' * 40}"
WHEEL = "https://host.example/own-1-py3-none-any.whl"
ALLOWED = Policy(lambda: (), (GIT.partition("@")[0], WHEEL))


def changed(requirements: str, lock: str, constraints: str = "") -> Pins:
    """What a lock says that somebody edited into ``lock`` below the head of these requirements."""
    head = lockfile.render("", requirements, constraints, (), FACTS).partition("# Sum ")[
        0
    ]  # one of before there was one
    return lockfile.load(head + lock, requirements, constraints, (), ALLOWED).pins(FACTS)


@pytest.mark.parametrize("asked", [(f"six --hash={HASH}", ""), ("six", f"six==1.16.0 --hash={HASH}")])
def test_hashes_of_the_requirements_bind(asked: tuple[str, str]) -> None:
    """Where the app's own file names hashes, a lock may name those and no others; fewer will do."""
    assert changed(asked[0], f"six==1.16.0 --hash={HASH}\n", asked[1])["six"].hashes == (HASH,)
    for hashes in (f"--hash={OTHER}", f"--hash={HASH} --hash={OTHER}"):
        with pytest.raises(DaeError, match=r"allows sha256:b+\.\.\. of six 1\.16\.0, which the requirements") as caught:
            changed(asked[0], f"six==1.16.0 {hashes}\n", asked[1])
        assert caught.value.code == "build/lock-outdated"


@pytest.mark.parametrize(
    ("requirements", "lock", "said"),
    [
        (f"own @ {GIT}", f"own==1 --hash={HASH}", "it takes own from the index, and not from git.https"),
        (
            f"own @ {GIT}",
            f"own @ {GIT.replace('1' * 40, '2' * 40)}#version=1 --hash={HASH}",
            "own from git.*2222, and not",
        ),
        (f"own @ {WHEEL}", f"own @ {GIT}#version=1 --hash={HASH}", "own from git.*, and not from https"),
        ("own", f"own @ {WHEEL}#version=1 --hash={HASH}", "own from https.*, and not from the index"),
        ("six", f"six==1 --hash={HASH}\nown @ {WHEEL}#version=1 --hash={HASH}", "own from https"),
        (f"own @ {WHEEL} ; python_version < '3'\nown", f"own @ {WHEEL}#version=1 --hash={HASH}", "not from the index"),
        (f"own @ {WHEEL}#sha256={'b' * 64}", f"own @ {WHEEL}#version=1 --hash={HASH}", "allows sha256:a"),
    ],
)
def test_addresses_of_the_requirements_bind(requirements: str, lock: str, said: str) -> None:
    """A package comes from the address that the app's own file names, and from none that it does not."""
    with pytest.raises(DaeError, match=said) as caught:
        changed(requirements, f"{lock}\n")
    assert caught.value.code == "build/lock-outdated"


def test_the_address_that_is_required() -> None:
    """A lock of an address holds for the requirement that names the same, whatever it says of the hash."""
    for requirement in (WHEEL, f"{WHEEL}#sha256={'a' * 64}"):
        pin = changed(f"own @ {requirement}", f"own @ {WHEEL}#version=1 --hash={HASH}\n")["own"]
        assert (pin.version, pin.hashes) == ("1", (HASH,))
    assert changed(f"own @ {GIT}", f"own @ {GIT}#version=1 --hash={HASH}\n")["own"].source is not None


def test_limits_bind() -> None:
    """A version that somebody wrote into the lock, and that a constraint excludes, is not installed."""
    with pytest.raises(DaeError, match=r"six<2 is required, and it holds six 2\.0"):
        changed("toolz", f"toolz==1 --hash={HASH}\nsix==2.0 --hash={HASH}\n", "six<2\nflask<1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.1.0", "3.1.1"),
        ("a" * 64, "b" * 64),
        (f"six==1.16.0 \\\n    --hash={HASH}\n", f"six==1.16.0 \\\n    --hash={HASH}\nmore==1 --hash={HASH}\n"),
        (f"--hash={HASH}", f"--hash={HASH} --hash={OTHER}"),
    ],
)
def test_edited_by_hand(old: str, new: str) -> None:
    """Another version, another hash, a line more: it is refused, with what to type. Comments and order say nothing."""
    text = made()
    assert old in text
    with pytest.raises(DaeError, match="it was edited or merged by hand") as caught:
        lockfile.load(text.replace(old, new), *ASKED, POLICY).pins(FACTS)
    assert (caught.value.code, caught.value.hint.endswith("make it anew: dae lock")) == ("build/bad-lock", True)
    head, _, body = text.partition("\nflask==")
    flask, _, six = body.partition("\nsix==")
    lockfile.load(f"{head}\n# ours\n\nsix=={six}flask=={flask}\n".replace("\n", "\r\n"), *ASKED, POLICY).pins(FACTS)


def test_a_line_is_gone() -> None:
    """Also of a package that is required by another one only."""
    text = lockfile.render(LOCK, "flask\n", "", (), FACTS)
    with pytest.raises(DaeError, match="edited or merged by hand"):
        lockfile.load(text.partition("six")[0], "flask\n", "", (), POLICY).pins(FACTS)
    with pytest.raises(DaeError, match=r"without version or hash: 'six=1\.16\.0 ") as caught:
        lockfile.load(text.replace("six==1.16.0", "six=1.16.0"), "flask\n", "", (), POLICY).pins(FACTS)
    assert "dae lock" in caught.value.hint


def test_beside_other_files(tmp_path: Path) -> None:
    """It counts with each way to declare requirements; beside another manager's lock it is an error."""
    (tmp_path / "Procfile").write_text("web: gunicorn app:app\n")
    (tmp_path / "dae.lock").write_text(made())
    (tmp_path / "requirements.txt").write_text("flask>=3\n")
    found = detect(tmp_path, POLICY)
    assert found.lock is not None
    assert (found.lock.filename, found.requirements) == ("dae.lock", "")
    (tmp_path / "requirements.txt").unlink()
    (tmp_path / "Pipfile.lock").write_text('{"_meta": {"pipfile-spec": 6, "hash": {}}, "default": {}}')
    with pytest.raises(DaeError, match=r"Pipfile\.lock and dae\.lock exist side by side"):
        detect(tmp_path, POLICY)


@given(st.lists(st.sampled_from([*made().splitlines(), "six==", "\\", "--hash=", "@", "\0", "#   "]) | st.text()))
def test_whatever_stands_in_it(lines: list[str]) -> None:
    """Nobody's text does more than raise an error with a code."""
    try:
        lockfile.load("\n".join(lines), *ASKED, POLICY).pins(FACTS)
    except DaeError as error:
        assert error.code in ("build/bad-lock", "build/lock-outdated", "build/unsupported-requirement")
