"""Logging in: where the token goes, and which platform is the current one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dae.cli.credentials import Credentials, Login, chosen, normal_url
from dae.cli.errors import CliError
from tests.sdk.conftest import Person
from tests.sdk.platform import TOKEN, Platform, running


def test_a_login_is_verified_and_kept_for_nobody_else(person: Person, platform: Platform) -> None:
    """The token is asked about first, then saved in a file of mode 0600 below a folder of mode 0700."""
    done = person.dae("login", "--url", platform.url + "/", stdin=TOKEN + "\n")
    assert done.stderr == f"-----> Logged in to {platform.url} as ann\n"
    assert platform.last().headers["Host"] == platform.url.removeprefix("http://")
    path = person.home / ".config" / "dae" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {
        "current": platform.url,
        "platforms": {platform.url: {"user": "ann", "token": TOKEN}},
    }
    assert person.dae("whoami").stdout == f"ann at {platform.url}\n"


def test_a_wrong_token_is_not_kept(person: Person, platform: Platform) -> None:
    """The platform's own words are shown, and the file is not made."""
    done = person.dae("login", "--url", platform.url, "--token-stdin", stdin="wrong\n", status=1)
    assert done.stderr == " !     auth/required: the token is not known\n       log in with: dae login\n"
    assert not (person.home / ".config").exists()
    assert person.dae("login", "--url", platform.url, stdin="", status=1).stderr.startswith(" !     local/no-token")


def test_platforms_live_side_by_side(ann: Person, platform: Platform) -> None:
    """The last login is the current platform; one that is known already needs no token; logout falls back."""
    with running() as other:
        ann.dae("login", "--url", other.url, stdin=TOKEN)
        assert other.url in ann.dae("whoami").stdout
        ann.dae("login", "--url", platform.url)
        assert platform.url in ann.dae("whoami").stdout
        ann.dae("logout")
        assert other.url in ann.dae("whoami").stdout
        ann.dae("logout")
    assert ann.dae("whoami", status=1).stderr.startswith(" !     local/no-platform: not logged in anywhere\n")


def test_the_environment_comes_before_the_file(person: Person, platform: Platform) -> None:
    """DAE_URL and DAE_TOKEN suffice, and nothing is written."""
    person.environ.update(DAE_URL=platform.url, DAE_TOKEN=TOKEN)
    assert json.loads(person.dae("whoami", "--json").stdout) == {"user": "ann", "admin": False, "url": platform.url}
    assert not (person.home / ".config").exists()


def test_dae_config_names_the_folder(person: Person, platform: Platform, tmp_path: Path) -> None:
    """$DAE_CONFIG stands for ~/.config/dae."""
    person.environ["DAE_CONFIG"] = str(tmp_path / "elsewhere")
    person.dae("login", "--url", platform.url, stdin=TOKEN)
    assert (tmp_path / "elsewhere" / "credentials.json").exists()


def test_a_damaged_file_is_an_error_not_a_logout(tmp_path: Path) -> None:
    """What cannot be read is said, never overwritten."""
    credentials = Credentials(tmp_path)
    for content in ("{", "[]", '{"current": "", "platforms": {"u": {}}}', "\xff"):
        credentials.path.write_text(content, encoding="latin-1")
        with pytest.raises(CliError, match="local/bad-credentials"):
            credentials.put(Login("http://x", "ann", "t"))
        assert credentials.path.read_text(encoding="latin-1") == content


def test_the_token_is_not_shown_by_accident() -> None:
    """A login in a traceback or a log line does not tell its token."""
    assert "secret" not in repr(Login("http://x", "ann", "secret"))


@pytest.mark.parametrize(
    "text, url",
    [
        ("http://LOCALHOST:8080/", "http://localhost:8080"),
        ("https://dae.example.com:443", "https://dae.example.com"),
        ("http://dae.example.com:80/", "http://dae.example.com"),
        (" http://[::1]:8080 ", "http://[::1]:8080"),
    ],
)
def test_an_address_has_one_spelling(text: str, url: str) -> None:
    """Case, a last slash and the scheme's own port do not make another platform."""
    assert normal_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8080",
        "ftp://x",
        "http://",
        "http://x/path",
        "http://u:p@x",
        "http://x:99999",
        "http://x?q",
        "http://a b",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Paths, users and other schemes have no place in it."""
    with pytest.raises(CliError, match="local/bad-url"):
        normal_url(text)


def test_a_token_of_the_environment_goes_to_no_other_platform(tmp_path: Path) -> None:
    """DAE_URL without DAE_TOKEN uses what was saved for that address, and nothing else."""
    Credentials(tmp_path).put(Login("http://one", "ann", "t1"))
    environ = {"DAE_CONFIG": str(tmp_path), "DAE_URL": "http://two"}
    with pytest.raises(CliError, match="not logged in at http://two"):
        chosen(environ)
    assert chosen({**environ, "DAE_URL": "http://one"}).token == "t1"
