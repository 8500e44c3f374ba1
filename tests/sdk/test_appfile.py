"""The grammar of app.yaml."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dae.appfile import AppCi, AppFile, AppHandler, AppHealth, GrammarError, parse

POLL2 = r"""
application: poll2
version: 1
runtime: python
api_version: 1
irc_report_channel: dae
report_observer_emails: someone@example.com
handlers:
- url: /static/(.*)
  static_files: static/\1
  upload: static/.*
- url: /.*
  wsgi_app: app:app
"""
HANDLER = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"


def test_a_real_file() -> None:
    """An app.yaml as apps of 2013 wrote it is understood, to the letter."""
    assert parse(POLL2) == AppFile(
        application="poll2",
        version="1",
        runtime="python",
        api_version="1",
        irc_report_channel="dae",
        report_observer_emails=("someone@example.com",),
        handlers=(
            AppHandler(r"/static/(.*)", static_files=r"static/\1", upload="static/.*"),
            AppHandler("/.*", wsgi_app="app:app"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "field", "wanted"),
    [
        ("health:\n  path: /ok?x=1\n  timeout: 5", "health", AppHealth("/ok?x=1", 5)),
        ("health: {path: /}", "health", AppHealth("/", 30)),
        ("health: {timeout: 7}", "health", AppHealth("", 7)),
        ("workers: 4", "workers", 4),
        ("workers: '4'", "workers", 4),
        ("installer: pip", "installer", "pip"),
        ("runtime: python3.11", "runtime", "python3.11"),
        ("version: 1.10", "version", "1.10"),
        ("version: 2013-01-01", "version", "2013-01-01"),
        ("application: no", "application", "no"),
        ("report_observer_emails: a@x.org, b@x.org", "report_observer_emails", ("a@x.org", "b@x.org")),
        ("report_observer_emails: [a@x.org, b@x.org]", "report_observer_emails", ("a@x.org", "b@x.org")),
        ("handlers:\r\n- url: /\r\n  wsgi_app: a.b:c.d\r\n", "handlers", (AppHandler("/", wsgi_app="a.b:c.d"),)),
        ("handlers: []", "handlers", ()),
        ("build:\n- make assets\n- python -m site build", "build", ("make assets", "python -m site build")),
        ("build_env: [API_URL, DISABLE_COLLECTSTATIC]", "build_env", ("API_URL", "DISABLE_COLLECTSTATIC")),
        ("collectstatic: off", "collectstatic", False),
        ("collectstatic: on", "collectstatic", True),
        ("assets: no", "assets", False),
        ("release_timeout: 30", "release_timeout", 30),
        ("buildpacks: [node, python]", "buildpacks", ("node", "python")),
        ("ci: pytest -q", "ci", AppCi(("pytest -q",))),
        ("ci: {run: make test}", "ci", AppCi(("make test",))),
        (
            "ci:\n  run: [ruff check, pytest]\n  requires: more/dev.txt\n  timeout: 60",
            "ci",
            AppCi(("ruff check", "pytest"), "more/dev.txt", 60),
        ),
        (
            "handlers:\n- {url: \"/(a)(b)\", static_files: 'x/\\2/\\1.txt'}",
            "handlers",
            (AppHandler("/(a)(b)", static_files=r"x/\2/\1.txt"),),
        ),
    ],
)
def test_accepted(text: str, field: str, wanted: object) -> None:
    """Values are what is written, never what YAML would make of them."""
    assert getattr(parse(text), field) == wanted


def handler(**keys: str) -> str:
    return "handlers:\n- " + "\n  ".join(f"{key}: {value}" for key, value in keys.items())


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 0, "empty"),
        ("# nothing\n", 0, "empty"),
        ("just words", 1, "key: value"),
        ("- a\n- b", 1, "key: value"),
        ("handlers: [\n", 2, "expected"),
        ("a: b: c", 1, "mapping values"),
        ("\tx: y", 1, "cannot start"),
        ("application: x\n---\napplication: y", 2, "another document"),
        # keys
        ("application: x\napplication: y", 2, "on line 1 and on line 2"),
        (HANDLER + HANDLER, 4, "'handlers' stands twice, on line 1 and on line 4"),
        ("handlers:\n- url: /a\n  wsgi_app: a:b\n  url: /c", 4, "'url' stands twice, on line 2 and on line 4"),
        ("health: {path: /a, path: /b}", 1, "'path' stands twice"),
        ("aplication: x", 1, "unknown key 'aplication'"),
        ("handler: x", 1, "unknown key 'handler'"),
        ("application: x\nbuild_envs: [A]", 2, "unknown key 'build_envs'"),
        ("build: make assets", 1, "must be a list"),
        ("build:\n- ok\n- a: b", 3, "single value"),
        ("build: [" + "x," * 51 + "]", 1, "more than 50 commands"),
        ("build_env:\n- GOOD\n- KEY=value", 3, "not a config variable's name"),
        ("build_env: [A, A]", 1, "stands twice"),
        ("build_env: {A: b}", 1, "must be a list"),
        ("collectstatic: 0", 1, "'collectstatic' is '0'"),
        ("release_timeout: 0", 1, "'release_timeout'"),
        ("buildpacks: [../node]", 1, "not a buildpack's name"),
        ("ci: {requires: dev-req.txt}", 1, "no 'run'"),
        ("ci: {run: []}", 1, "no 'run'"),
        ("ci: [pytest]", 1, "key: value"),
        ("ci: {run: [" + "x," * 51 + "]}", 1, "more than 50 commands"),
        ("ci: {run: x, requires: ../dev-req.txt}", 1, "no file of the commit"),
        ("ci: {run: x, requires: /etc/passwd}", 1, "no file of the commit"),
        ("ci: {run: x, requires: a/./b}", 1, "no file of the commit"),
        ("ci: {run: x, requires: '-r x'}", 1, "no file of the commit"),
        ("ci: {run: x, timeout: 3601}", 1, "'timeout'"),
        ("ci: {runs: x}", 1, "unknown key 'runs'"),
        ("buildpacks: [node, node]", 1, "stands twice"),
        ("buildpacks: [a, b, c, d, e, f, g, h, i, j, k]", 1, "more than 10"),
        ("release_timeout: 3601", 1, "'release_timeout'"),
        ("handlers:\n- ulr: /x", 2, "unknown key 'ulr'"),
        ("health:\n  paht: /x", 2, "unknown key 'paht'"),
        ("? [a, b]\n: c", 1, "a key"),
        ("? {a: b}\n: c", 1, "a key"),
        ("<<: {application: x}", 1, "unknown key"),
        ("null: x", 1, "unknown key"),
        # tricks
        ("a: &x [1]\nb: *x", 1, "anchors"),
        ("application: *x", 1, "anchors"),
        ("application: !!python/object/apply:os.system [id]", 1, "single value"),
        ("application: !!binary aGk=", 1, "single value"),
        ("application: !own x", 1, "single value"),
        ("application: " + "[" * 3000, 1, "nested too deeply"),
        ("handlers: " + "{a: " * 3000, 1, "nested too deeply"),
        ("application: x\x00y", 0, "special characters"),
        ("application: \ud800", 0, "special characters"),
        ('application: "\\0"', 1, "control characters"),
        ('application: "a\\nb"', 1, "control characters"),
        ('application: "\\ud800"', 1, "control characters"),
        ('application: "\\UFFFFFFFF"', 0, "cannot be read"),
        # values
        ("application:", 1, "is empty"),
        ("application: [x]", 1, "single value"),
        ("application: " + "x" * 600, 1, "longer than"),
        ("runtime: ruby", 1, "runtime 'ruby'"),
        ("installer: conda", 1, "installer 'conda'"),
        ("workers: 0", 1, "'workers' is '0'"),
        ("workers: 65", 1, "'workers' is '65'"),
        ("workers: many", 1, "'workers'"),
        ("workers: -1", 1, "'workers'"),
        ("workers: ٣", 1, "'workers'"),
        ("workers: 99999999999999999999", 1, "'workers'"),
        ("health: /x", 1, "'health'"),
        ("health: {path: x}", 1, "not a path"),
        ('health: {path: "/a b"}', 1, "not a path"),
        ("health: {path: /é}", 1, "not a path"),
        ("health: {timeout: 0}", 1, "'timeout'"),
        ("health: {timeout: 301}", 1, "'timeout'"),
        # handlers
        ("handlers: x", 1, "must be a list"),
        ("handlers: {url: /}", 1, "must be a list"),
        ("handlers:\n- x", 2, "a handler"),
        ("handlers:\n" + "- {url: /, wsgi_app: a:b}\n" * 201, 2, "more than 200"),
        (handler(wsgi_app="a:b"), 2, "no 'url'"),
        (handler(url="/x"), 2, "either"),
        (handler(url="/x", wsgi_app="a:b", static_files="x"), 2, "either"),
        (handler(url="/x", wsgi_app="a:b", upload="x"), 4, "'upload'"),
        (handler(url="'/('", wsgi_app="a:b"), 2, "regular expression"),
        (handler(url="'/x{99999999999999}'", wsgi_app="a:b"), 2, "regular expression"),
        (handler(url="'" + "(" * 250 + ")" * 250 + "*+?'", wsgi_app="a:b"), 2, "regular expression"),
        (handler(url="/x", static_files="x", upload="'*'"), 4, "regular expression"),
        (handler(url="/x", wsgi_app="app"), 3, "WSGI"),
        (handler(url="/x", wsgi_app="app:app()"), 3, "WSGI"),
        (handler(url="/x", wsgi_app="a/b:c"), 3, "WSGI"),
        (handler(url="/x", wsgi_app="__import__('os'):x"), 3, "WSGI"),
        (handler(url="/x", wsgi_app=".a:b"), 3, "WSGI"),
        (handler(url="/x", static_files=r"static/\1"), 3, "group"),
        (handler(url="/(x)", static_files=r"static/\2"), 3, "group"),
        (handler(url="/(x)", static_files=r"static/\11"), 3, "group"),
        (handler(url="/(x)", static_files=r"static/\0"), 3, "backslash"),
        (handler(url="/(x)", static_files=r"static/\g<1>"), 3, "backslash"),
        (handler(url="/(x)", static_files=r"static/\\"), 3, "backslash"),
        (handler(url="/x", static_files="/etc/passwd"), 3, "leads out"),
        (handler(url="/x", static_files="../x"), 3, "leads out"),
        (handler(url="/x", static_files="a/../../x"), 3, "leads out"),
        (handler(url="/x", static_files="~root/x"), 3, "leads out"),
    ],
)  # fmt: skip
def test_refused(text: str, line: int, told: str) -> None:
    """What is wrong is named with its line; nothing is resolved silently."""
    with pytest.raises(GrammarError) as caught:
        parse(text)
    assert caught.value.code == "build/bad-app-yaml"
    assert caught.value.cause.startswith(f"app.yaml line {line}: " if line else "app.yaml: ")
    assert told in caught.value.cause
    assert len(caught.value.cause) < 500


@pytest.mark.parametrize(
    ("text", "hint"), [("aplication: x", "application"), ("handler: []", "handlers"), ("xyzzy: 1", "known keys: app")]
)
def test_the_nearest_key_is_offered(text: str, hint: str) -> None:
    """An unknown key comes with the known one that was probably meant."""
    with pytest.raises(GrammarError) as caught:
        parse(text)
    assert hint in caught.value.hint


def test_size() -> None:
    """The file is capped in bytes, before anything of it is read."""
    with pytest.raises(GrammarError, match="64 KiB"):
        parse("# " + "é" * 40_000)


def test_reading_it_needs_nothing_before_it_is_read() -> None:
    """Importing the grammar does not import PyYAML: the library inside apps does not depend on it."""
    code = "import sys, dae.appfile, dae.procfile; print('yaml' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


YAML = st.lists(
    st.sampled_from(
        ["handlers:", "- ", "url: ", "/(.*)", "wsgi_app: ", "app:app", "static_files: ", r"\1", "health:", "\n", "  ",
        " ",
         "{", "}", "[", "]", ",", "'", '"', "&a ", "*a", "!", "|", ">", "%", "?", ": ", "#", "---",
         "...", "\t", "\\x", "1"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.text() | YAML)
def test_never_another_error(text: str) -> None:
    """Whatever the text, it is understood or refused with the one error."""
    try:
        assert isinstance(parse(text), AppFile)
    except GrammarError as error:
        assert error.code == "build/bad-app-yaml"
