"""Repositories on disk, and exact checkouts of hostile and odd commits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DaeError
from core.paths import Home
from receiver.checkout import Base, Checkout
from receiver.repository import Repository, hook_is_ready, install_hooks
from tests.receiver.conftest import Clone, git_environ

MODES = {"blob": "100644", "tree": "40000", "commit": "160000"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "a home: with 'all' of \"it\"")
    home.repos.mkdir(parents=True)
    home.run.mkdir()
    before = os.umask(0o077)
    yield home
    os.umask(before)


@pytest.fixture
def repository(home: Home) -> Repository:
    repository = Repository(home, "blog")
    repository.create()
    return repository


def plumb(repository: Repository, *words: str, data: bytes = b"") -> str:
    argv = ["git", f"--git-dir={repository.path}", *words]
    done = subprocess.run(argv, input=data, capture_output=True, env=git_environ(repository.path), check=True)
    return done.stdout.decode().strip()


def blob(repository: Repository, data: bytes) -> str:
    return plumb(repository, "hash-object", "-w", "--stdin", data=data)


def tree(repository: Repository, *entries: tuple[str, bytes, str]) -> str:
    """A tree object of (mode, name, object), with nothing checked: what an attacker would write."""
    data = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)
    return plumb(repository, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=data)


def commit(repository: Repository, tree_name: str) -> str:
    return plumb(repository, "commit-tree", "-m", "change", tree_name)


def check_out(repository: Repository, name: str, dest: Path, **limits: int) -> str:
    return repository.checkout(name, dest, max_bytes=limits.get("max_bytes", 1 << 20), max_files=100).tree


def refused(repository: Repository, dest: Path, *entries: tuple[str, bytes, str], **limits: int) -> DaeError:
    with pytest.raises(DaeError) as caught:
        check_out(repository, commit(repository, tree(repository, *entries)), dest, **limits)
    assert not dest.exists()
    return caught.value


def test_a_repository_is_made_once_and_whole(repository: Repository) -> None:
    """Bare, private, with the constant config; making it again changes nothing; no template's hooks."""
    before = sorted(repository.path.iterdir())
    repository.create()
    assert sorted(repository.path.iterdir()) == before
    assert sorted(p.name for p in before) == ["HEAD", "config", "dae-push.lock", "objects", "refs"]
    assert repository.path.stat().st_mode & 0o777 == 0o700
    assert plumb(repository, "config", "receive.fsckObjects") == "true"
    assert plumb(repository, "symbolic-ref", "HEAD") == "refs/heads/master"
    assert [p.name for p in repository.home.repos.iterdir()] == ["blog.git"]


def test_renaming_and_destroying(home: Home, repository: Repository) -> None:
    """Under its new name only; never onto another one; what is not there is unknown."""
    Repository(home, "shop").create()
    with pytest.raises(DaeError, match="app/exists"):
        repository.rename("shop")
    repository.rename("diary")
    assert not repository.exists
    for act in (repository.destroy, lambda: repository.rename("x")):
        with pytest.raises(DaeError, match="repo/unknown"):
            act()
    Repository(home, "diary").destroy()
    assert [p.name for p in home.repos.iterdir()] == ["shop.git"]


@pytest.mark.parametrize("name", ["../x", "Blog", "", "-x", "x-", "a/b", "blog\n", "."])
def test_no_path_is_made_of_another_name(home: Home, name: str) -> None:
    """The name is checked where the path is made."""
    with pytest.raises(DaeError, match="app/bad-name"):
        Repository(home, name).create()
    assert not list(home.repos.iterdir())


def test_a_ref_is_read_by_its_full_name_only(repository: Repository) -> None:
    """Neither an option nor git's syntax for revisions gets through."""
    name = commit(repository, tree(repository))
    plumb(repository, "update-ref", "refs/heads/master", name)
    assert repository.ref("refs/heads/master") == name
    for missing in ("refs/heads/main", "refs/heads/master^{tree}", "refs/heads/master@{0}", "refs/../HEAD"):
        assert repository.ref(missing) is None
    for wrong in ("HEAD", "--all", "master", "refs/heads/a\0b"):
        with pytest.raises(DaeError, match="push/bad-ref"):
            repository.ref(wrong)


def test_a_checkout_has_the_exact_bytes(repository: Repository, tmp_path: Path) -> None:
    """No attribute of the commit leaves a file out, fills in a keyword, or turns line ends."""
    clone = Clone(tmp_path / "work", str(repository.path))
    files = {
        "secret": b"kept",
        "version": b"$Format:%H$ $Id$",
        "dos.txt": b"a\r\nb\r\n",
        "unix.txt": b"a\nb\n",
        "big": b"\0\xff" * 1_500_000,
        "empty": b"",
        "folder/deep/er/a b\tc": b"x",
    }
    clone.commit("ok", files)
    attributes = b"secret export-ignore\nversion export-subst ident\n*.txt text eol=crlf\nbig filter=lfs\n"
    (clone.path / ".gitattributes").write_bytes(attributes)
    (clone.path / "run").write_text("#!/bin/sh\n")
    (clone.path / "run").chmod(0o755)
    (clone.path / "link").symlink_to("folder/deep")
    clone.git("add", ".gitattributes", "run", "link")
    clone.git("commit", "--quiet", "--message", "attributes")
    name = clone.git("rev-parse", "HEAD")
    clone.git("push", "--quiet", "dae", "HEAD:master")
    dest = tmp_path / "out"
    assert check_out(repository, name, dest, max_bytes=1 << 23) == clone.git("rev-parse", "HEAD^{tree}")
    assert {key: (dest / key).read_bytes() for key in files} == files
    assert (dest / ".gitattributes").read_bytes() == attributes
    assert (dest / "link").readlink() == Path("folder/deep")
    modes = {key: (dest / key).stat().st_mode & 0o7777 for key in (".", "run", "secret", "folder/deep")}
    assert modes == {".": 0o700, "run": 0o755, "secret": 0o644, "folder/deep": 0o755}
    assert not (dest / ".git").exists()


def test_replaced_objects_are_not_what_is_deployed(repository: Repository, tmp_path: Path) -> None:
    """A refs/replace/ in the repository changes nothing: the commit's name stands for its bytes."""
    good, evil = blob(repository, b"good"), blob(repository, b"evil")
    plumb(repository, "replace", good, evil)
    check_out(repository, commit(repository, tree(repository, ("100644", b"f", good))), tmp_path / "out")
    assert (tmp_path / "out" / "f").read_bytes() == b"good"


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "folder/../../x", "../../../../etc/shadow"])
def test_a_symlink_that_leads_out_is_refused_by_name(repository: Repository, tmp_path: Path, target: str) -> None:
    """The error names path and target, and nothing was written anywhere."""
    error = refused(repository, tmp_path / "out", ("120000", b"link", blob(repository, target.encode())))
    assert error.code == "build/unsafe-tree"
    assert f"link is a symlink to {target}" in error.cause


def test_nothing_is_written_through_a_symlink(repository: Repository, tmp_path: Path) -> None:
    """A tree with a link and a folder of one name, which git itself would never make."""
    inner = tree(repository, ("100644", b"f", blob(repository, b"x")))
    (tmp_path / "target").mkdir()
    link = blob(repository, b"../target")
    error = refused(repository, tmp_path / "out", ("120000", b"d", link), ("40000", b"d", inner))
    assert error.code == "build/unsafe-tree"
    assert not list((tmp_path / "target").iterdir())


def test_a_submodule_is_refused(repository: Repository, tmp_path: Path) -> None:
    """With a sentence: its files would be missing."""
    error = refused(repository, tmp_path / "out", ("160000", b"lib", "a" * 40))
    assert (error.code, "lib is a submodule" in error.cause) == ("build/unsafe-tree", True)


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"git~1", b"a/b", b"/x", b"..\\x/../../y"])
def test_names_that_only_an_attacker_writes_are_refused(repository: Repository, tmp_path: Path, name: bytes) -> None:
    """Whether as a file or as a folder."""
    content = blob(repository, b"x")
    inner = tree(repository, ("100644", b"config", content))
    if name != b"a/b":  # a slash within a name gives a plain path, and stays inside
        assert refused(repository, tmp_path / "out", ("100644", name, content)).code == "build/unsafe-tree"
    assert refused(repository, tmp_path / "out", ("40000", name + b"/..", inner)).code == "build/unsafe-tree"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a home: with 'all' of \"it\""]


def test_caps_stop_a_tree_that_unfolds_without_end(repository: Repository, tmp_path: Path) -> None:
    """Ten trees of ten entries each stand for ten thousand million files; a few hundred are looked at."""
    level = tree(repository, *(("100644", b"f%d" % n, blob(repository, b"x")) for n in range(10)))
    for _ in range(9):
        level = tree(repository, *(("40000", b"d%d" % n, level) for n in range(10)))
    name = commit(repository, level)
    with pytest.raises(DaeError) as caught:
        check_out(repository, name, tmp_path / "out")
    assert caught.value.code == "push/too-large"
    many = ("100644", b"a", blob(repository, bytes(600_000))), ("100644", b"b", blob(repository, bytes(600_000)))
    assert refused(repository, tmp_path / "out", *many).code == "push/too-large"


def test_only_commits_are_checked_out(repository: Repository, tmp_path: Path) -> None:
    """git would refuse a branch that points to a tag, after the deploy; an unknown or short name is no commit."""
    name = commit(repository, tree(repository))
    tag = f"object {name}\ntype commit\ntag v1\ntagger a <a@b> 1 +0000\n\nx\n"
    tag = plumb(repository, "hash-object", "-w", "-t", "tag", "--stdin", data=tag.encode())
    for wrong in (tag, "f" * 40, name[:12], "HEAD", "--help", name + "\n"):
        with pytest.raises(DaeError) as caught:
            check_out(repository, wrong, tmp_path / "out")
        assert caught.value.code == "push/bad-ref"
        assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(repository: Repository, tmp_path: Path) -> None:
    """The caller builds aside; a mistake must not mix two commits."""
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        check_out(repository, commit(repository, tree(repository)), tmp_path / "out")
    assert (tmp_path / "out").exists()


def test_a_missing_object_leaves_nothing_behind(repository: Repository, tmp_path: Path) -> None:
    """The damage is named, and half a tree is no tree."""
    content = blob(repository, b"soon gone")
    name = commit(repository, tree(repository, ("100644", b"a", blob(repository, b"x")), ("100644", b"b", content)))
    (repository.path / "objects" / content[:2] / content[2:]).unlink()
    with pytest.raises(DaeError):
        check_out(repository, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_objects_in_quarantine_are_seen_only_through_it(repository: Repository, tmp_path: Path) -> None:
    """A folder of git's own naming, directly inside this repository's objects, and no other."""
    name = commit(repository, tree(repository, ("100644", b"f", blob(repository, b"x"))))
    objects = repository.path / "objects"
    good = objects / "tmp_objdir-incoming-Ab1234"
    good.mkdir()
    for folder in list(objects.iterdir()):
        if len(folder.name) == 2:
            folder.rename(good / folder.name)

    def through(quarantine: Path | None) -> None:
        repository.checkout(name, tmp_path / "out", max_bytes=1000, max_files=10, quarantine=quarantine)

    with pytest.raises(DaeError, match="push/bad-ref"):
        through(None)
    outside = tmp_path / "incoming-Ab1234"
    (objects / "incoming-Ab9999").symlink_to(good)
    for wrong in (
        outside,
        objects,
        good / "..",
        good / "info",
        tmp_path,
        objects / "pack",
        objects / "incoming-nosuch",
    ):
        with pytest.raises(DaeError, match="is not a quarantine of blog"):
            through(wrong)
    outside.symlink_to(tmp_path)
    with pytest.raises(DaeError, match="is not a quarantine of blog"):
        through(outside)
    through(good)
    assert (tmp_path / "out" / "f").read_bytes() == b"x"


def test_the_hook_is_constant_and_quoted(home: Home) -> None:
    """It can be put there again and again; a path with blanks and quotes is one word of it."""
    assert not hook_is_ready(home)
    python = home.root / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    script = install_hooks(home, python) / "pre-receive"
    before = script.stat()
    assert (before.st_mode & 0o777, hook_is_ready(home)) == (0o755, True)
    install_hooks(home, python)
    assert script.stat().st_ino == before.st_ino
    done = subprocess.run([script], env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "KeyError: 'DAE_APP'" in done.stderr  # it ran, and nobody told it what for


def test_what_the_base_has_is_linked(repository: Repository, tmp_path: Path) -> None:
    """Of two commits the second one's unchanged files are links into the first one's folder; nothing else is."""
    same, cache = blob(repository, b"same"), tree(repository, ("100644", b"a.pyc", blob(repository, b"byte")))

    def files(changed: bytes, script: str) -> str:
        entries = [
            ("40000", b"__pycache__", cache),
            ("100644", b"changed.txt", blob(repository, changed)),
            (script, b"mode.sh", same),
            ("100644", b"same.txt", same),
        ]
        return commit(repository, tree(repository, *entries))

    def written(name: str, dest: str, base: Base | None = None) -> Checkout:
        return repository.checkout(name, tmp_path / dest, max_bytes=1000, max_files=10, base=base)

    first = written(files(b"one", "100644"), "first")
    assert first.linked == frozenset()
    later = files(b"two", "100755")
    second = written(later, "second", Base(first.tree, tmp_path / "first"))
    assert second.linked == {"same.txt"}
    assert (tmp_path / "second/same.txt").samefile(tmp_path / "first/same.txt")
    assert (tmp_path / "second/changed.txt").read_text() == "two"
    assert os.access(tmp_path / "second/mode.sh", os.X_OK)
    assert not (tmp_path / "first/mode.sh").stat().st_mode & 0o100
    assert not (tmp_path / "second/__pycache__/a.pyc").samefile(tmp_path / "first/__pycache__/a.pyc")
    third = written(later, "third", Base("0" * 40, tmp_path / "first"))
    assert (third.linked, third.tree) == (frozenset(), second.tree)
