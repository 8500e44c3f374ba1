"""Layers and manifests on a real disk."""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Handler, Health, Process, ProcessType, Slug, canonical_json
from core.paths import Home
from slugs import SlugStore
from slugs.environments import EnvironmentStore
from slugs.packages import Origin, PackageStore, package_key

ENV, TREE, COMMIT = "e" * 64, "a" * 40, "c" * 40
ROOT = os.geteuid() == 0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    for folder in (made.environments, made.codes, made.slugs):
        folder.mkdir(parents=True)
    return made


@pytest.fixture
def store(home: Home) -> SlugStore:
    return SlugStore(home)


def tree(tmp_path: Path, name: str = "built") -> Path:
    root = tmp_path / name
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").write_text("#!/bin/sh\n")
    (root / "bin/python").chmod(0o4775)
    (root / "data.txt").write_text("data")
    (root / "link").symlink_to("/etc/passwd")
    (root / "loop").symlink_to("bin")
    return root


def slug(**other: object) -> Slug:
    fields = {
        "commit": COMMIT,
        "code": TREE,
        "environment": ENV,
        "interpreter": "cpython-3.11.2-x86_64-linux-gnu",
        "buildpack": "python",
        "processes": (Process("web", ProcessType.WEB),),
        "handlers": (Handler("/.*", wsgi_app="app:app"),),
        "health": Health(),
    }
    return Slug(**{**fields, **other})  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def environment(home: Home) -> None:
    """Have an environment of one package."""
    made = Origin("one", "1.0", "one-1.0-py3-none-any.whl", "a" * 64)
    key = package_key(made, "cpython")
    with PackageStore(home).adding(key, made) as folder:
        (folder / "bin").mkdir()
        (folder / "bin/python").write_text("#!")
    found = PackageStore(home).find(key)
    assert found is not None
    EnvironmentStore(home).assemble(ENV, [found])


def test_a_layer_is_kept_read_only(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """A layer stands under its name, nobody may write to it, programs stay programs, and no right is special."""
    passwd = mode(Path("/etc/passwd"))
    assert store.code_faults("blog", TREE)
    place = store.add_code("blog", TREE, tree(tmp_path))
    assert place == home.code("blog", TREE)
    assert not store.code_faults("blog", TREE)
    assert not (tmp_path / "built").exists()
    assert [mode(place), mode(place / "bin"), mode(place / "bin/python"), mode(place / "data.txt")] == [
        0o555, 0o555, 0o555, 0o444,
    ]  # fmt: skip
    assert (place / "link").readlink() == Path("/etc/passwd")
    assert mode(Path("/etc/passwd")) == passwd


def test_adding_again_changes_nothing(store: SlugStore, tmp_path: Path) -> None:
    """The layer that is there stays; what was brought is left to whoever brought it."""
    place = store.add_code("blog", TREE, tree(tmp_path))
    before = place.stat().st_ino
    again = tree(tmp_path, "again")
    assert store.add_code("blog", TREE, again) == place
    assert place.stat().st_ino == before
    assert again.is_dir()


def test_code_belongs_to_its_app(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """Code layers lie in a folder of the app that others cannot enter."""
    group = grp.getgrgid(os.getegid()).gr_name
    place = store.add_code("blog", TREE, tree(tmp_path), group)
    assert place == home.code("blog", TREE)
    assert not store.code_faults("blog", TREE)
    assert store.code_faults("shop", TREE)
    assert mode(place.parent) == 0o750


@pytest.mark.skipif(not ROOT, reason="needs root: gives folders away")
def test_code_is_given_to_the_apps_group(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """As root the app's folder gets the app's group, and its content the owner of all code: not who built it."""
    os.chown(home.codes, 12345, 12345)
    built = tree(tmp_path)
    for path in (built, *built.rglob("*")):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    place = store.add_code("blog", TREE, built, "nogroup")
    folder = place.parent.stat()
    assert (folder.st_uid, folder.st_gid) == (12345, grp.getgrnam("nogroup").gr_gid)
    owners = {path.lstat().st_uid for path in (place, *place.rglob("*"))}
    assert owners == {12345}


def test_an_unknown_group(store: SlugStore, tmp_path: Path) -> None:
    """A group that does not exist is an error before anything is moved."""
    built = tree(tmp_path)
    with pytest.raises(DaeError, match="runner/account"):
        store.add_code("blog", TREE, built, "no-such-group")
    assert built.is_dir()


def test_what_is_no_file_is_refused(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """A pipe inside a tree makes no layer, and leaves nothing behind."""
    built = tree(tmp_path)
    os.mkfifo(built / "bin/pipe")
    with pytest.raises(DaeError, match="build/unsafe-tree"):
        store.add_code("blog", TREE, built)
    assert names(home.codes / "blog") == []


def test_what_no_manifest_can_name(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """A tree with a name that is not UTF-8 is not published without its manifest: nothing is."""
    built = tree(tmp_path)
    Path(os.fsdecode(os.fsencode(built) + b"/\xff")).touch()
    with pytest.raises(UnicodeEncodeError):
        store.add_code("blog", TREE, built)
    assert names(home.codes / "blog") == []


@pytest.mark.skipif(not ROOT, reason="only root changes what is not its own")
def test_a_file_with_another_name_is_refused(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """As root a hard link would change a file outside of the tree."""
    victim = tmp_path / "victim"
    victim.write_text("x")
    victim.chmod(0o640)
    built = tree(tmp_path)
    (built / "file").hardlink_to(victim)
    with pytest.raises(DaeError, match="other names"):
        store.add_code("blog", TREE, built)
    assert mode(victim) == 0o640
    assert victim.read_text() == "x"


@pytest.mark.parametrize("name", ["../x", "", "x" * 64, "E" * 64, ENV + "\n"])
def test_names_are_digests(store: SlugStore, name: str) -> None:
    """What is not a digest names nothing."""
    for ask in (store.environment_faults, store.load):
        with pytest.raises(DaeError, match="slug/unknown"):
            ask(name)
    with pytest.raises(DaeError, match="slug/unknown"):
        store.code_faults("blog", name)
    with pytest.raises(DaeError, match="app/bad-name"):
        store.remove_app("../etc")


def test_a_manifest_comes_back(store: SlugStore, home: Home) -> None:
    """A slug that was saved is loaded as the same slug, under the digest of its bytes."""
    wanted = slug(workers=3)
    digest = store.save(wanted)
    assert digest == wanted.digest == store.save(wanted)
    assert store.load(digest) == wanted
    assert mode(home.slug(digest)) == 0o640
    assert names(home.slugs) == [f"{digest}.json"]


def test_an_unknown_slug(store: SlugStore) -> None:
    """A digest without a manifest is slug/unknown."""
    with pytest.raises(DaeError, match="slug/unknown"):
        store.load(ENV)


@pytest.mark.parametrize("data", [b"", b"{}", b"{", b"[]", b"\xff", canonical_json(slug(workers=9).to_json())])
def test_a_changed_manifest(store: SlugStore, home: Home, data: bytes) -> None:
    """A manifest that is not the one its name says is slug/damaged."""
    digest = store.save(slug())
    home.slug(digest).chmod(0o640)
    home.slug(digest).write_bytes(data)
    with pytest.raises(DaeError, match="slug/damaged"):
        store.load(digest)
    assert store.save(slug()) == digest
    assert store.load(digest) == slug(), "building it again mends it"


def test_verify(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """A slug is whole when its manifest, its environment and the app's code are there."""
    wanted = slug()
    with pytest.raises(DaeError, match="slug/unknown"):
        store.verify(wanted, "blog")
    store.save(wanted)
    with pytest.raises(DaeError, match="slug/damaged: the environment"):
        store.verify(wanted, "blog")
    environment(home)
    with pytest.raises(DaeError, match="slug/damaged: the code"):
        store.verify(wanted, "blog")
    store.add_code("blog", TREE, tree(tmp_path, "code"))
    store.verify(wanted, "blog")
    with pytest.raises(DaeError, match="slug/damaged: the code"):
        store.verify(wanted, "shop")


def test_code_that_was_changed(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """Code that somebody wrote to, or whose bytes the disk changed, is found, refused, and made anew in its place."""
    place = store.add_code("blog", TREE, tree(tmp_path))
    environment(home)
    store.save(slug())
    assert store.code_damage("blog", TREE) == []
    assert store.code_size("blog", TREE) == len("data") + len("#!/bin/sh\n")
    before = (place / "data.txt").stat()
    (place / "data.txt").chmod(0o644)
    (place / "data.txt").write_text("date")
    (place / "data.txt").chmod(0o444)
    assert store.code_faults("blog", TREE) == ["data.txt was changed"]
    with pytest.raises(DaeError, match=r"slug/damaged: the code .* data.txt was changed"):
        store.verify(slug(), "blog")
    os.utime(place / "data.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.code_faults("blog", TREE) == []
    assert store.code_damage("blog", TREE) == ["data.txt has other bytes than it had"]
    (home.codes / "blog" / f"{TREE}.json").unlink()
    assert store.add_code("blog", TREE, tree(tmp_path, "again")) == place
    assert (place / "data.txt").read_text() == "data"
    assert store.code_damage("blog", TREE) == []
    assert names(home.codes / "blog") == [TREE, f"{TREE}.json"]


def test_removing_an_app(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """All of an app's code goes, read-only as it is; what its links point to, and other apps, stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    built = tree(tmp_path)
    (built / "out").symlink_to(outside)
    store.add_code("blog", TREE, built)
    store.add_code("blog", "b" * 40, tree(tmp_path, "second"))
    store.add_code("blog-admin", TREE, tree(tmp_path, "other"))
    store.remove_app("blog")
    store.remove_app("blog")
    assert names(home.codes) == ["blog-admin"]
    assert not store.code_faults("blog-admin", TREE)
    assert (outside / "precious").exists()
    assert mode(outside) == 0o755


def test_sweeping(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """What a killed process left half done is removed; layers and manifests stay."""
    digest = store.save(slug())
    environment(home)
    store.add_code("blog", TREE, tree(tmp_path, "code"))
    for folder in (home.environments, home.codes, home.codes / "blog"):
        tree(folder, ".half")
        (folder / ".half/bin").chmod(0o555)
    (home.slugs / ".half").write_text("{")
    store.sweep()
    assert list(home.root.rglob(".*")) == []
    assert not store.environment_faults(ENV)
    assert not store.code_faults("blog", TREE)
    assert store.load(digest)


KILLED = """
import os, sys
from pathlib import Path
from core.paths import Home
from slugs import SlugStore
at = int(sys.argv[3])
count = 0
def trace(frame, event, argument):
    global count
    if event == "line" and frame.f_code.co_filename.endswith(("slugs/store.py", "slugs/trees.py")):
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
    return trace
store = SlugStore(Home(Path(sys.argv[1])))
sys.settrace(trace)
store.add_code("blog", "a" * 40, Path(sys.argv[2]))
"""


def test_killed_at_any_line(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """Killed at any line of adding, a layer is there with all its files, or not at all; a second try succeeds."""
    root = str(Path(__file__).parents[2])
    survived = False
    for at in range(1, 400, 9):
        built = tree(tmp_path, f"b{at}")
        command = [sys.executable, "-c", KILLED, str(home.root), str(built), str(at)]
        status = subprocess.run(command, cwd=root, env={"PYTHONPATH": root}).returncode
        if not store.code_faults("blog", TREE):
            assert names(home.code("blog", TREE)) == ["bin", "data.txt", "link", "loop"]
            assert mode(home.code("blog", TREE)) == 0o555
        store.sweep()
        store.add_code("blog", TREE, tree(tmp_path, f"again{at}"))
        store.remove_app("blog")
        if status == 0:
            survived = True
            break
        assert status == -9
    assert survived


def test_manifests_are_canonical(store: SlugStore, home: Home) -> None:
    """A manifest's file holds exactly the bytes that its digest is taken of."""
    digest = store.save(slug())
    data = home.slug(digest).read_bytes()
    assert data == canonical_json(json.loads(data))


def test_files_that_two_layers_share(store: SlugStore, home: Home, tmp_path: Path) -> None:
    """What is linked to another layer of the app is taken as it is; its bytecode goes along, no other does."""
    first = tmp_path / "first"
    first.mkdir()
    for name in ("same", "other"):
        (first / f"{name}.py").write_text(name)
    (first / "__pycache__").mkdir()
    for name in ("same", "other", "gone"):
        (first / "__pycache__" / f"{name}.cpython-311.pyc").write_text(f"of {name}")
    base = store.add_code("blog", TREE, first)

    second = tmp_path / "second"
    second.mkdir()
    (second / "same.py").hardlink_to(base / "same.py")
    (second / "other.py").write_text("changed")
    layer = store.code_layer("blog", TREE)
    assert layer is not None and layer.place == base
    assert store.link_bytecode(layer, second, {"same.py"}) == ["same.py"]
    place = store.add_code("blog", "b" * 40, second, base=layer)
    assert (place / "same.py").samefile(base / "same.py")
    assert sorted(path.name for path in (place / "__pycache__").iterdir()) == ["same.cpython-311.pyc"]
    assert store.code_damage("blog", TREE) == store.code_damage("blog", "b" * 40) == []
    assert mode(place / "other.py") == 0o444

    # What the commit brings itself stays: bytecode that was committed, and a link in the place of the folder.
    for name in ("third", "fourth", "fifth"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").hardlink_to(base / "same.py")
    (tmp_path / "third/__pycache__").mkdir()
    (tmp_path / "third/__pycache__/same.cpython-311.pyc").write_text("committed")
    (tmp_path / "fourth/elsewhere").mkdir()
    (tmp_path / "fourth/__pycache__").symlink_to("elsewhere")
    (tmp_path / "fifth/__pycache__").write_text("a file")
    for name in ("third", "fourth", "fifth"):
        assert store.link_bytecode(layer, tmp_path / name, {"same.py"}) == []
    assert (tmp_path / "third/__pycache__/same.cpython-311.pyc").read_text() == "committed"
    assert names(tmp_path / "fourth/elsewhere") == []

    (base / "same.py").chmod(0o644)
    (base / "same.py").write_text("evil")
    assert store.code_layer("blog", TREE) is None
    assert store.code_faults("blog", "b" * 40) == ["same.py was changed"], "it is the same file"
