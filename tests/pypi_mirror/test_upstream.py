"""Which index stands behind the mirror, and the trust it is asked with."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import DaeError
from pypi_mirror.breaker import Breaker
from pypi_mirror.client import Client
from pypi_mirror.upstream import index_url, index_urls, pip_setting, tls_context


@pytest.fixture
def pip_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file that is all that pip sees of this machine's."""
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    path = tmp_path / "pip.conf"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    return path


def test_setting_first(pip_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's setting, then pip's environment, then pip's file, then pip's own default."""
    from pip._internal.models.index import PyPI

    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # which turns off the machine's files as well
    assert index_url(Settings(Path("/x"))) == PyPI.simple_url + "/"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(pip_config))
    pip_config.write_text("[global]\nindex-url = http://127.0.0.1:1/file/\n")
    assert index_url(Settings(Path("/x"))) == "http://127.0.0.1:1/file/"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/environment")
    assert index_url(Settings(Path("/x"))) == "http://127.0.0.1:1/environment/"
    assert index_url(Settings(Path("/x"), upstream="http://127.0.0.1:1/setting")) == "http://127.0.0.1:1/setting/"


def test_several() -> None:
    """The list counts instead of the single setting, in its order."""
    settings = Settings(Path("/x"), upstream="http://127.0.0.1:1/c/", upstreams=("http://127.0.0.1:1/a", "http://x/b/"))
    assert index_urls(settings) == ("http://127.0.0.1:1/a/", "http://x/b/")
    assert index_url(settings) == "http://127.0.0.1:1/a/"


def test_not_an_address(pip_config: Path) -> None:
    """An index that is no HTTP address, and a configuration that cannot be read, are said at the start."""
    with pytest.raises(DaeError) as caught:
        index_url(Settings(Path("/x"), upstream="file:///srv/index"))
    assert caught.value.code == "settings/invalid"
    pip_config.write_text("[global\n")
    with pytest.raises(DaeError) as caught:
        index_url(Settings(Path("/x")))
    assert caught.value.code == "settings/invalid"


def test_trust(pip_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's ``cert`` is obeyed; one that cannot be used is an error, not a silent fall back."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert pip_setting("cert") == ""
    assert tls_context().verify_mode.name == "CERT_REQUIRED"
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "missing.pem"))
    with pytest.raises(DaeError) as caught:
        tls_context()
    assert caught.value.code == "settings/invalid"


def test_credentials_stay_home() -> None:
    """Credentials in the index's address are sent as a header to that host, and appear in no address."""
    client = Client("http://user:p%40ss@127.0.0.1:1/simple/")
    assert client.base == "http://127.0.0.1:1/simple/"
    assert client._credentials["authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()


def test_breaker() -> None:
    """After a failure one in every pause may try; a success ends the trouble."""
    time = [0.0]
    breaker = Breaker(5, lambda: time[0])
    assert breaker.may_ask()
    assert breaker.may_ask()
    breaker.fail()
    assert breaker.trouble
    assert not breaker.may_ask()
    time[0] = 5
    assert breaker.may_ask()
    assert not breaker.may_ask()
    breaker.succeed()
    assert breaker.may_ask()


def test_open_breaker() -> None:
    """Who has nothing to answer with asks until three have failed in a row; then one in every pause may."""
    time = [0.0]
    breaker = Breaker(5, lambda: time[0])
    for _ in range(2):
        breaker.fail()
        breaker.suspect()
        assert breaker.admits()
    breaker.fail()
    assert not breaker.admits()
    time[0] = 5
    assert (breaker.admits(), breaker.admits()) == (True, False)
    breaker.succeed()
    breaker.fail()
    assert breaker.admits()
