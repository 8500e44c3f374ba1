"""Classic buildpacks: which there are, how they run, what they say, what they keep."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildpacks import Recipe, detect, installed, released, steps
from buildpacks.classic import ENV
from buildpacks.released import Released
from buildpacks.stepping import run
from buildpacks.steps import Order
from core.errors import DaeError
from core.nouns import Process, ProcessType

FILES = {"bin/detect": "#!/bin/sh\n", "bin/compile": "#!/bin/sh\n"}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def fails(code: str, what: Callable[[], Any]) -> str:
    with pytest.raises(DaeError) as caught:
        what()
    assert caught.value.code == code
    return caught.value.line()


# -- those that an operator has


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Two buildpacks, and what is none."""
    folder = tmp_path / "shelf"
    for name in ("node", "ruby", "python", "UPPER", ".hidden"):
        write(folder / name, FILES)
    write(folder / "half", {"bin/detect": ""})
    (folder / "linked").symlink_to("node")
    return folder


def test_which_there_are(shelf: Path) -> None:
    """Subfolders with both programs; names of ours stay ours; nothing of a name leads elsewhere."""
    assert installed.choose(shelf, ("python",)).text == "python/3"
    for name in ("half", "linked", "../shelf/node", "node/.", "", "UPPER", ".hidden", "node\n"):
        told = fails("build/unknown-buildpack", lambda name=name: installed.choose(shelf, (name,)))  # type: ignore[misc]
        assert told.endswith("there are: node, python, ruby, static")
    assert "there are: python, static" in fails(
        "build/unknown-buildpack", lambda: installed.choose(shelf / "none", ("node",))
    )


def test_its_digest_is_its_content(shelf: Path) -> None:
    """Names, bytes, whether something is a program, where links lead; not times, and not the operator's .git."""
    before = installed.choose(shelf, ("node", "python")).text
    assert installed.names_in(before) == ("node", "python")
    write(shelf / "node", {".git/HEAD": "x"})
    os.utime(shelf / "node" / "bin" / "compile", (1, 1))
    assert installed.choose(shelf, ("node", "python")).text == before
    seen = {before}
    for change in (
        lambda: (shelf / "node" / "lib").write_text("x"),
        lambda: (shelf / "node" / "lib").write_text("y"),
        lambda: (shelf / "node" / "lib").chmod(0o755),
        lambda: (shelf / "node" / "lib").rename(shelf / "node" / "lib2"),
        lambda: (shelf / "node" / "link").symlink_to("lib2"),
        lambda: (shelf / "node" / "lib2" / "..").resolve() and write(shelf / "node", {"sub/.git/HEAD": "x"}),
    ):
        change()
        text = installed.choose(shelf, ("node", "python")).text
        assert text not in seen
        seen.add(text)


def test_what_others_can_write(shelf: Path) -> None:
    """Then it is not the operator's word that runs."""
    (shelf / "ruby" / "bin" / "detect").chmod(0o757)
    assert "chmod" in fails("build/unknown-buildpack", lambda: installed.choose(shelf, ("ruby",)))


def test_a_copy(shelf: Path, tmp_path: Path) -> None:
    """It is what was chosen, or nothing."""
    (shelf / "node" / "bin" / "compile").chmod(0o644)
    write(shelf / "node", {".git/HEAD": "x"})
    (pack,) = installed.choose(shelf, ("node",)).classic
    installed.copy(pack, tmp_path / "copy")
    assert (tmp_path / "copy" / "bin" / "compile").stat().st_mode & 0o111
    assert not (tmp_path / "copy" / ".git").exists()
    write(shelf / "node", {"bin/compile": "another"})
    fails("build/failed", lambda: installed.copy(pack, tmp_path / "another"))


# -- what bin/release says

RELEASES = [
    ("", Released()),
    ("---\n", Released()),
    ("--- {}\n", Released()),
    ("addons: []\ndefault_process_types:\n", Released()),
    ("---\ndefault_process_types:\n  web: 'run $PORT'\n", Released({"web": "run $PORT"})),
    ("config_vars: {A: '', B: 1.10, c_d:}", Released({}, {"A": "", "B": "1.10", "c_d": ""})),
]


@pytest.mark.parametrize(("text", "found"), RELEASES)
def test_release(text: str, found: Released, tmp_path: Path) -> None:
    """Values are what is written; and what is kept in the code says the same again."""
    assert released.parse(text) == found
    released.keep(tmp_path, found)
    assert released.read(tmp_path) == found


@pytest.mark.parametrize(
    "text",
    [
        "[]", "web", "default_process_types: []", "default_process_types: {web: [a]}",
        "default_process_types: {web: ''}", "default_process_types: {../x: a}", "config_vars: {A B: c}",
        "config_vars: {'$(id)': c}", "more: {}", "a: &b [*b]",
        "!!python/object:os.system x", "config_vars: {A: 1, A: 2}", "\t", "x" * 70_000,
    ],
)  # fmt: skip
def test_a_bad_release(text: str, tmp_path: Path) -> None:
    """Refused, whoever wrote it."""
    (tmp_path / released.FILE).write_text(text)
    fails("build/step-failed", lambda: released.read(tmp_path))


def test_config_vars_are_words_not_code(tmp_path: Path) -> None:
    """They hold where there is no value, and nothing in them is run."""
    evil = "$(touch evil) `touch evil` '; touch evil; '"
    released.keep(tmp_path, Released({}, {"A": evil, "B": "default"}))
    script = f'. ./{released.PROFILE}; printf "%s|%s" "$A" "$B"'
    told = subprocess.run(["sh", "-c", script], cwd=tmp_path, env={"B": ""}, capture_output=True, text=True, check=True)
    assert told.stdout == f"{evil}|"
    assert not (tmp_path / "evil").exists()


def test_what_stood_there_goes(tmp_path: Path) -> None:
    """The commit's own .release, and a link in its place, count for nothing."""
    outside = tmp_path / "outside"
    outside.write_text("x")
    (tmp_path / "code" / ".profile.d").mkdir(parents=True)
    for name in (released.FILE, str(released.PROFILE)):
        (tmp_path / "code" / name).symlink_to(outside)
    released.keep(tmp_path / "code", Released({}, {"A": "b"}))
    assert outside.read_text() == "x"
    assert released.read(tmp_path / "code").config == {"A": "b"}


# -- which steps, and which processes


def test_the_order(shelf: Path, tmp_path: Path) -> None:
    """As app.yaml has them; the app's own commands are Python's, or come after all; the last one's release counts."""
    write(shelf / "ruby", {"bin/release": ""})
    source = write(tmp_path / "code", {"package.json": "{}", "bin/post_compile": ""})

    def names(*wanted: str) -> list[str]:
        recipe = Recipe((), buildpacks=wanted, build=("mine",), assets=False)
        return [s.name for s in steps.plan(source, recipe, tmp_path, {}, installed.choose(shelf, wanted).classic)]

    node, ruby = (["bin/detect of " + name, "bin/compile of " + name] for name in ("node", "ruby"))
    assert names("node", "ruby") == [*node, *ruby, "mine", "bin/release of ruby"]
    assert names("ruby", "node") == [*ruby, *node, "mine"]
    assert names("ruby", "python") == [*ruby, "mine", "bin/post_compile"]
    assert names("python", "ruby") == ["mine", "bin/post_compile", *ruby, "bin/release of ruby"]
    assert names("static") == ["mine"]


def test_processes_of_the_commit_come_first() -> None:
    """What it does not name is taken from bin/release; something has to run."""
    mine = Recipe((Process("web", ProcessType.WEB, "mine"),), buildpacks=("node",))
    found = mine.with_defaults({"web": "theirs", "release": "migrate", "clock": "tick"})
    kinds = [(p.name, p.kind, p.command) for p in found.processes]
    assert kinds == [
        ("web", ProcessType.WEB, "mine"),
        ("release", ProcessType.RELEASE, "migrate"),
        ("clock", ProcessType.WORKER, "tick"),
    ]
    assert "node" in fails("build/no-entry", lambda: Recipe((), buildpacks=("node",)).with_defaults({"release": "x"}))


def test_detection(tmp_path: Path) -> None:
    """Requirements count for Python alone; a site needs an index.html and nothing that could be a program."""
    site = write(tmp_path / "site", {"index.html": ""})
    assert detect(site).buildpacks == ("static",)
    assert detect(site).processes == (Process("web", ProcessType.WEB),)
    write(site, {"app.yaml": "health: {path: /}"})
    assert detect(site).handlers[0].wsgi_app == "dae.runtime.site:application"
    write(site, {"app.py": ""})
    assert "buildpacks: [static]" in fails(
        "build/no-entry", lambda: detect(write(tmp_path / "b", {"index.html": "", "a.py": ""}))
    )
    write(site, {"app.yaml": "buildpacks: [node]", "Pipfile": "", "runtime.txt": "python-1.0"})
    assert (detect(site).processes, detect(site).is_python, detect(site).requirements) == ((), False, "")
    write(site, {"app.yaml": "buildpacks: [node, python]"})
    fails("build/unsupported-manifest", lambda: detect(site))


# -- at work


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder of a build."""
    (tmp_path / "work" / "code").mkdir(parents=True)
    return tmp_path / "work"


def order(*packs: str, **more: Any) -> Order:
    """Compile them all, and ask the last one."""
    found = [steps.Step(f"bin/compile of {name}", ("bin/compile",), pack=name) for name in packs]
    found.append(steps.Step("bin/release", ("bin/release",), pack=packs[-1]))
    return Order(tuple(found), "/usr", packs=packs, stack="heroku-24", **{"cache_bytes": 1 << 20, **more})


SAY_NOTHING = {"bin/release": "#!/bin/sh\n"}


def pack(work: Path, name: str, compiling: str) -> None:
    write(work / "packs" / name, {**SAY_NOTHING, "bin/compile": f"#!/bin/sh\n{compiling}\n"})


def told(work: Path, what: Order) -> list[str]:
    lines: list[str] = []
    run(work, what, lines.append, lambda: None)
    return lines


def test_what_a_buildpack_sees(work: Path) -> None:
    """Three folders, no config in its environment, what the one before it exported; its variables go afterwards."""
    pack(work, "1-a", 'echo "export SEEN=\'$3 $KEY\' PATH=/nowhere:$PATH; return" > "${0%/bin/compile}/export"')
    pack(
        work,
        "2-b",
        'echo "$SEEN" "${PYTHONPATH-none}" "$PWD" > "$1/seen"; cat "$3"/* >> "$1/seen"; ls "$2" >> "$1/seen"',
    )
    what = order("1-a", "2-b", values={"KEY": "value"})
    assert Order.from_json(what.to_json()) == what
    told(work, what)
    seen = (work / "code" / "seen").read_text()
    assert seen == f"{work / ENV}  none {work / 'code'}\nvalue"
    assert not (work / ENV).exists()


def test_its_variables_go_when_it_fails(work: Path) -> None:
    """Whatever ends a build."""
    pack(work, "1-a", "exit 9")
    assert "ended with status 9" in fails("build/step-failed", lambda: told(work, order("1-a", values={"K": "v"})))
    assert not (work / ENV).exists()


def test_the_cache(work: Path) -> None:
    """What one build leaves the next one finds: files, modes, and links as links."""
    pack(work, "1-a", 'mkdir -m 700 "$2/d"; echo x > "$2/d/f"; chmod 500 "$2/d/f"; ln -s /etc "$2/etc"')
    assert not [line for line in told(work, order("1-a")) if "!" in line]
    pack(work, "1-a", 'ls -lR "$2" | cut -c1-10 > "$1/seen"; readlink "$2/etc" >> "$1/seen"')
    told(work, order("1-a"))
    seen = (work / "code" / "seen").read_text()
    assert "drwx------" in seen and "-r-x------" in seen and seen.endswith("/etc\n")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ('head -c 2000000 /dev/zero > "$2/large"', "more than 1 MiB"),
        ('truncate -s 1G "$2/hole"', "more than 1 MiB"),
        ('cd "$2" && seq 2000 | xargs touch', "more than 1 MiB"),
        ('rmdir "$2"; ln -s /etc "$2"', "no folder any more"),
        ('rmdir "$2"; touch "$2"', "no folder any more"),
    ],
)
def test_a_cache_that_is_not_kept(work: Path, does: str, says: str) -> None:
    """The build is fine; the next one begins with an empty cache, and this one says so."""
    (work / "cache.tar").write_bytes(b"broken")
    pack(work, "1-a", does)
    lines = told(work, order("1-a"))
    assert any("cannot be read" in line for line in lines)
    assert any(says in line for line in lines)
    assert not (work / "cache.tar").exists()


def test_an_archive_that_leads_out(work: Path, tmp_path: Path) -> None:
    """Nothing is unpacked elsewhere: through a link, or above."""
    (tmp_path / "a").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "a" / "x").write_text("evil")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    archive = work / "cache.tar"
    names = ["--transform", "s,^a/x,link/x,", "--transform", "s,^b/x,../../out/y,"]
    (tmp_path / "b").symlink_to("a")
    subprocess.run(["tar", "-cPf", archive, "-C", tmp_path, "--no-recursion", *names, "link", "a/x", "b/x"], check=True)
    pack(work, "1-a", "true")
    told(work, order("1-a"))
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_kept(work: Path) -> None:
    """When the operator says so."""
    pack(work, "1-a", 'touch "$2/x"')
    told(work, replace(order("1-a"), cache_bytes=0))
    assert not (work / "cache.tar").exists()
