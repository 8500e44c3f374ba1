"""Which compile steps a commit has, and how they run."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildpacks import Recipe, steps
from buildpacks.shown import LINE_BYTES, LINE_CHARS, Shown
from buildpacks.stepping import oom_kills, run
from buildpacks.steps import Order, Step
from core.errors import DaeError
from core.nouns import Handler, Process, ProcessType

WEB = Process("web", ProcessType.WEB, "gunicorn app:app")
RECIPE = Recipe((WEB,))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """An environment layer as far as steps look at it: Django is in it, and programs called node and npm."""
    folder = tmp_path / "env"
    for name in ("lib/python3.11/site-packages/django/__init__.py", "bin/node", "bin/npm"):
        write(folder, {name: ""})
        (folder / name).chmod(0o755)
    return folder


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def names(source: Path, recipe: Recipe, layer: Path, **values: str) -> list[str]:
    return [step.name for step in steps.plan(source, recipe, layer, values)]


ALL = {"package.json": "{}", "manage.py": "", "bin/pre_compile": "", "bin/post_compile": ""}


def test_the_order(source: Path, layer: Path) -> None:
    """Assets first, so that Django collects them; the app's own commands between the two scripts."""
    write(source, ALL)
    assert names(source, replace(RECIPE, build=("make a", "make b")), layer) == [
        "npm install", "npm run build --if-present", "bin/pre_compile", "make a", "make b",
        "manage.py collectstatic", "bin/post_compile",
    ]  # fmt: skip


def test_most_commits_have_none(source: Path, layer: Path) -> None:
    """Nothing is run of a commit that asks for nothing."""
    write(source, {"app.py": "", "bin/other": "", "static/package.json": "{}"})
    assert names(source, RECIPE, layer) == []


@pytest.mark.parametrize(
    ("files", "recipe", "none"),
    [
        ({"app.py": "", "bin/other": ""}, RECIPE, True),
        ({"index.html": ""}, replace(RECIPE, buildpacks=("static",)), True),
        ({}, replace(RECIPE, build=("make",)), False),
        ({"server/manage.py": ""}, RECIPE, False),
        ({}, replace(RECIPE, buildpacks=("node", "python")), False),
        *(({name: ""}, RECIPE, False) for name in ALL),
    ],
)
def test_what_certainly_has_none(
    source: Path, layer: Path, files: Mapping[str, str], recipe: Recipe, none: bool
) -> None:
    """Said without an environment, and never of a commit for which one with everything in it gives a step."""
    write(source, files)
    assert steps.has_none(source, recipe) is none
    if none:
        assert names(source, recipe, layer) == []


@pytest.mark.parametrize("lock", ["package-lock.json", "npm-shrinkwrap.json"])
def test_a_lock_is_kept_to(source: Path, layer: Path, lock: str) -> None:
    """With a lock, exactly what it says is installed."""
    write(source, {"package.json": "{}", lock: "{}"})
    assert names(source, RECIPE, layer)[0] == "npm ci"


def test_what_is_switched_off(source: Path, layer: Path) -> None:
    """Two switches in app.yaml, and the variable that other platforms know."""
    write(source, {"package.json": "{}", "manage.py": ""})
    assert names(source, replace(RECIPE, assets=False, collectstatic=False), layer) == []
    assert names(source, replace(RECIPE, assets=False), layer, DISABLE_COLLECTSTATIC="1") == []
    assert names(source, replace(RECIPE, assets=False), layer, DISABLE_COLLECTSTATIC="0") == ["manage.py collectstatic"]


def test_django_below_the_top(source: Path, layer: Path) -> None:
    """One manage.py is found wherever it stands; of several the push says that none is run, and what to write."""
    write(source, {"server/manage.py": "", "node_modules/x/manage.py": "", "app.py": ""})
    assert steps.notes(source, RECIPE, layer) == ()
    (step,) = steps.plan(source, RECIPE, layer, {})
    assert (step.name, step.argv[2:]) == ("server/manage.py collectstatic", ("server",))
    write(source, {"other/deep/manage.py": ""})
    assert names(source, RECIPE, layer) == []
    (note,) = steps.notes(source, RECIPE, layer)
    assert "server/manage.py and other/deep/manage.py exist side by side" in note
    assert "cd server && python manage.py collectstatic --noinput" in note
    assert steps.notes(source, replace(RECIPE, collectstatic=False), layer) == ()
    write(source, {"manage.py": ""})
    assert names(source, RECIPE, layer) == ["manage.py collectstatic"]


def test_django_must_be_there(source: Path, tmp_path: Path) -> None:
    """A manage.py of something else is not Django's."""
    write(source, {"manage.py": ""})
    assert names(source, RECIPE, tmp_path / "empty") == []


def test_no_node(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has no node: said before anything runs, with the switch."""
    write(source, {"package.json": "{}"})
    monkeypatch.setattr(steps, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(DaeError, match="build/no-node") as caught:
        names(source, RECIPE, tmp_path / "empty")
    assert "assets: off" in caught.value.hint


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        (RECIPE, False),
        (Recipe((WEB, Process("side", ProcessType.WORKER, "node side.js"))), True),
        (Recipe((WEB, Process("side", ProcessType.WORKER, "exec npx thing"))), True),
        (Recipe((WEB, Process("side", ProcessType.WORKER, "python nodes.py"))), False),
        (Recipe((WEB,), handlers=(Handler("/v/(.*)", static_files="node_modules/\\1"),)), True),
    ],
)
def test_who_needs_the_modules(recipe: Recipe, kept: bool) -> None:
    """npm's packages stay for what names them."""
    assert steps.keeps_modules(recipe) is kept


def test_names_of_code() -> None:
    """Everything that goes into the code is in its name, which has the form of a git tree's."""
    order = Order((Step("a", ("a",)),), "/env", {"KEY": "value"})
    name = steps.code_name("1" * 40, "2" * 64, order, "python/3")
    assert len(name) == 40 and set(name) <= set("0123456789abcdef")
    others = [
        steps.code_name("3" * 40, "2" * 64, order, "python/3"),
        steps.code_name("1" * 40, "4" * 64, order, "python/3"),
        steps.code_name("1" * 40, "2" * 64, replace(order, steps=(Step("a", ("b",)),)), "python/3"),
        steps.code_name("1" * 40, "2" * 64, replace(order, values={"KEY": "other"}), "python/3"),
        steps.code_name("1" * 40, "2" * 64, replace(order, drop_modules=True), "python/3"),
        steps.code_name("1" * 40, "2" * 64, replace(order, python_path=("src",)), "python/3"),
        steps.code_name("1" * 40, "2" * 64, order, "python/4"),
    ]
    assert len({name, *others}) == 8
    assert steps.code_name("1" * 40, "2" * 64, replace(order, timeout=5), "python/3") == name


def test_an_order_survives_its_file() -> None:
    """What the worker reads is what control wrote; anything else is refused."""
    order = Order(
        (Step("a", ("a", "b"), "hint"),), "/env", {"K": "v"}, ("http://x/", "http://y/"), drop_modules=True, timeout=7
    )
    assert Order.from_json(order.to_json()) == order
    for bad in (b"[]", b"{", b'{"steps": []}', b'{"steps": [{"name": "x"}], "environment": "/"}'):
        with pytest.raises(DaeError, match="input/invalid"):
            Order.from_json(bad)


# --- running them


class Ran:
    """Steps of shell commands that were run in a folder: what was said, how it ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def __call__(self, *commands: str, kills: Callable[[], int | None] | None = None, **other: Any) -> None:
        (self.folder / "code").mkdir(exist_ok=True)
        made = tuple(Step(command, ("/bin/sh", "-c", command)) for command in commands)
        order = Order(made, str(Path(sys.prefix)), **{"timeout": 60, **other})
        run(self.folder, order, self.said.append, kills)


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path)


def test_what_a_step_sees(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkout as its folder, the environment's python first, its own HOME, its variables, nothing of ours."""
    monkeypatch.setenv("DAE_HOME", "/x")
    monkeypatch.setenv("SECRET", "x")
    values = {"API_KEY": "v", "PATH": "/evil", "HOME": "/evil"}
    ran('python -c \'import os, json; json.dump([os.getcwd(), dict(os.environ)], open("seen", "w"))\'', values=values)
    cwd, environ = json.loads((ran.folder / "code/seen").read_text())
    assert cwd == str(ran.folder / "code")
    assert environ["PATH"].split(":")[0] == f"{sys.prefix}/bin"
    assert environ["HOME"] == str(ran.folder / "home") and environ["TMPDIR"] == str(ran.folder / "tmp")
    assert environ["API_KEY"] == "v"
    assert [name for name in environ if name.startswith("DAE_")] == ["DAE_PERMDIR"]
    assert Path(environ["DAE_PERMDIR"]).parent == ran.folder
    assert "SECRET" not in environ


def test_where_modules_are_imported_from(ran: Ran) -> None:
    """Steps import from the folders that the app imports from; tests run in a folder of which nothing is kept."""
    ran.folder.joinpath("trial/src").mkdir(parents=True)
    ran.folder.joinpath("trial/src/shop.py").touch()
    ran("python -c 'import shop'; pwd", python_path=("src",), tests=True)
    assert ran.said[1:] == [f"       {ran.folder / 'trial'}"]


def test_the_platform_is_what_tools_ask(ran: Ran) -> None:
    """npm, pip and uv themselves read which index they ask; an app's variables do not change it."""
    indexes = ("http://127.0.0.1:9/pypi/simple/", "http://127.0.0.1:9/npm/")
    ask = ("npm config get registry", "pip config get :env:.index-url", "env")
    ran(*ask, indexes=indexes, values={"npm_config_registry": "http://other/"})
    said = [line.strip() for line in ran.said if not line.startswith("----->")]
    assert said[:2] == [indexes[1], indexes[0]]
    assert f"UV_DEFAULT_INDEX={indexes[0]}" in said


def test_output_is_indented(ran: Ran) -> None:
    """Each step is announced, each line of it stands below, errors too."""
    ran("echo one; echo two >&2", "printf three")
    assert ran.said == [
        "-----> Running echo one; echo two >&2", "       one", "       two",
        "-----> Running printf three", "       three",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "exit 3 ended with status 3"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("no-such-program-of-ours", "ended with status 127"),
    ],
)
def test_a_failing_step(ran: Ran, command: str, told: str) -> None:
    """It is named with its status or signal, and the next one is not run."""
    with pytest.raises(DaeError, match="build/step-failed") as caught:
        ran(command, "touch next", kills=lambda: 4)
    assert told in caught.value.cause
    assert "memory" not in caught.value.cause
    assert not (ran.folder / "code/next").exists()


def test_a_command_that_is_not_there(ran: Ran) -> None:
    """The error says what to write in its place; of a variable's value it tells the name."""
    with pytest.raises(DaeError) as caught:
        ran("poetry run python -V; exit 127", values={"PATH": "/nowhere"})
    assert "write 'python -V' alone" in caught.value.hint
    with pytest.raises(DaeError) as caught:
        ran("$KEY now", values={"KEY": "hidden-value"})
    assert "no program [KEY]," in caught.value.hint


@pytest.mark.parametrize("command", ["kill -KILL $$", "(kill -KILL $(exec sh -c 'echo $PPID')); exit $?"])
def test_killed_for_memory(ran: Ran, command: str) -> None:
    """SIGKILL while the kernel's count of such ends grew."""
    counts = iter([4, 5])
    with pytest.raises(DaeError, match="out of memory"):
        ran(command, kills=lambda: next(counts))


def test_a_program_that_got_no_memory(ran: Ran) -> None:
    """Python says so itself."""
    with pytest.raises(DaeError, match="out of memory"):
        ran("ulimit -v 400000; exec python -c 'x = bytearray(1 << 30)'")


def test_the_kernels_count(tmp_path: Path) -> None:
    """Read where the kernel tells it; old ones do not."""
    write(tmp_path, {"vmstat": "nr_free 1\noom_kill 7\nz 2\n", "old": "nr_free 1\n"})
    assert [oom_kills(tmp_path / name) for name in ("vmstat", "old", "none")] == [7, None, None]


def test_time_is_over(ran: Ran) -> None:
    """The step that ran when the time of the build was over is named."""
    with pytest.raises(DaeError, match=r"build/timeout.*sleep 600"):
        ran("sleep 600", timeout=1)


def test_no_folder_any_more(ran: Ran) -> None:
    """A step that removes the checkout: the next one has no place to run in."""
    with pytest.raises(DaeError, match=r"build/step-failed.*folder of the code is gone"):
        ran("rm -rf $PWD", "true")


def test_modules_go(ran: Ran) -> None:
    """What npm installed is removed when all is done, and stays until then; a committed folder stays for ever."""
    make = "mkdir -p node_modules/x && touch node_modules/x/y"
    ran(make, "test -e node_modules/x/y", drop_modules=True)
    assert not (ran.folder / "code/node_modules").exists()
    ran(make)
    ran("true", drop_modules=True)
    assert (ran.folder / "code/node_modules/x/y").exists()


def test_a_script_without_its_bit(source: Path, tmp_path: Path) -> None:
    """bin/pre_compile runs though nobody made it executable, and without a line '#!' too."""
    write(source, {"bin/pre_compile": "echo plain > made\n", "bin/post_compile": f"#!{sys.executable}\nprint(6 * 7)\n"})
    said: list[str] = []
    found = steps.plan(source, RECIPE, tmp_path / "empty", {})
    run(tmp_path, Order(found, "/none"), said.append)
    assert (source / "made").read_text() == "plain\n"
    assert said[-1] == "       42"
    assert stat.S_IMODE((source / "bin/pre_compile").stat().st_mode) & 0o111


def test_the_worker_takes_the_order(tmp_path: Path) -> None:
    """The program that the agent starts runs it, and its error becomes the result."""
    (tmp_path / "code").mkdir()
    order = Order((Step("s", ("/bin/sh", "-c", "echo $V; exit 5")),), str(Path(sys.prefix)), {"V": "hidden-value"})
    (tmp_path / "steps.json").write_bytes(order.to_json())
    command = [sys.executable, "-I", "-m", "buildpacks.worker", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "-----> Running s\n       [V]\n")
    assert json.loads((tmp_path / "result.json").read_text())["error"] == "build/step-failed"


# --- what is shown


def shown(*chunks: bytes, most: int = 10_000, **secrets: str) -> list[str]:
    said: list[str] = []
    made = Shown(secrets, lambda line: said.append(line.removeprefix("       ")), most)
    for chunk in chunks:
        made.feed(chunk)
    made.close()
    return said


def test_values_are_redacted() -> None:
    """Wherever they stand, however the output is cut, the longest first; a short one stands everywhere and stays."""
    assert shown(b"a secret-1 b secret-1\n", KEY="secret-1") == ["a [KEY] b [KEY]"]
    assert shown(b"a sec", b"ret", b"-1 b\nsecr", b"et-1", KEY="secret-1") == ["a [KEY] b", "[KEY]"]
    assert shown(b"secret-12 secret-1\n", A="secret-1", B="secret-12") == ["[B] [A]"]
    assert shown(b"abcde abcdef\n", A="abcde", B="abcdef") == ["abcde [B]"]
    assert shown("grün-grün\n".encode(), K="grün-grün") == ["[K]"]


def test_values_of_several_lines() -> None:
    """A key in PEM is redacted line by line."""
    assert shown(b"x\nAAAAAAAA\nBBBBBBBB\ny\n", KEY="AAAAAAAA\r\nBBBBBBBB\n") == ["x", "[KEY]", "[KEY]", "y"]


def test_a_control_character_hides_nothing() -> None:
    """They are taken out before the values are looked for."""
    assert shown(b"sec\x00ret\x1b-1\n", KEY="secret-1") == ["[KEY]"]


def test_progress_bars_are_their_last_state() -> None:
    """A line that is written over and over is shown once."""
    assert shown(b"10%\r20%\rdone\r\n") == ["done"]


def test_long_lines_are_cut() -> None:
    """Cut for people; and where even more is not looked at, no beginning of a value slips through."""
    (line,) = shown(b"x" * 5000)
    assert len(line) == LINE_CHARS and line.endswith("...")
    value = "v" + "0123456789" * 6000
    data = (value * 8).encode()
    (line,) = shown(data[: len(data) // 2], data[len(data) // 2 :], b"\n", KEY=value)
    assert len(data) > LINE_BYTES
    assert line.replace("[KEY]", "") == ""


def test_huge_output() -> None:
    """It ends with a line that says so, and what follows is not shown."""
    said = shown(*[b"line of ten\n"] * 1000, most=100)
    assert len(said) < 15
    assert said[-1] == "(the output is too long: the rest of it is not shown)"
