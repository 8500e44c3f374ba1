"""The settings: environment before dae.toml before default, and nothing wrong gets in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core import config
from core.errors import DaeError


def load(home: Path, toml: str = "", **environ: str) -> config.Settings:
    home.mkdir(exist_ok=True)
    (home / "dae.toml").write_text(toml)
    return config.load({"DAE_HOME": str(home), **environ}, uid=1000)


def test_defaults(tmp_path: Path) -> None:
    """With no file and no variable the contract's defaults hold."""
    settings = config.load({"DAE_HOME": str(tmp_path)}, uid=1000)
    assert (settings.port, settings.host, settings.domain) == (8080, "localhost", "localhost")
    assert settings.home == tmp_path
    assert settings.listen == "127.0.0.1"


def test_environment_before_file_before_default(tmp_path: Path) -> None:
    """A variable wins over dae.toml, which wins over the default; an empty variable does not count."""
    toml = 'port = 81\nhost = "a.example"\nhook_networks = ["10.0.0.0/8"]\n'
    settings = load(tmp_path, toml, DAE_PORT="82", DAE_HOST="", DAE_OTHER="x")
    assert (settings.port, settings.host, settings.domain) == (82, "a.example", "localhost")
    assert settings.hook_networks == ("10.0.0.0/8",)
    settings = load(tmp_path, toml, DAE_HOOK_NETWORKS="127.0.0.0/8, ::1/128")
    assert settings.hook_networks == ("127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    "toml",
    [
        "port = 0", "port = 65536", 'port = "80"', "port = true", "port = 80.5", "prot = 80", 'home = "/x"',
        'host = "a b"', 'host = "A.example"', 'host = "-a"', 'host = "a..b"', 'host = "a\\n"', 'host = "a;b"',
        'domain = ""', f'domain = "{"a." * 120}a"', 'installer = "conda"', 'listen = "localhost"', "build_timeout = -1",
        'npm_registry = "ftp://x/"', 'build_sources = ["code.example"]', 'build_sources = ["git+ssh://code.example/x"]',
        'build_sources = ["https://code.example/../x"]', 'build_sources = ["https://code.example/x?y"]',
        'upstreams = ["index.example"]', 'upstreams = ["ftp://index.example/"]', 'upstreams = ["https://a b/"]',
        'index_aliases = ["index.example"]', 'index_aliases = ["ftp://index.example/"]',
        'upstream_proxies = ["https://a/"]', 'upstream_proxies = ["https://a/ socks5://p:1"]',
        'hook_networks = "10.0.0.0/8"', 'hook_networks = ["10.0.0.1/8"]', "hook_networks = [1]", "port = ", "\x00",
        "[port]\nx = 1",
    ],
    ids=ascii,
)  # fmt: skip
def test_wrong_files(tmp_path: Path, toml: str) -> None:
    """A key that is unknown, of another type or out of range is refused, and named."""
    with pytest.raises(DaeError, match="settings/invalid"):
        load(tmp_path, toml)


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("PORT", "0"), ("HOST", "a/b"), ("LISTEN", "x"), ("HOOK_NETWORKS", "x")]
)
def test_wrong_variables(tmp_path: Path, name: str, value: str) -> None:
    """The same holds for the environment."""
    with pytest.raises(DaeError, match=f"settings/invalid: {name.lower()}"):
        load(tmp_path, **{f"DAE_{name}": value})


def test_a_wrong_upstream_keeps_its_password(tmp_path: Path) -> None:
    """What is said of a wrong address of an index does not hold the password in it."""
    with pytest.raises(DaeError, match="settings/invalid: upstreams") as caught:
        load(tmp_path, DAE_UPSTREAMS="https://ann:secret@index.example/?x")
    assert "secret" not in caught.value.line()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A dae.toml that is there but not readable is said to be so, never passed over."""
    (tmp_path / "dae.toml").mkdir()
    with pytest.raises(DaeError, match="settings/invalid"):
        config.load({"DAE_HOME": str(tmp_path)}, uid=1000)
    (tmp_path / "dae.toml").rmdir()
    (tmp_path / "dae.toml").write_bytes(b'host = "\xff"')
    with pytest.raises(DaeError, match="settings/invalid"):
        config.load({"DAE_HOME": str(tmp_path)}, uid=1000)


def test_home(tmp_path: Path) -> None:
    """root's home, a user's, and a relative one; a control character in it is refused."""
    assert config.load({}, uid=0).home == Path("/var/lib/dae")
    assert config.load({"HOME": str(tmp_path)}, uid=1000).home == tmp_path / ".local/share/dae"
    assert config.load({"XDG_DATA_HOME": str(tmp_path)}, uid=1000).home == tmp_path / "dae"
    assert config.load({"DAE_HOME": "x"}, uid=1000).home == Path(os.path.abspath("x"))
    with pytest.raises(DaeError, match="settings/invalid"):
        config.load({"DAE_HOME": "/tmp/a\nb"}, uid=1000)


def test_accounts_of_two_homes_differ(tmp_path: Path) -> None:
    """Platforms in different homes have different UNIX accounts; the usual home has the plain name."""
    names = {config.Settings(home=tmp_path / name).account for name in "ab"}
    assert len(names) == 2 and all(len(name) == 8 and name.isalnum() for name in names)
    assert config.Settings(home=Path("/var/lib/dae")).account == "dae"


def test_addresses(tmp_path: Path) -> None:
    """Apps answer under the domain by stage; port 80 is not written out; the platform finds its own door."""
    settings = config.Settings(home=tmp_path, port=8080, host="dae.example", domain="apps.example", listen="0.0.0.0")
    assert settings.app_url("blog", "stable") == "http://blog.apps.example:8080/"
    assert settings.app_url("blog", "dev") == "http://blog.dev.apps.example:8080/"
    assert settings.index_url == "http://127.0.0.1:8080/pypi/simple/"
    assert config.Settings(home=tmp_path, port=80).url == "http://localhost"


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("10.0.0.7", "http://10.0.0.7:8080"),
        ("::", "http://[::1]:8080"),
        ("fd00::7", "http://[fd00::7]:8080"),
    ],
)
def test_the_door_as_our_own_parts_reach_it(tmp_path: Path, listen: str, url: str) -> None:
    """The address it listens on, loopback when that is all of them; IPv6 in brackets (RFC 3986, 3.2.2)."""
    assert config.Settings(home=tmp_path, listen=listen).local_url == url
