"""Packages: kept once, linked into environments, whole or not there at all."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DaeError
from core.files import remove_tree
from core.paths import Home
from slugs import SlugStore
from slugs.environments import EnvironmentStore
from slugs.packages import Installed, Origin, PackageStore, package_key

ENV = "e" * 64
MODULE = "lib/python3.11/site-packages/one.py"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "h")


@pytest.fixture
def store(home: Home) -> PackageStore:
    return PackageStore(home)


@pytest.fixture
def environments(home: Home) -> EnvironmentStore:
    return EnvironmentStore(home)


def origin(name: str) -> Origin:
    return Origin(name, "1.0", f"{name}-1.0-py3-none-any.whl", "a" * 64)


def add(store: PackageStore, name: str, files: dict[str, str], links: dict[str, str] | None = None) -> Installed:
    key = package_key(origin(name), "cpython")
    with store.adding(key, origin(name)) as tree:
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
            if path.startswith("bin/"):
                (tree / path).chmod(0o755)
        for path, goal in (links or {}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).symlink_to(goal)
    found = store.find(key)
    assert found is not None
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_environments_share_the_bytes_of_packages(
    store: PackageStore, environments: EnvironmentStore, home: Home
) -> None:
    """Two environments with a package hold the very same files, read-only, and know what they are made of."""
    one = add(store, "one", {MODULE: "1", "bin/one": "#!"}, {"bin/python": "/usr/bin/python3"})
    two = add(store, "two", {"lib/python3.11/site-packages/two.py": "2"})
    first, second = environments.assemble(ENV, [one, two]), environments.assemble("f" * 64, [one])
    assert first == home.environment(ENV)
    assert (first / MODULE).samefile(second / MODULE)
    assert sorted(path.name for path in (first / MODULE).parent.iterdir()) == ["one.py", "two.py"]
    assert sorted(path.name for path in (second / MODULE).parent.iterdir()) == ["one.py"]
    assert [mode(first / path) for path in ("", "bin", "bin/one", MODULE)] == [0o555, 0o555, 0o555, 0o444]
    assert (first / "bin/python").readlink() == Path("/usr/bin/python3")
    facts = json.loads((first / "environment.json").read_text())
    assert [entry[0] for entry in facts["packages"]] == [one.key, two.key]
    assert facts["packages"][0][2]["filename"] == "one-1.0-py3-none-any.whl"
    assert environments.contents(ENV) == (origin("one"), origin("two"))
    assert environments.contents("0" * 64) == ()


def test_the_later_of_two_packages_with_one_file_wins(store: PackageStore, environments: EnvironmentStore) -> None:
    """As with pip; and neither package is changed by it."""
    one, two = add(store, "one", {MODULE: "of one"}), add(store, "two", {MODULE: "of two"})
    assert (environments.assemble(ENV, [one, two]) / MODULE).read_text() == "of two"
    assert (environments.assemble("f" * 64, [two, one]) / MODULE).read_text() == "of one"


def test_what_stands_already_stays(store: PackageStore, environments: EnvironmentStore, home: Home) -> None:
    """Adding a package or making an environment again changes nothing."""
    one = add(store, "one", {MODULE: "first"})
    place = environments.assemble(ENV, [one])
    inode = place.stat().st_ino
    assert add(store, "one", {MODULE: "second"}) == one
    assert environments.assemble(ENV, [add(store, "two", {MODULE: "other"})]) == place
    assert place.stat().st_ino == inode
    assert (place / MODULE).read_text() == "first"
    assert list((home.root / "layers").glob("*/.*")) == []


def test_a_failure_leaves_nothing(store: PackageStore, home: Home) -> None:
    """What goes wrong while a package is made, leaves no package."""
    key = package_key(origin("one"), "cpython")
    with pytest.raises(ValueError, match="on purpose"), store.adding(key, origin("one")) as tree:
        (tree / "x").touch()
        raise ValueError("on purpose")
    assert store.find(key) is None
    assert list(home.packages.iterdir()) == []


def test_what_was_swept_is_not_published(store: PackageStore, home: Home) -> None:
    """A writer whose folder is swept away, and who goes on in a new one of that name, publishes nothing."""
    key = package_key(origin("one"), "cpython")
    with pytest.raises(DaeError, match="was removed while"), store.adding(key, origin("one")) as tree:
        (tree / "first.py").touch()
        SlugStore(home).sweep()
        tree.mkdir(parents=True)
        (tree / "second.py").touch()
    with pytest.raises(FileNotFoundError), store.adding(key, origin("one")) as tree:
        SlugStore(home).sweep()
    assert store.find(key) is None
    assert list(home.packages.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"origin": {"x": 1}}', None])
def test_a_damaged_package_is_made_anew(
    store: PackageStore, environments: EnvironmentStore, home: Home, data: bytes | None
) -> None:
    """A package whose manifest is gone or broken is not found, and takes no other's place when it is added again."""
    one = add(store, "one", {MODULE: "first"})
    manifest = home.package(one.key) / "manifest.json"
    manifest.unlink()
    if data is not None:
        manifest.write_bytes(data)
    assert store.find(one.key) is None
    again = add(store, "one", {MODULE: "second"})
    assert again.key == one.key
    assert (environments.assemble(ENV, [again]) / MODULE).read_text() == "second"
    assert [path.name for path in home.packages.iterdir()] == [one.key]


def test_a_package_that_lost_a_file(store: PackageStore, environments: EnvironmentStore, home: Home) -> None:
    """An environment is not made of a package that is not whole; the package is then made anew."""
    one = add(store, "one", {MODULE: "1"})
    (home.package(one.key) / "tree" / MODULE).unlink()
    with pytest.raises(DaeError, match="slug/damaged"):
        environments.assemble(ENV, [one])
    assert list(home.environments.iterdir()) == []
    assert store.find(one.key) is None
    assert (environments.assemble(ENV, [add(store, "one", {MODULE: "1"})]) / MODULE).exists()


def test_an_environment_that_is_swept_away(
    store: PackageStore, environments: EnvironmentStore, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packages that it was being made of are not blamed."""
    one = add(store, "one", {MODULE: "1"})
    link = os.link

    def swept(source: Path, target: Path) -> None:
        SlugStore(home).sweep()
        link(source, target)

    monkeypatch.setattr(os, "link", swept)
    with pytest.raises(DaeError, match="the environment was removed"):
        environments.assemble(ENV, [one])
    assert store.find(one.key) == one


def test_two_writers_of_one_package(store: PackageStore, environments: EnvironmentStore, home: Home) -> None:
    """Who comes second leaves the first one's package where it is, even when it began before that was there."""
    key = package_key(origin("one"), "cpython")
    with store.adding(key, origin("one")) as slow:
        (slow / "x.py").write_text("slow")
        quick = add(store, "one", {MODULE: "quick"})
        inode = home.package(key).stat().st_ino
    assert home.package(key).stat().st_ino == inode
    assert (environments.assemble(ENV, [quick]) / MODULE).read_text() == "quick"
    assert [path.name for path in home.packages.iterdir()] == [key]


def test_a_killed_writers_work_is_found_by_its_label(home: Home) -> None:
    """What one build left unfinished is removed, what others are at is not."""
    EnvironmentStore(home).assemble(ENV, [])
    for folder in (home.packages, home.environments):
        for name in (".build7-x", ".build71-x"):
            (folder / name / "tree").mkdir(parents=True)
    EnvironmentStore(home, "build7").remove_unfinished()
    assert [path.name for path in home.packages.iterdir()] == [".build71-x"]
    assert sorted(path.name for path in home.environments.iterdir()) == [".build71-x", ENV]


def test_bytecode_goes_with_its_source(store: PackageStore, environments: EnvironmentStore) -> None:
    """Where a later package brings the source without bytecode, that of the earlier one does not stay beside it."""
    compiled = "lib/python3.11/site-packages/__pycache__/{}.cpython-311.pyc"
    one = add(store, "one", {MODULE: "1", compiled.format("one"): "of one", compiled.format("one2"): "another"})
    two = add(store, "two", {MODULE: "2"})
    place = environments.assemble(ENV, [one, two])
    assert sorted(path.name for path in place.rglob("*.pyc")) == ["one2.cpython-311.pyc"]
    both = environments.assemble("f" * 64, [two, one])
    assert (both / compiled.format("one")).read_text() == "of one"


@pytest.mark.parametrize("other", [{"thing/x.py": ""}, {"thing": "", "y": ""}])
def test_a_file_and_a_folder_of_one_name(
    store: PackageStore, environments: EnvironmentStore, home: Home, other: dict[str, str]
) -> None:
    """Packages that cannot stand together are named, and no environment is made of them."""
    one = add(store, "one", {"thing": ""} if "thing/x.py" in other else {"thing/x.py": ""})
    two = add(store, "two", other)
    for order in ([one, two], [two, one]):
        with pytest.raises(DaeError, match=r"build/install-failed.*thing is a file or a folder"):
            environments.assemble(ENV, order)
    assert list(home.environments.iterdir()) == []


def test_a_file_with_as_many_names_as_it_may_have(
    store: PackageStore, environments: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system allows no further link, the file is copied."""
    import errno

    def full(*_words: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    one = add(store, "one", {MODULE: "1"})
    monkeypatch.setattr(os, "link", full)
    copied = environments.assemble(ENV, [one]) / MODULE
    assert (copied.read_text(), copied.stat().st_nlink, mode(copied)) == ("1", 1, 0o444)


KILLED = """
import os, sys
from collections.abc import Callable
from pathlib import Path
from core.paths import Home
from slugs.environments import EnvironmentStore
from slugs.packages import Origin, PackageStore
at = int(sys.argv[2])
PARTS = ("slugs/packages.py", "slugs/environments.py", "slugs/layers.py")
count = 0
def trace(frame, event, argument):
    global count
    if event == "line" and frame.f_code.co_filename.endswith(PARTS):
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
    return trace
store = PackageStore(Home(Path(sys.argv[1])))
sys.settrace(trace)
key = "a" * 64
with store.adding(key, Origin("one", "1.0", "one.whl", "b" * 64)) as tree:
    (tree / "lib").mkdir()
    (tree / "lib" / "x.py").write_text("1")
    (tree / "lib" / "y.py").write_text("2")
EnvironmentStore(Home(Path(sys.argv[1]))).assemble("e" * 64, [store.find(key)])
"""


def test_killed_at_any_line(store: PackageStore, home: Home) -> None:
    """Killed at any line, a package and an environment are there with all their files, or not at all."""
    root = str(Path(__file__).parents[2])
    slugs = SlugStore(home)
    for at in range(1, 900, 11):
        command = [sys.executable, "-c", KILLED, str(home.root), str(at)]
        status = subprocess.run(command, cwd=root, env={"PYTHONPATH": root}).returncode
        if store.find("a" * 64) is not None:
            tree = home.package("a" * 64) / "tree" / "lib"
            assert sorted(path.name for path in tree.iterdir()) == ["x.py", "y.py"]
        if home.environment(ENV).exists():
            assert not slugs.environment_faults(ENV) or store.find("a" * 64) is None
            assert sorted(path.name for path in home.environment(ENV).rglob("*.py")) == ["x.py", "y.py"]
            assert (home.environment(ENV) / "environment.json").exists()
        slugs.sweep()
        assert list((home.root / "layers").glob("*/.*")) == []
        if status == 0:
            break
        assert status == -9
        for layer in (home.environment(ENV), home.package("a" * 64)):
            if at % 2 and layer.exists():
                remove_tree(layer)
    else:
        pytest.fail("it never came to its end")


def test_bytes_that_were_written_over(store: PackageStore, home: Home, environments: EnvironmentStore) -> None:
    """Whoever writes to a file of an environment is found without reading it, and both are made anew at one moment."""
    files = {MODULE: "1", "lib/other.py": "x"}
    one = add(store, "one", files)
    place = environments.assemble(ENV, [one])
    other = environments.assemble("f" * 64, [one])
    assert environments.faults(ENV) == []
    (place / MODULE).chmod(0o644)
    (place / MODULE).write_text("2")
    (place / MODULE).chmod(0o444)
    assert environments.faults(ENV) == environments.faults("f" * 64) == [f"{MODULE} was changed"]
    assert store.find(one.key) is None
    with (place / "lib/other.py").open() as running:
        environments.assemble(ENV, [add(store, "one", files)])
        assert running.read() == "x"
    assert (place / MODULE).read_text() == "1"
    assert environments.faults(ENV) == []
    assert environments.faults("f" * 64) != [], "it has the old file"
    assert (other / MODULE).read_text() == "2"
    environments.assemble("f" * 64, [add(store, "one", files)])
    assert (other / MODULE).read_text() == "1"
    assert [entry for entry in home.environments.iterdir() if entry.name.startswith(".")] == []


def flip(path: Path) -> None:
    """Change a byte as a failing disk would: no time and no mode tells of it."""
    before = path.stat()
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_flipped_byte_is_found_by_reading(store: PackageStore, home: Home, environments: EnvironmentStore) -> None:
    """A package with a flipped byte is named and removed, and so its environments are not whole any more."""
    one, two = add(store, "one", {MODULE: "1"}), add(store, "two", {"lib/two.py": "2"})
    place = environments.assemble(ENV, [one, two])
    assert store.damage(one.key) == store.damage(two.key) == environments.damage(ENV) == []
    flip(place / MODULE)
    assert environments.faults(ENV) == []
    assert store.damage(one.key) == [f"{MODULE} has other bytes than it had"]
    assert store.find(one.key) is None
    assert environments.faults(ENV) == ["a manifest is gone"]
    assert store.find(two.key) == two
    environments.assemble(ENV, [add(store, "one", {MODULE: "1"}), two])
    assert environments.damage(ENV) == []
    assert store.damage(one.key) == []


def into_itself(folder: Path) -> None:
    """A link in the place of a folder: what is below cannot be looked at, as where the disk has lost the folder."""
    folder.parent.chmod(0o755)
    remove_tree(folder)
    folder.symlink_to(folder.name)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda place: (place / MODULE).unlink(), "is gone"),
        (lambda place: into_itself(place / "lib"), f"{MODULE} cannot be looked at: Too many levels of symbolic links"),
        (lambda place: (place / "lib/python3.11/site-packages/evil.py").write_text("x"), "evil.py was added"),
        (lambda place: ((place / "bin/python").unlink(), (place / "bin/python").symlink_to("/tmp")), "not the link"),
        (lambda place: (place / MODULE).chmod(0o555), "was changed"),
    ],
)
def test_harm_done_to_an_environment(
    store: PackageStore, environments: EnvironmentStore, harm: Callable[[Path], object], told: str
) -> None:
    """What is missing, added or another than it was is named."""
    place = environments.assemble(ENV, [add(store, "one", {MODULE: "1"}, {"bin/python": "/usr/bin/python3"})])
    for folder in (place / "bin", (place / MODULE).parent):
        folder.chmod(0o755)
    harm(place)
    assert any(told in line for line in environments.damage(ENV)), environments.damage(ENV)


def test_the_share_of_each_package_is_known(store: PackageStore, environments: EnvironmentStore) -> None:
    """An environment whose packages bring one file twice is whole, and its size counts that file once."""
    compiled = "lib/python3.11/site-packages/__pycache__/one.cpython-311.pyc"
    one, two = add(store, "one", {MODULE: "1", compiled: "111"}), add(store, "two", {MODULE: "22"})
    environments.assemble(ENV, [one, two])
    assert environments.damage(ENV) == []
    assert environments.size(ENV) == 2
    environments.assemble("f" * 64, [two, one])
    assert environments.damage("f" * 64) == []
    assert environments.size("f" * 64) == 4
