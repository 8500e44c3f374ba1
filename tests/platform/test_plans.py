"""What ``dae up`` decides, without doing it: folders, launch specs, configuration, names."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

from control.platform import index, installation, layout, person, processes
from core.config import Settings, load
from core.errors import DaeError
from core.paths import Home

HOME = Home(Path("/srv/dae"))
SETTINGS = Settings(home=HOME.root, port=9000, hook_networks=("10.1.0.0/16", "10.2.0.0/16"))
PYTHON = Path("/srv/dae/platform/abc/bin/python")
PROCFILE = (Path(__file__).parents[2] / "Procfile").read_text()


def test_settings_survive_the_environment() -> None:
    """What a part reads from its environment are the settings that ``up`` had."""
    assert load(processes.settings_environ(SETTINGS), uid=0) == SETTINGS


def test_the_procfile_is_the_platform() -> None:
    """Each line becomes one program with an absolute path, no shell, and no variable left to expand."""
    specs = {spec.name: spec for spec in processes.specs(PROCFILE, PYTHON, SETTINGS, "dae", {"PIP_CERT": "/c"})}
    assert list(specs) == ["nginx", "agent", "control", "receiver", "mirror", "hooks"]
    for spec in specs.values():
        assert spec.argv[0].startswith("/")
        assert not [word for word in spec.argv if "$" in word]
        assert (spec.account is None) == (spec.name in ("nginx", "agent"))
        assert ("PIP_CERT" in spec.environ) == (spec.name in ("mirror", "hooks"))
    assert "control.http:create_app()" in specs["control"].argv
    assert f"unix:{HOME.socket('control')}" in specs["control"].argv
    assert specs["nginx"].argv[-1] == "daemon off;"


@pytest.mark.parametrize("text", ["web: python $UNKNOWN", "web python", "web: python 'open"])
def test_a_broken_procfile_is_told(text: str) -> None:
    """A line that cannot be read stops the start."""
    with pytest.raises(DaeError) as caught:
        processes.specs(text, PYTHON, SETTINGS, None, {})
    assert caught.value.code == "platform/internal"


def test_a_blank_in_a_value_makes_no_second_word() -> None:
    """Variables are put in after the words are split."""
    argv = processes.commands("a: python $X/y ${X}", PYTHON, {"X": "p q"})["a"]
    assert argv == (str(PYTHON), "p q/y", "p q")


def test_supervisor_config_can_be_read() -> None:
    """supervisord's own format: one program for each part, bounded stops, started again for ever."""
    text = processes.supervisor_config(HOME, ["nginx", "control"], PYTHON, uid=0, files=1024)
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert [name for name in parser.sections() if name.startswith("program:")] == ["program:nginx", "program:control"]
    program = dict(parser["program:control"])
    assert program["command"] == f"{PYTHON} -I -m runner.launch /srv/dae control"
    assert (program["autorestart"], program["killasgroup"], program["stopwaitsecs"]) == ("true", "true", "10")
    assert parser["unix_http_server"]["chmod"] == "0600"
    assert parser["supervisord"]["user"] == "root"
    assert "user" not in dict(configparser_of(processes.supervisor_config(HOME, [], PYTHON, uid=5, files=9)))


def configparser_of(text: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser["supervisord"]


def test_layout_plan() -> None:
    """Missing folders are made, wrong ones corrected, right ones left; a plain user's owners are not touched."""
    ids = layout.Ids(100, 200)
    folders = (
        layout.Folder(Path("/new"), 0o700, ours=True, group_ours=True),
        layout.Folder(Path("/good"), 0o755),
        layout.Folder(Path("/mode"), 0o711),
        layout.Folder(Path("/owner"), 0o755, group_ours=True),
    )
    disk = {
        Path("/good"): layout.Found(0, 0, 0o755),
        Path("/mode"): layout.Found(0, 0, 0o777),
        Path("/owner"): layout.Found(7, 0, 0o755),
    }
    assert layout.plan(folders, ids, disk.get) == [
        layout.Step(Path("/new"), True, 100, 200, 0o700),
        layout.Step(Path("/mode"), False, 0, 0, 0o711),
        layout.Step(Path("/owner"), False, 0, 200, 0o755),
    ]
    assert [(step.path.name, step.uid, step.gid) for step in layout.plan(folders, None, disk.get)] == [
        ("new", -1, -1),
        ("mode", -1, -1),
    ]


def test_what_root_trusts_is_roots() -> None:
    """The folder with the agent's records, and all above it, belong to root; others may not rename them."""
    folders = {folder.path: folder for folder in layout.table(HOME)}
    for path in (HOME.root, HOME.platform, HOME.run, HOME.agent_state, HOME.run / "a", HOME.router, HOME.apps):
        assert not folders[path].ours, path
    writable = [path for path, folder in folders.items() if not folder.ours and folder.mode & 0o022]
    assert writable == [HOME.run]
    assert folders[HOME.run].mode & 0o1000


def test_layout_applies_and_is_settled(tmp_path: Path) -> None:
    """What was applied leaves nothing to do; a link in a folder's place is refused."""
    home = Home(tmp_path / "home")
    layout.apply(layout.plan(layout.table(home), None, layout.find))
    assert layout.plan(layout.table(home), None, layout.find) == []
    home.slugs.rmdir()
    home.slugs.symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        layout.plan(layout.table(home), None, layout.find)


def test_pip_configuration_is_read() -> None:
    """The environment's word counts more than a file's, and a section for installing more than the general one."""
    text = "global.index-url='http://a/'\nglobal.cert='/c'\ninstall.index-url='http://b/'\n:env:.timeout='3'\nnoise\n"
    assert index.parse(text) == {"index-url": "http://b/", "cert": "/c", "timeout": "3"}
    assert index.parse(text + ":env:.index-url='http://e/'\n")["index-url"] == "http://e/"


def test_pips_proxy_is_read(tmp_path: Path) -> None:
    """pip's proxy is the way to an index of either scheme, unless the environment names one."""
    (tmp_path / "pip.conf").write_text("[global]\nproxy = http://p:1\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    found = index.read({**environ, "https_proxy": "http://e:1"}).environ
    assert (found["http_proxy"], found["https_proxy"]) == ("http://p:1", "http://e:1")


def test_uv_is_told_what_it_does_not_read() -> None:
    """pip's index reaches uv, unless uv has one of its own; nothing of the rest of the environment does."""
    found = index.Index("http://a/", {"SSL_CERT_FILE": "/c"})
    assert index.uv_environ({"HOME": "/h", "SECRET": "s"}, found) == {
        "HOME": "/h",
        "SSL_CERT_FILE": "/c",
        "UV_DEFAULT_INDEX": "http://a/",
    }
    assert index.uv_environ({"UV_DEFAULT_INDEX": "http://u/"}, found)["UV_DEFAULT_INDEX"] == "http://u/"


@pytest.mark.parametrize(
    ("account", "name"),
    [("root", "root"), ("Jane.Doe", "jane-doe"), ("_apt", "apt"), ("42", "admin"), ("x" * 40, "x" * 30)],
)
def test_accounts_become_users(account: str, name: str) -> None:
    """Any UNIX account's name becomes one that a user may have."""
    assert person.valid_name(account) == name


def test_each_content_of_the_library_has_its_version(tmp_path: Path) -> None:
    """The same content keeps its version, another gets a higher one, and the first one's comes back with it."""
    files = {"sdk/dae/x.py": b"1", "control/y.py": b"1"}
    first = installation.sdk_version(tmp_path, files)
    assert installation.sdk_version(tmp_path, {**files, "control/y.py": b"2"}) == first
    second = installation.sdk_version(tmp_path, {**files, "sdk/dae/x.py": b"2"})
    assert second == first + ".post1"
    assert installation.sdk_version(tmp_path, files) == first


def test_the_copy_is_named_by_its_content() -> None:
    """A changed file, version or interpreter makes another copy; nothing else does."""
    files = {"a.py": b"1", "b.py": b"2"}
    name = installation.digest(files, "x==1\n", PYTHON)
    assert installation.digest(dict(reversed(files.items())), "x==1\n", PYTHON) == name
    assert installation.digest({"a.py": b"12", "b.py": b""}, "x==1\n", PYTHON) != name
    assert installation.digest(files, "x==2\n", PYTHON) != name
    assert installation.digest(files, "x==1\n", Path("/usr/bin/python3")) != name
