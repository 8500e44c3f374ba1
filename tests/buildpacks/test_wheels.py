"""Which file is taken, and what a wheel may do when it is unpacked."""

from __future__ import annotations

import errno
import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from buildpacks import find_interpreter
from buildpacks.deadline import Deadline
from buildpacks.facts import facts_of
from buildpacks.index import Index as Client
from buildpacks.index import IndexFile
from buildpacks.locks import Release
from buildpacks.wheels import choose, unpack
from core.errors import DaeError
from tests.buildpacks.index import Index, wheel

INTERPRETER = find_interpreter()
TAGS = ("cp311-cp311-manylinux_2_17_x86_64", "cp311-abi3-manylinux_2_17_x86_64", "py3-none-any", "py2-none-any")
ONE = Release("one", "1.0", ("sha256:" + "a" * 64,))


def files(*names: str, sha256: str = "a" * 64) -> list[IndexFile]:
    return [IndexFile(name, f"http://index/{name}", sha256) for name in names]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["one-1.0-py3-none-any.whl", "one-1.0.tar.gz"], "one-1.0-py3-none-any.whl"),
        (["one-1.0-py2.py3-none-any.whl"], "one-1.0-py2.py3-none-any.whl"),
        (["one-1.0-py3-none-any.whl", "one-1.0-cp311-abi3-manylinux_2_17_x86_64.whl"], "one-1.0-cp311-abi3-many"),
        (["one-1.0-cp311-cp311-win_amd64.whl", "one-1.0.tar.gz"], "one-1.0.tar.gz"),
        (["one-1.0-cp27-cp27m-manylinux_2_17_x86_64.whl", "one-1.0-py3-none-any.whl"], "one-1.0-py3"),
        (["one-1.0-1-py3-none-any.whl", "one-1.0-10-py3-none-any.whl"], "one-1.0-10-py3"),
        (["one-1.0-2-py3-none-any.whl", "one-1.0-py3-none-any.whl"], "one-1.0-2-py3"),
        (["One-1.0.0-py3-none-any.whl"], "One-1.0.0"),
        (["one-1.0.zip", "one-1.0.tar.gz"], "one-1.0.tar.gz"),
        (["one-1.0.zip"], "one-1.0.zip"),
        (["one-2.0-py3-none-any.whl", "two-1.0-py3-none-any.whl", "one-1.0.tar.gz"], "one-1.0.tar.gz"),
        (["nonsense.whl", "one-1.0.exe", "one-1.0.tar.gz"], "one-1.0.tar.gz"),
    ],
)
def test_the_best_file_is_chosen(names: list[str], chosen: str) -> None:
    """The wheel of the best tag, of the highest build; a source distribution only when no wheel fits."""
    for order in (names, names[::-1]):
        choice = choose(ONE, files(*order), TAGS)
        assert choice.file.filename.startswith(chosen)
        assert choice.is_wheel is choice.file.filename.endswith(".whl")


def test_only_what_is_locked_is_chosen() -> None:
    """A better file with another hash than the lock's is not looked at."""
    better = files("one-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", sha256="b" * 64)
    assert choose(ONE, [*better, *files("one-1.0.tar.gz")], TAGS).file.filename == "one-1.0.tar.gz"
    with pytest.raises(DaeError, match="with a hash of the lock") as caught:
        choose(ONE, better, TAGS)
    assert caught.value.code == "build/install-failed"


def test_nothing_fits() -> None:
    """The error names what there is."""
    with pytest.raises(DaeError, match="cp27-none-win32"):
        choose(ONE, files("one-1.0-cp27-none-win32.whl"), TAGS)


def test_an_interpreter_says_which_wheels_it_takes() -> None:
    """Best first, its own ABI before any Python's."""
    tags = facts_of(INTERPRETER).tags
    number = INTERPRETER.series.replace(".", "")
    assert tags[0].startswith(f"cp{number}-cp{number}-")
    assert "py3-none-any" in tags


def listed(client: Client, name: str) -> tuple[IndexFile, ...]:
    page = client.page(name)
    assert page is not None
    return page.files


def fetched(index: Index, name: str, folder: Path) -> Path:
    client = Client(index.url, Deadline.after(30))
    (file,) = [file for file in listed(client, name) if file.filename.endswith("any.whl")][:1]
    client.download(file, folder / file.filename)
    return folder / file.filename


def test_reads_an_index(index: Index, tmp_path: Path) -> None:
    """Pages in HTML and JSON are read; what is downloaded is what the page's hash says."""
    path = fetched(index, "shapes", tmp_path)
    assert path.read_bytes() == index.files["shapes"][path.name]
    seen = listed(Client(index.url, Deadline.after(30)), "shapes")
    index.json = True
    assert listed(Client(index.url, Deadline.after(30)), "shapes") == seen


def test_an_index_that_fails(index: Index, tmp_path: Path) -> None:
    """503 and no answer are the mirror's fault; 404 and other bytes are told apart; time has an end."""
    client = Client(index.url, Deadline.after(30))
    (file, *_) = listed(client, "shapes")
    with pytest.raises(DaeError, match="build/install-failed"):
        client.page("no-such-thing")
    with pytest.raises(DaeError, match=r"build/install-failed.*another shapes-1"):
        client.download(IndexFile(file.filename, file.url, "0" * 64), tmp_path / "x")
    index.down = True
    with pytest.raises(DaeError, match="build/mirror-unavailable"):
        client.page("shapes")
    with pytest.raises(DaeError, match="build/mirror-unavailable"):
        client.download(file, tmp_path / "x")
    index.close()
    with pytest.raises(DaeError, match="build/mirror-unavailable"):
        Client(index.url, Deadline.after(30)).page("shapes")
    times = iter([0.0, 100.0])
    with pytest.raises(DaeError, match="build/timeout"):
        Client(index.url, Deadline.after(5, lambda: next(times))).page("shapes")


def test_unpacks(index: Index, tmp_path: Path) -> None:
    """A wheel becomes a tree that may stand anywhere, whose console scripts find the Python beside themselves."""
    unpack(fetched(index, "shapes", tmp_path), Release("shapes", "1.0", ()), tmp_path / "a", INTERPRETER)
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b/bin/python").symlink_to(INTERPRETER.python)
    packages = tmp_path / "b" / "lib" / f"python{INTERPRETER.series}" / "site-packages"
    ran = subprocess.run(
        [tmp_path / "b/bin/shapes"], env={"PYTHONPATH": str(packages)}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("shapes 1.0")
    assert (packages / "shapes-1.0.dist-info" / "INSTALLER").read_text() == "dae\n"
    assert str(tmp_path) not in (packages / "shapes-1.0.dist-info" / "RECORD").read_text()


def evil(*entries: tuple[str, str]) -> bytes:
    """A wheel of `one` with these entries besides its own."""
    _name, data = wheel("one", "1.0")
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        for path, text in entries:
            archive.writestr(path, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a wheel",
        evil(("../evil.py", "")),
        evil(("/tmp/evil.py", "")),
        evil(("one-1.0.data/scripts/../../../evil", "#!python\n")),
        evil(("one-1.0.data/data/bin/python", "#!/bin/sh\n")),
        evil(("one-1.0.data/scripts/python3.11", "#!/bin/sh\n")),
        evil(("one-1.0.data/data/pyvenv.cfg", "home = /evil")),
        evil(("one-1.0.data/data/lib64/x", "")),
        evil(("one-1.0.data/nonsense/x", "")),
        evil(("two-1.0.dist-info/METADATA", "")),
        evil(("one-1.0.dist-info/entry_points.txt", "[console_scripts]\n../../evil = one:main\n")),
        evil(("one-1.0.dist-info/entry_points.txt", "[console_scripts]\nx = not an entry\n")),
        evil(("one-1.0.dist-info/entry_points.txt", "no ini")),
        evil(("one-1.0.dist-info/entry_points.txt", "x" * (17 << 20))),
        evil(("one-1.0.data/scripts/x", "#!python\n" + "x" * (5 << 20))),
        evil(("a", ""), ("a/b", "")),
        evil(("x" * 250, "")),
        evil(("a/" * 61 + "b", "")),
        evil(("a/" * 1700 + "b", "")),
        evil(*((f"{n}/" + "a/" * 50 + "x", "") for n in range(2100))),
        evil(("one-1.0.data/data/lib", "a file")),
        evil(("one-1.0.data/data/bin", "a file")),
        evil(("one-1.0.data/data/include", "a file")),
        evil(("one-1.0.data/data/lib/python3.99", "a file")),
        evil(("one-1.0.data/data/environment.json", "")),
        evil(("one-1.0.data/scripts/python3.\x1b[2J\nfake", "#!python\n")),
        wheel("one", "1.0")[1].replace(b"one.py,sha256=", b"one.py,nosuch="),
        wheel("one", "1.0")[1].replace(b"\x14\x00\x00\x00\x00\x00", b"\x14\x00\x01\x00\x63\x00"),
    ],
)
def test_a_wheel_writes_nothing_outside(tmp_path: Path, data: bytes) -> None:
    """Whatever a wheel holds: it is refused with a code, and nothing stands outside of its tree."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "one-1.0-py3-none-any.whl"
    path.write_bytes(data)
    with pytest.raises(DaeError, match="build/install-failed") as caught:
        unpack(path, ONE, folder / "tree" / "deep", INTERPRETER)
    assert caught.value.cause.isprintable()
    assert str(tmp_path) not in caught.value.cause
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in"]
    assert sorted(entry.name for entry in folder.iterdir()) == ["one-1.0-py3-none-any.whl", "tree"]
    assert [entry.name for entry in (folder / "tree").iterdir()] == ["deep"]
    assert not Path("/tmp/evil.py").exists()


def test_bytecode_of_a_wheel_is_left_out(tmp_path: Path) -> None:
    """Bytecode could say other things than the source beside it."""
    path = tmp_path / "one-1.0-py3-none-any.whl"
    path.write_bytes(evil(("__pycache__/one.cpython-311.pyc", "evil")))
    unpack(path, ONE, tmp_path / "tree", INTERPRETER)
    assert list((tmp_path / "tree").rglob("*.pyc")) == []


def test_a_wheel_of_another_release_is_refused(tmp_path: Path) -> None:
    """What a source distribution was built into must be what was locked."""
    name, data = wheel("two", "1.0")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DaeError, match="it is not one"):
        unpack(tmp_path / name, ONE, tmp_path / "tree", INTERPRETER)


def test_a_full_disk_is_not_the_wheels_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room on the node is said as that."""

    def full(*_words: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name, data = wheel("one", "1.0")
    (tmp_path / name).write_bytes(data)
    monkeypatch.setattr("installer.install", full)
    with pytest.raises(DaeError, match=r"platform/disk-full.*No space left"):
        unpack(tmp_path / name, ONE, tmp_path / "tree", INTERPRETER)
