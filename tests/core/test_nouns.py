"""The nouns: what is not a name gets no further than the place where it is made."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import nouns
from core.errors import DaeError
from core.nouns import Handler, Health, Instance, Process, ProcessType, Push, Slug, Stage
from dae import appfile, nodes, procfile

HOSTILE = [
    "", " ", ".", "..", "../x", "a/b", "a\\b", "/etc", "-x", "--help", "a.b", "a_b", "Blog", "BLOG", "1a", "a b", " a",
    "a ", "a\n", "\na", "a\n\n", "a\r", "a\0", "a-", "a\u00e9", "\u0430pp", "a\u200b", "\uff41", "a\u0661", "x" * 31,
    "x" * 300, "$(id)", "a;b", "a%2e", "~a", "*", "a'", 'a"', "a\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_refused(name: str) -> None:
    """No path, option, look-alike, newline, capital or overlong name is an app's or a user's."""
    with pytest.raises(DaeError) as raised:
        nouns.app_name(name)
    assert raised.value.code == "app/bad-name"
    raised.value.line().encode("ascii")  # what is shown of it cannot carry on: escapes, control characters
    assert len(raised.value.line()) < 300
    with pytest.raises(DaeError, match="user/bad-name"):
        nouns.user_name(name)
    with pytest.raises(DaeError):
        nouns.stage(name)


@pytest.mark.parametrize("name", ["a", "blog", "blog-2", "a--b", "x" * 30])
def test_good_names_pass(name: str) -> None:
    """Names within the rule come back unchanged."""
    assert nouns.app_name(name) == nouns.user_name(name) == name


@pytest.mark.parametrize("name", sorted(nouns.RESERVED_APP_NAMES))
def test_reserved_names(name: str) -> None:
    """No app takes the name of one of the platform's own paths, hosts or stages."""
    with pytest.raises(DaeError, match="is reserved"):
        nouns.app_name(name)
    assert set(Stage) <= nouns.RESERVED_APP_NAMES


@given(st.text())
def test_any_accepted_name_is_safe_anywhere(text: str) -> None:
    """Whatever passes is ASCII without a character that a path, a host name, a shell or a format would read."""
    try:
        nouns.app_name(text)
    except DaeError:
        return
    assert text.isascii() and text[0].isalpha() and text.replace("-", "").isalnum() and text == text.lower()


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("path", "x", "config/bad-key"),
        ("A-B", "x", "config/bad-key"),
        ("A=B", "x", "config/bad-key"),
        ("A\n", "x", "config/bad-key"),
        ("", "x", "config/bad-key"),
        ("1A", "x", "config/bad-key"),
        ("A" * 129, "x", "config/bad-key"),
        ("\u0410", "x", "config/bad-key"),
        ("PATH", "x", "config/reserved"),
        ("PYTHONPATH", "x", "config/reserved"),
        ("DAE_APP", "x", "config/reserved"),
        ("LD_PRELOAD", "x", "config/reserved"),
        ("GIT_SSH_COMMAND", "x", "config/reserved"),
        ("A", "x\0y", "config/bad-value"),
        ("A", "x" * (64 * 1024 + 1), "config/bad-value"),
        ("A", "\u00e9" * (32 * 1024 + 1), "config/bad-value"),
        ("A", "\ud800", "config/bad-value"),
    ],
    ids=ascii,
)
def test_config_refused(key: str, value: str, code: str) -> None:
    """A variable that could change the platform's own programs, or that no environment can hold, is refused."""
    with pytest.raises(DaeError) as raised:
        nouns.config_pair(key, value)
    assert raised.value.code == code


def test_config_accepted() -> None:
    """Any text without NUL is a value, newlines and 64 KiB too."""
    for value in ("", "a\nb", "\u00fc", "x" * 64 * 1024):
        assert nouns.config_pair("_A1", value) == ("_A1", value)


@pytest.mark.parametrize(
    "key",
    [
        "", "blog", "blog.dev.v1.web", "blog.dev.v1.web.1.2", "blog.dev.v0.web.1", "blog.dev.v01.web.1",
        "blog.dev.1.web.1", "blog.dev.v1.web.0", "blog.dev.v1.web.1\n", "blog.dev.v\u0661.web.1", "blog.prod.v1.web.1",
        "../x.dev.v1.web.1", "blog.dev.v1.we/b.1", "blog.dev.v1..1", "Blog.dev.v1.web.1", "blog.dev.v1.web.10000",
        "blog.dev.v9999999999.web.1",
    ],
    ids=ascii,
)  # fmt: skip
def test_bad_instance_keys(key: str) -> None:
    """The agent acts on no key that does not name an instance exactly."""
    with pytest.raises(DaeError):
        Instance.from_key(key)


def test_instance_key_round_trip() -> None:
    """A key names one instance and comes back as it."""
    instance = Instance("blog", Stage.DEV, 12, "web", 3)
    assert instance.key == "blog.dev.v12.web.3"
    assert Instance.from_key(instance.key) == instance


def make_slug() -> Slug:
    return Slug(
        commit="a" * 40,
        code="b" * 40,
        environment="c" * 64,
        interpreter="cpython-3.11.2",
        buildpack="python",
        processes=(Process("web", ProcessType.WEB), Process("mail", ProcessType.WORKER, "python mail.py")),
        handlers=(Handler("/.*", wsgi_app="app:app"),),
        health=Health("/up", 5, strict=True),
        workers=2,
    )


def test_slug_manifest_round_trip() -> None:
    """A manifest read back is the same slug, with the same digest."""
    slug = make_slug()
    again = Slug.from_json(json.loads(nouns.canonical_json(slug.to_json())))
    assert again == slug and again.digest == slug.digest
    assert slug.process(ProcessType.WORKER) == slug.processes[1]
    assert slug.process(ProcessType.RELEASE) is None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Slug)])
def test_every_field_counts_in_the_digest(field: str) -> None:
    """Two slugs that differ anywhere have different names; a manifest that lacks a field is damaged."""
    slug = make_slug()
    data = slug.to_json()
    known = {"workers": 3, "processes": [], "handlers": [], "health": {"path": "/x"}, "release_timeout": 7}
    assert Slug.from_json({**data, field: known.get(field, "other")}).digest != slug.digest
    if field in ("release_timeout", "python_path"):  # they came later: manifests without them keep their names
        assert field not in data
        return
    del data[field]
    with pytest.raises(DaeError, match="slug/damaged"):
        Slug.from_json(data)


@pytest.mark.parametrize("folder", ["", "/etc", "../x", "a/../../b", "a:b"])
def test_a_search_path_stays_in_the_code(folder: str) -> None:
    """What a manifest adds to the search path of modules is a folder of the code."""
    data = make_slug().to_json()
    assert Slug.from_json({**data, "python_path": ["src"]}).python_path == ("src",)
    with pytest.raises(DaeError, match="slug/damaged"):
        Slug.from_json({**data, "python_path": [folder]})


HANDLER = {"url": "/.*", "wsgi_app": "app:app", "static_files": "", "upload": ""}
WRONG: dict[str, dict[str, object]] = {
    "health's timeout a text": {"health": {"timeout": "x"}},
    "health's timeout true": {"health": {"timeout": True}},
    "health without time": {"health": {"timeout": 0}},
    "health for ever": {"health": {"timeout": 10**9}},
    "health strict as a text": {"health": {"strict": "yes"}},
    "health's path with a blank": {"health": {"path": "/ HTTP/1.1"}},
    "health's path with a line feed": {"health": {"path": "/x\n"}},
    "health's path a number": {"health": {"path": 5}},
    "no worker": {"workers": 0},
    "many workers": {"workers": 10**9},
    "workers as a text": {"workers": "2"},
    "half a worker": {"workers": 1.5},
    "a release command for ever": {"release_timeout": 10**9},
    "a release command of less than nothing": {"release_timeout": -1},
    "a url that is no expression": {"handlers": [{**HANDLER, "url": "("}]},
    "a url that is an expression too many": {"handlers": [{**HANDLER, "url": "a{99999999999}"}]},
    "a url of two lines": {"handlers": [{**HANDLER, "url": "/a\nb"}]},
    "a url without end": {"handlers": [{**HANDLER, "url": "a" * 513}]},
    "a url that is a number": {"handlers": [{**HANDLER, "url": 5}]},
    "an upload that is no expression": {"handlers": [{**HANDLER, "wsgi_app": "", "static_files": "x", "upload": "["}]},
    "an app of two lines": {"handlers": [{**HANDLER, "wsgi_app": "app:app\n"}]},
    "files above the code": {"handlers": [{**HANDLER, "wsgi_app": "", "static_files": "a/../../b"}]},
    "files of the machine": {"handlers": [{**HANDLER, "wsgi_app": "", "static_files": "/etc/passwd"}]},
    "a handler of two kinds": {"handlers": [{**HANDLER, "static_files": "x"}]},
    "a handler of none": {"handlers": [{**HANDLER, "wsgi_app": ""}]},
    "a command of two lines": {"processes": [{"name": "web", "kind": "web", "command": "a\nb"}]},
    "a command with half a letter": {"processes": [{"name": "web", "kind": "web", "command": "\ud800"}]},
    "a command without end": {"processes": [{"name": "web", "kind": "web", "command": "a" * 4097}]},
    "a command that is none": {"processes": [{"name": "web", "kind": "web", "command": None}]},
    "a process without a name": {"processes": [{"name": "", "kind": "web", "command": "a"}]},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_manifest_says(case: str) -> None:
    """A manifest whose values are of another kind, or beyond what the platform does, is damaged, whoever wrote it."""
    with pytest.raises(DaeError, match="slug/damaged"):
        Slug.from_json({**make_slug().to_json(), **WRONG[case]})


def test_what_people_may_write_a_manifest_may_say() -> None:
    """The widest that app.yaml and Procfile allow makes nouns."""
    url, command = "/(" + "a" * (nodes.TEXT_CAP - 3) + ")", "a" * procfile.COMMAND_CAP
    app = appfile.parse(
        f"handlers:\n- {{url: '{url}', static_files: '\\1'}}\nworkers: 64\nhealth: {{timeout: 300}}\n"
        f"release_timeout: {appfile.MOST_SECONDS}\n"
    )
    handlers = tuple(Handler(h.url, h.wsgi_app, h.static_files, h.upload) for h in app.handlers)
    processes = (Process("web", ProcessType.WEB, procfile.parse(f"web: {command}\n")[0][1]),)
    health = Health("/" + "a" * (nodes.TEXT_CAP - 1), app.health.timeout)
    made = dataclasses.replace(
        make_slug(),
        handlers=handlers,
        processes=processes,
        health=health,
        workers=app.workers,
        release_timeout=app.release_timeout,
    )
    assert Slug.from_json(json.loads(nouns.canonical_json(made.to_json()))) == made


@pytest.mark.parametrize("name", ["", "Web", "we b", "web\n", "../web", "-web", "x" * 21, "web."])
def test_bad_process_names(name: str) -> None:
    """A process's name may stand in a path and in supervisor's configuration."""
    with pytest.raises(DaeError, match="build/bad-procfile"):
        Process(name, ProcessType.WORKER)


def test_push_holds_full_object_names() -> None:
    """A push is about 40 hex digits, nothing that git would read as an expression."""
    assert Push("blog", "refs/heads/master", "0" * 40, "a" * 40, "ann").new == "a" * 40
    for new in ("HEAD", "a" * 39, "A" * 40, "a" * 40 + "\n", "--all"):
        with pytest.raises(DaeError, match="push/bad-ref"):
            Push("blog", "refs/heads/master", "0" * 40, new, "ann")


def test_states_end() -> None:
    """Every state has its row in the table, and both ends lead nowhere."""
    assert set(nouns.TRANSITIONS) == set(nouns.ReleaseState)
    assert not nouns.TRANSITIONS[nouns.ReleaseState.FAILED] | nouns.TRANSITIONS[nouns.ReleaseState.SUPERSEDED]
