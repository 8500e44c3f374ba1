"""Specs, plans and names: pure functions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import DaeError
from core.nouns import Handler, Instance, Process, ProcessType, Slug
from core.paths import Home
from runner.accounts import NAME_LENGTH, app_account
from runner.instances import ReleaseFile, spec_for, uses_port
from runner.limits import host_report, instance_limits
from runner.plan import plan, text
from runner.stream import LINE_CHARS, TOTAL_BYTES, Lines

HOME = Home(Path("/h"))
SETTINGS = Settings(home=Path("/h"), instance_memory=1 << 30)
HANDLERS = (Handler("/static/(.*)", static_files=r"static/\1"), Handler("/.*", wsgi_app="app:app"))
SLUG = Slug(
    commit="d" * 40,
    code="c" * 40,
    environment="e" * 64,
    interpreter="cpython-3.11",
    buildpack="python/1",
    processes=(
        Process("web", ProcessType.WEB),
        Process("mailer", ProcessType.WORKER, "python -m mailer"),
        Process("idle", ProcessType.WORKER),
    ),
    handlers=HANDLERS,
    workers=3,
)
WEB = Instance.from_key("blog.dev.v3.web.2")
FILE = ReleaseFile("blog", 3, "dev", SLUG.digest, {"COLOUR": "blue", "LANG": "de"}, 0)


def test_a_web_instance_of_handlers() -> None:
    """gunicorn with the SDK's application, on the instance's own socket, in the code's folder."""
    spec = spec_for(WEB, FILE, SLUG, SETTINGS, HOME, "dae-blog")
    assert spec.argv == (f"/h/layers/env/{'e' * 64}/bin/python", "-m", "gunicorn", "dae.runtime.wsgi:application")
    assert (spec.name, spec.account, spec.cwd) == (WEB.key, "dae-blog", f"/h/layers/code/blog/{'c' * 40}")
    expected = {
        "DAE_APP": "blog",
        "DAE_STAGE": "dev",
        "DAE_RELEASE": "v3",
        "DAE_SOCKET": "/h/run/a/blog/dev-v3.2.s",
        "DAE_WORKERS": "3",
        "DAE_PERMDIR": "/h/apps/blog/perm",
        "COLOUR": "blue",
        "LANG": "de",
    }
    assert expected.items() <= spec.environ.items()
    assert spec.environ["PYTHONPATH"] == spec.environ["DAE_CODE"]
    assert "PORT" not in spec.environ
    assert json.loads(spec.environ["DAE_HANDLERS"])[1]["wsgi_app"] == "app:app"
    assert spec.limits == {"core": 0, "nofile": 4096, "nproc": 512, "as": 1 << 30}


def test_a_web_instance_on_a_port() -> None:
    """With a port there is no socket; the number stands in PORT."""
    spec = spec_for(WEB, dataclasses.replace(FILE, port=5001), SLUG, SETTINGS, HOME, None)
    assert (spec.environ["PORT"], spec.environ["DAE_SOCKET"]) == ("5001", "")
    assert "nproc" not in spec.limits


def test_a_worker_has_its_command_and_no_socket() -> None:
    """The app's words go to the app's own shell, as one argument."""
    spec = spec_for(Instance.from_key("blog.dev.v3.mailer.1"), FILE, SLUG, SETTINGS, HOME, None)
    assert spec.argv == ("/bin/sh", "-c", "python -m mailer")
    assert spec.environ["DAE_SOCKET"] == ""


def test_classic_buildpacks() -> None:
    """The code is their HOME, their scripts come before the command; a Python of theirs is not held to be ours."""
    made = dataclasses.replace(SLUG, buildpack="node@0123456789abcdef")
    code = f"/h/layers/code/blog/{'c' * 40}"
    mailer = spec_for(Instance.from_key("blog.dev.v3.mailer.1"), FILE, made, SETTINGS, HOME, None)
    assert mailer.argv[:2] == ("/bin/bash", "-c") and ".profile.d" in mailer.argv[2]
    assert mailer.argv[3:] == ("bash", "/bin/bash", "-c", "python -m mailer")
    assert (mailer.environ["HOME"], mailer.environ["DYNO"]) == (code, "mailer.1")
    ours = {"PYTHONPATH", "VIRTUAL_ENV", "GUNICORN_CMD_ARGS"}
    assert not ours & mailer.environ.keys()
    web = spec_for(WEB, FILE, made, SETTINGS, HOME, None)
    assert web.argv[4:] == spec_for(WEB, FILE, SLUG, SETTINGS, HOME, None).argv
    assert ours <= web.environ.keys()
    both = dataclasses.replace(SLUG, buildpack="node@0123456789abcdef+python/3")
    assert ours <= spec_for(Instance.from_key("blog.dev.v3.mailer.1"), FILE, both, SETTINGS, HOME, None).environ.keys()


@pytest.mark.parametrize("key", ["blog.dev.v3.other.1", "blog.dev.v3.idle.1"])
def test_processes_that_cannot_run(key: str) -> None:
    """A process that the slug does not have, or that has no command, is refused."""
    with pytest.raises(DaeError, match="runner/refused"):
        spec_for(Instance.from_key(key), FILE, SLUG, SETTINGS, HOME, None)


def test_config_cannot_replace_what_the_platform_sets() -> None:
    """Even a release file that control would not have written does not change the platform's variables."""
    spec = spec_for(
        WEB, dataclasses.replace(FILE, config={"PATH": "/evil", "DAE_APP": "x"}), SLUG, SETTINGS, HOME, None
    )
    assert spec.environ["PATH"].startswith("/h/layers/env/")
    assert spec.environ["DAE_APP"] == "blog"


@pytest.mark.parametrize(
    "change",
    [
        {"app": "other"},
        {"number": 4},
        {"slug": "../x"},
        {"port": 70000},
        {"port": "x"},
        {"config": {"LD_PRELOAD": "/x"}},
        {"config": {"A": "b\0c"}},
        {"config": 5},
    ],
)
def test_release_files_that_are_wrong(change: dict[str, object]) -> None:
    """Another release's file, or values that no release has, start nothing."""
    good = {"app": "blog", "number": 3, "stage": "dev", "slug": "a" * 64, "config": {"A": "b"}, "port": 0}
    assert ReleaseFile.parse(json.dumps(good), "blog", 3).config == {"A": "b"}
    with pytest.raises(DaeError):
        ReleaseFile.parse(json.dumps({**good, **change}), "blog", 3)


def test_another_stage_is_another_release() -> None:
    """A key of beta does not start what was released to dev."""
    with pytest.raises(DaeError, match="release/unknown"):
        spec_for(Instance.from_key("blog.beta.v3.web.1"), FILE, SLUG, SETTINGS, HOME, None)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [("run -p $PORT", True), ("run -p ${PORT}", True), ("run $PORTAL", False), ("run PORT", False), ("", False)],
)
def test_who_asks_for_a_port(command: str, wanted: bool) -> None:
    """$PORT and ${PORT} do, longer names do not."""
    assert uses_port(command) is wanted


def test_a_plan_can_be_read() -> None:
    """Starts come first, in order; what is there and wanted is let be."""
    keys = ["a.dev.v1.web.1", "b.dev.v1.web.1", "b.dev.v2.web.1", "c.dev.v1.web.1"]
    a, b1, b2, c = map(Instance.from_key, keys)
    assert text(plan([c, b2, a], [a, b1])) == f"start {b2.key}\nstart {c.key}\nstop {b1.key}\n"


def test_accounts_have_short_and_different_names() -> None:
    """A long app's account is cut, and stays its own."""
    other = Settings(home=Path("/somewhere"))
    assert app_account(Settings(home=Path("/var/lib/dae")), "blog") == "dae-blog"
    long = [app_account(other, "a" * 29 + letter) for letter in "bc"]
    assert len(set(long)) == 2
    assert all(len(name) <= NAME_LENGTH for name in long)


def test_lines_are_bounded_and_harmless() -> None:
    """Long lines are cut, endless output falls silent with a word, a terminal is not steered."""
    lines = Lines()
    assert list(lines.feed(b"a\x1b[2Jb\r\nhal")) == ["a[2Jb"]
    assert list(lines.feed(b"f\n" + b"x" * 9999 + b"\n")) == ["half", "x" * (LINE_CHARS - 3) + "..."]
    shown = [line for _ in range(3) for line in lines.feed(b"y" * TOTAL_BYTES)]
    assert len(shown) == 1
    assert "not shown" in shown[0]
    assert list(lines.rest()) == []


def test_the_host_is_described() -> None:
    """Each topic has a verdict and a sentence; limits of processes are for accounts only."""
    report = host_report(SETTINGS)
    assert {topic for topic, _, _ in report} >= {"accounts", "cgroups", "privileges", "hard links"}
    assert all(isinstance(ok, bool) and sentence for _, ok, sentence in report)
    assert "nproc" not in instance_limits(SETTINGS, root=False)
