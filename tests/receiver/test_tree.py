"""What may be deployed, judged from listings alone."""

import pytest

from core.errors import DaeError
from receiver.tree import Entry, check_links, is_dot_git, parse_entry, plan

BLOB = "a" * 40


def entries(*paths: bytes, size: int = 1, mode: int = 0o100644) -> list[Entry]:
    return [Entry(mode, BLOB, size, path) for path in paths]


def refused(code: str, *listed: Entry, max_bytes: int = 1000, max_files: int = 10) -> str:
    with pytest.raises(DaeError) as caught:
        plan(listed, max_bytes, max_files)
    assert caught.value.code == code
    return caught.value.cause


def test_a_record_is_mode_blob_size_and_path() -> None:
    """Blanks, line feeds and bytes that are not UTF-8 belong to the path."""
    record = b"100755 blob " + b"a" * 40 + b"      12\tfolder/a b\n\xff"
    entry = parse_entry(record)
    assert (entry.permissions, entry.size, entry.path, entry.is_link) == (0o755, 12, b"folder/a b\n\xff", False)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"160000 commit " + b"a" * 40 + b"       -\tlib", "lib is a submodule"),
        (b"040000 tree " + b"a" * 40 + b"       -\tlib", "lib has the mode 040000"),
        (b"104755 blob " + b"a" * 40 + b"       1\tlib", "lib has the mode 104755"),
        (b"100644 blob " + b"a" * 40 + b"       1\t", "cannot be read"),
        (b"junk", "cannot be read"),
    ],
)
def test_other_records_are_refused(record: bytes, words: str) -> None:
    """A submodule, and any mode but a file's and a symlink's, by name."""
    with pytest.raises(DaeError, match=words) as caught:
        parse_entry(record)
    assert caught.value.code == "build/unsafe-tree"


def test_a_plan_has_parents_first_and_links_apart() -> None:
    """Folders can be made in its order."""
    listed = [*entries(b"a/b/c/f", b"a/g", b"h"), *entries(b"a/link", mode=0o120000)]
    todo = plan(listed, 1000, 10)
    assert todo.folders == [b"a", b"a/b", b"a/b/c"]
    assert [e.path for e in todo.files] == [b"a/b/c/f", b"a/g", b"h"]
    assert [e.path for e in todo.links] == [b"a/link"]


@pytest.mark.parametrize("path", [b"caf\xe9", b"a\xff/b", b"a/\xed\xa0\x80", b"\xc0\xae"])
def test_names_are_text(path: bytes) -> None:
    """A name that is not UTF-8 could not stand in a layer's manifest: it is refused, and shown escaped."""
    cause = refused("build/unsafe-tree", *entries(path))
    assert cause.endswith("has a name that is not UTF-8") and cause.isascii() and "\\udc" in cause
    assert plan(entries("café/\N{SNOWMAN}".encode()), 1000, 10).files


def test_links_lead_to_text() -> None:
    """The same of what a symlink leads to, inside the tree as it may be."""
    with pytest.raises(DaeError, match=r"build/unsafe-tree: l is a symlink to a.udcff, a name that is not UTF-8"):
        check_links({b"l": b"a\xff"})
    check_links({b"l": "é".encode()})


def test_depth_is_bounded() -> None:
    """What walks a tree by recursion, with a file open for each folder, is not brought to its end by a path."""
    assert len(plan(entries(b"d/" * 100 + b"f"), 1000, 1000).folders) == 100
    assert "100 folders" in refused("build/unsafe-tree", *entries(b"d/" * 101 + b"f"))


@pytest.mark.parametrize(
    "path",
    [
        b"../x", b"a/../x", b"a/..", b"..", b".", b"./x", b"/etc/passwd", b"/x", b"a//b", b"a/", b"a/./b", b"a\0b",
        b".git", b".git/config", b"a/.git/hooks/x", b".GIT/config", b".Git", b"GIT~1/config", b"git~1", b".git.",
        b".git ", b".git . .", b".git::$INDEX_ALLOCATION/config", b".git\\config", b"a\\.git\\config",
        ".g\u200cit/config".encode(), "\ufeff.git".encode(), b"x" * 256, b"x/" * 1100 + b"x",
    ],
)  # fmt: skip
def test_paths_that_no_commit_needs_are_refused(path: bytes) -> None:
    """``..``, absolute, empty, ``.git`` as any file system reads it, and what is too long for a file system."""
    refused("build/unsafe-tree", *entries(path))


@pytest.mark.parametrize("name", [b".github", b".gitignore", b".gitattributes", b"git", b".gitx", b"x.git", b"git~2"])
def test_names_that_only_resemble_it_are_fine(name: bytes) -> None:
    """They are ordinary files."""
    assert not is_dot_git(name)


def test_a_path_is_there_once_and_is_one_thing() -> None:
    """A tree with duplicates could be one thing to a check and another to the disk."""
    refused("build/unsafe-tree", *entries(b"a", b"a"))
    refused("build/unsafe-tree", *entries(b"a", b"a/b"))
    refused("build/unsafe-tree", *entries(b"a/b"), *entries(b"a", mode=0o120000))


def test_counts_and_sizes_are_capped() -> None:
    """Bytes, files, folders, and how much of an endless listing is read."""
    assert "1,000 bytes" in refused("push/too-large", *entries(b"a", b"b", size=501))
    refused("push/too-large", *entries(*(b"f%d" % n for n in range(11))))
    refused("push/too-large", *entries(b"/".join([b"d"] * 12)))
    endless = (Entry(0o100644, BLOB, 0, b"f%d" % n) for n in range(10**9))
    with pytest.raises(DaeError, match="more than 10 files"):
        plan(endless, 1000, 10)
    refused("build/unsafe-tree", *entries(b"link", mode=0o120000, size=0))
    refused("build/unsafe-tree", *entries(b"link", mode=0o120000, size=4000), max_bytes=9000)


@pytest.mark.parametrize(
    "links",
    [
        {b"a": b"b"},
        {b"a": b"missing/later"},
        {b"d/a": b"../b"},
        {b"d/a": b"../d/./../d//b"},
        {b"here": b"."},
        {b"d/top": b".."},
        {b"a": b"b", b"b": b"c/..", b"c": b"d/e"},
        {b"deep": b"one/two/three", b"up": b"deep/../../x"},
    ],
)
def test_links_inside_the_commit_are_fine(links: dict[bytes, bytes]) -> None:
    """Relative, to a file, a folder, the root, or to nothing yet."""
    check_links(links)


@pytest.mark.parametrize(
    "links",
    [
        {b"a": b"/etc/passwd"},
        {b"a": b".."},
        {b"a": b"../x"},
        {b"d/a": b"../../x"},
        {b"a": b"b/../../x"},
        {b"a": b"x\0y"},
        {b"p/q/d": b"../..", b"x": b"p/q/d/../secret"},  # on the text alone: p/q/secret
        {b"here": b".", b"x": b"here/here/../y"},
        {b"a": b"b", b"b": b"/etc"},
        {b"a": b"a"},
        {b"a": b"b", b"b": b"a"},
    ],
)
def test_links_that_lead_out_are_refused(links: dict[bytes, bytes]) -> None:
    """Absolute, upward, through one another, in circles: by path and target."""
    with pytest.raises(DaeError) as caught:
        check_links(links)
    assert caught.value.code == "build/unsafe-tree"


def test_following_links_takes_bounded_work() -> None:
    """Thousands of links through one another are refused, not followed for minutes."""
    links = {b"l%d" % n: b"/".join([b"x", b".."] * 300) + b"/l%d" % (n + 1) for n in range(5000)}
    with pytest.raises(DaeError, match="too many others"):
        check_links(links)


def test_nothing_in_a_path_reaches_a_terminal() -> None:
    """Escape sequences are shown as text."""
    cause = refused("build/unsafe-tree", *entries(b"\x1b[2J\n/../x"))
    assert "\x1b" not in cause
    assert "\n" not in cause
