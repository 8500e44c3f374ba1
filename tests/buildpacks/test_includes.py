"""Requirements files with options: what they come to, and what is refused, with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks.includes import load
from buildpacks.policy import Policy
from core.errors import DaeError

SHA = "sha256:" + "a" * 64
MIRROR = Policy(lambda: ("https://index.example/simple/", "http://inside.example:8080/pypi/simple"))
BAD, UNSUPPORTED = "build/bad-requirements", "build/unsupported-requirement"


def commit(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def texts(folder: Path, files: dict[str, str], policy: Policy = MIRROR) -> tuple[list[str], list[str], list[str]]:
    found = load(commit(folder, files), "r.txt", policy)
    assert found is not None
    return [line.text for line in found.lines], [line.text for line in found.constraints], list(found.options)


@pytest.mark.parametrize(
    ("files", "lines", "constraints", "options"),
    [
        ({"r.txt": "-r a.txt\nb", "a.txt": "a"}, ["a", "b"], [], []),
        ({"r.txt": "-ra.txt", "a.txt": "a"}, ["a"], [], []),
        ({"r.txt": "--requirement=in/a.txt", "in/a.txt": "-r ../b.txt\n-r c.txt", "b.txt": "b", "in/c.txt": "c"},
         ["b", "c"], [], []),
        ({"r.txt": "-r 'a b.txt'", "a b.txt": "a"}, ["a"], [], []),
        ({"r.txt": "-r a.txt\n-r a.txt", "a.txt": "a"}, ["a", "a"], [], []),
        ({"r.txt": "a\n-c c.txt", "c.txt": "b<2\n-r d.txt", "d.txt": "d<3"}, ["a"], ["b<2", "d<3"], []),
        ({"r.txt": "--constraint c.txt # why\na", "c.txt": "a==1"}, ["a"], ["a==1"], []),
        ({"r.txt": "-i https://INDEX.example/simple\na"}, ["a"], [], []),
        ({"r.txt": "--extra-index-url=http://u:p@inside.example:8080/pypi/simple/ --trusted-host inside.example"},
         [], [], []),
        ({"r.txt": "--trusted-host inside.example:8080"}, [], [], []),
        ({"r.txt": "--index-url https://index.example:443/simple"}, [], [], []),
        ({"r.txt": "--pre\na"}, ["a"], [], ["--pre"]),
        ({"r.txt": "--only-binary :all:\n--only-binary=a,b"}, [], [], ["--only-binary=:all:", "--only-binary=a",
                                                                      "--only-binary=b"]),
        ({"r.txt": f"a==1 --hash={SHA}\n-r b.txt", "b.txt": f"b==1 --hash={SHA}"}, ["a==1", "b==1"], [], []),
    ],
)  # fmt: skip
def test_what_a_file_comes_to(
    tmp_path: Path, files: dict[str, str], lines: list[str], constraints: list[str], options: list[str]
) -> None:
    """Included files, constraints, indexes that the mirror stands for, and what resolving must obey."""
    assert texts(tmp_path, files) == (lines, constraints, options)


@pytest.mark.parametrize(
    ("files", "code", "cause"),
    [
        ({"r.txt": "\n-r no.txt"}, BAD, "r.txt line 2: there is no no.txt in the commit"),
        ({"r.txt": "-r a.txt", "a.txt": "x\n-r r.txt"}, BAD, "a.txt line 2: r.txt includes itself (r.txt -> a.txt"),
        ({"r.txt": "-r ./r.txt"}, BAD, "r.txt line 1: ./r.txt includes itself"),
        ({"r.txt": "-r ../r.txt"}, UNSUPPORTED, "r.txt line 1: ../r.txt is not a file of the commit"),
        ({"r.txt": "-r a/../../r.txt"}, UNSUPPORTED, "line 1"),
        ({"r.txt": "-r /etc/passwd"}, UNSUPPORTED, "/etc/passwd is not a file of the commit"),
        ({"r.txt": "-r https://x.example/r.txt"}, UNSUPPORTED, "is not a file of the commit"),
        ({"r.txt": "-c a\x01b"}, UNSUPPORTED, r"a\x01b"),
        ({"r.txt": "-r link.txt"}, BAD, "r.txt line 1: link.txt is a symbolic link"),
        ({"r.txt": "-r out/hosts"}, BAD, "r.txt line 1: out/hosts is behind a symbolic link"),
        ({"r.txt": "-r ."}, BAD, "r.txt line 1"),
        ({"r.txt": "-r d", "d/x": ""}, BAD, "r.txt line 1: d is not a regular file"),
        ({"r.txt": "-r"}, BAD, "r.txt line 1: the option --requirement has no value"),
        ({"r.txt": "-r 'a"}, BAD, "r.txt line 1: a quotation mark"),
        ({"r.txt": "-r a.txt", "a.txt": "ok\nfla sk"}, BAD, "a.txt line 2: 'fla sk'"),
        ({"r.txt": "-c a.txt", "a.txt": "a[b]<2"}, BAD, "a.txt line 1: a constraint has no extras"),
        ({"r.txt": "-c a.txt", "a.txt": "-e ."}, BAD, "a.txt line 1: the project itself is no constraint"),
        ({"r.txt": "-i https://user:secret@other.example/simple"}, UNSUPPORTED, "https://other.example/simple is not"),
        ({"r.txt": "-i https://index.example.evil/simple"}, UNSUPPORTED, "r.txt line 1: the index"),
        ({"r.txt": "-i http://index.example/simple"}, UNSUPPORTED, "r.txt line 1: the index"),
        ({"r.txt": "-i ${INDEX}"}, UNSUPPORTED, "r.txt line 1: the index"),
        ({"r.txt": "-i https://[x/"}, UNSUPPORTED, "r.txt line 1: the index"),
        ({"r.txt": "--find-links ./wheels"}, UNSUPPORTED, "r.txt line 1: the index ./wheels"),
        ({"r.txt": "--trusted-host other.example"}, UNSUPPORTED, "the host other.example"),
        ({"r.txt": "--no-index"}, UNSUPPORTED, "'--no-index'"),
        ({"r.txt": "--no-binary :all:"}, UNSUPPORTED, "'--no-binary'"),
        ({"r.txt": "--prefer-binary"}, UNSUPPORTED, "'--prefer-binary'"),
        ({"r.txt": "--only-binary '; rm'"}, BAD, "not a project's name"),
        ({"r.txt": "-e ./lib"}, UNSUPPORTED, "'--editable'"),
        ({"r.txt": "-e git+https://x.example/a@main"}, UNSUPPORTED, "does not name a commit"),
        ({"r.txt": "--use-feature=x"}, UNSUPPORTED, "'--use-feature'"),
        ({"r.txt": f"a==1 --hash={SHA}\nb==1"}, BAD, "r.txt line 2: b has no hash, and others have"),
        ({"r.txt": "a @ https://x.example/a-1-py3-none-any.whl#sha256=" + "a" * 64}, UNSUPPORTED, "r.txt line 1"),
        ({"r.txt": "-r 0.txt", **{f"{n}.txt": f"-r {n + 1}.txt" for n in range(12)}}, BAD, "8.txt line 1: more than"),
        ({"r.txt": "-r a.txt\n" * 60, "a.txt": ""}, BAD, "r.txt line 51: more than"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, files: dict[str, str], code: str, cause: str) -> None:
    """Nothing outside the commit is read, nothing goes around the mirror, and no password is shown."""
    (tmp_path / "link.txt").symlink_to("/etc/hostname")
    (tmp_path / "out").symlink_to("/etc")
    with pytest.raises(DaeError) as caught:
        texts(tmp_path, files)
    assert caught.value.code == code
    assert cause in caught.value.cause
    assert caught.value.hint
    assert "secret" not in caught.value.line()


WORDS = st.sampled_from(
    [
        "-r",
        "-c",
        "-e",
        "-i",
        "--pre",
        "--hash=",
        "=",
        " ",
        "\n",
        ".",
        "/",
        "..",
        "r.txt",
        "a",
        "'",
        "\\",
        "[",
        "]",
        "\x00",
    ]
)


@given(st.lists(WORDS | st.text(max_size=3), max_size=12).map("".join))
def test_never_another_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever the file holds, it is read or refused with one of the two codes."""
    folder = tmp_path_factory.mktemp("r")
    (folder / "r.txt").write_text(text.encode("utf-8", "replace").decode(), newline="")
    try:
        load(folder, "r.txt", MIRROR)
    except DaeError as error:
        assert error.code in (BAD, UNSUPPORTED)
