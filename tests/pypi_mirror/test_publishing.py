"""Real clients publish to a real platform, through nginx: twine, uv, flit, hatch, poetry and our own command."""

from __future__ import annotations

import json
import subprocess
import tarfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import RunningPlatform
from tests.pypi_mirror.clients import UV, Clients
from tests.pypi_mirror.uploading import sdist_bytes
from tests.pypi_mirror.upstream_model import build_wheel

Done = subprocess.CompletedProcess


@dataclass
class Publisher:
    """``ann``, who has an app, at work in a folder with a project of a name that nobody has."""

    platform: RunningPlatform
    token: str
    folder: Path
    name: str

    def dae(self, *args: str, token: str = "") -> Done[str]:
        env = {"DAE_URL": self.platform.url, "DAE_TOKEN": token or self.token}
        return self.platform.dae(*args, cwd=self.folder, env=env)

    def built(self, version: str = "1.0", requires: str = "") -> list[Path]:
        """A wheel and an sdist in ``dist``."""
        dist = self.folder / "dist"
        dist.mkdir(exist_ok=True)
        readme = tarfile.TarInfo(f"{self.name}-{version}/README")
        files = {
            dist / f"{self.name}-{version}-py3-none-any.whl": build_wheel(self.name, version, requires),
            dist / f"{self.name}-{version}.tar.gz": sdist_bytes(self.name, version, readme),
        }
        for path, content in files.items():
            path.write_bytes(content)
        return list(files)

    def run(self, *argv: str | Path, **env: str) -> Done[str]:
        fresh = {"HOME": str(self.folder), "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "NO_COLOR": "1"}
        return self.platform.run(*argv, cwd=self.folder, env={**fresh, "COLUMNS": "400", **env})

    def index(self) -> list[str]:
        """The files that the project's page offers."""
        accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
        status, _, body = self.platform.get("localhost", f"/pypi/simple/{self.name}/", headers=accept)
        assert status in (200, 404), body
        return [file["filename"] for file in json.loads(body)["files"]] if status == 200 else []


@pytest.fixture(scope="module")
def ann(platform: RunningPlatform) -> str:
    """A user's token; the user has an app."""
    name = "a" + uuid.uuid4().hex[:8]
    token = platform.dae("users", "add", name).stdout.strip()
    made = platform.dae("create", "--no-remote", name, env={"DAE_URL": platform.url, "DAE_TOKEN": token})
    assert made.returncode == 0, made.stderr
    return token


@pytest.fixture
def publisher(platform: RunningPlatform, ann: str, tmp_path: Path) -> Publisher:
    return Publisher(platform, ann, tmp_path, "p" + uuid.uuid4().hex[:10])


def client(clients: Clients, name: str) -> list[str | Path]:
    """The argv that begins the client's command line."""
    return [clients(name) / "bin" / "python", "-m", name]


def refused(done: Done[str]) -> None:
    """A client whose token is none fails, and shows who says so and why."""
    assert done.returncode != 0
    assert "the token is not known" in done.stdout + done.stderr, done.stdout + done.stderr


def unsent(done: Done[str], words: str) -> None:
    """A client that has no token, and nobody to ask for one, fails and says what it lacks; it waits for nobody."""
    assert done.returncode != 0
    assert words in done.stdout + done.stderr, done.stdout + done.stderr


def test_twine(publisher: Publisher, clients: Clients) -> None:
    """twine uploads; again is no error; other bytes are, and a token that is none, or not given, and it shows why."""
    argv = client(clients, "twine")
    url = f"{publisher.platform.url}/pypi/"
    upload = [*argv, "upload", "--non-interactive", "--repository-url", url, "-u", "__token__"]
    files = publisher.built()
    unsent(publisher.run(*upload, *files), "Credential not found for password")
    for _ in range(2):
        done = publisher.run(*upload, "-p", publisher.token, *files)
        assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(publisher.index()) == sorted(path.name for path in files)
    changed = publisher.built(requires="more")
    done = publisher.run(*upload, "-p", publisher.token, *changed)
    assert done.returncode != 0
    assert "File already exists" in done.stdout + done.stderr
    refused(publisher.run(*upload, "-p", "wrong", *publisher.built("2.0")))


def test_uv(publisher: Publisher) -> None:
    """uv publishes with a token of the project; another project's, or none, is refused, and it says why."""
    publisher.built()
    url = ["--publish-url", f"{publisher.platform.url}/pypi/"]
    refused(publisher.run(UV, "publish", *url, "--token", "wrong", UV_NO_CONFIG="1"))
    unsent(publisher.run(UV, "publish", *url, "--trusted-publishing", "never", UV_NO_CONFIG="1"), "Missing credentials")
    done = publisher.run(UV, "publish", *url, "--token", publisher.token, UV_NO_CONFIG="1")
    assert done.returncode == 0, done.stdout + done.stderr
    made = publisher.dae("tokens", "create", "--project", publisher.name, "--action", "upload")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    publisher.built("1.1")
    for _ in range(2):
        done = publisher.run(UV, "publish", *url, "--token", token, "dist/*1.1*", UV_NO_CONFIG="1")
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(publisher.index()) == 4
    publisher.built("1.1", requires="more")
    done = publisher.run(UV, "publish", *url, "--token", token, "dist/*1.1*", UV_NO_CONFIG="1")
    assert done.returncode != 0
    assert "File already exists" in done.stderr
    other = Publisher(publisher.platform, token, publisher.folder / "other", publisher.name + "x")
    other.folder.mkdir()
    other.built()
    done = other.run(UV, "publish", *url, "--token", token, UV_NO_CONFIG="1")
    assert done.returncode != 0
    assert "a token for upload of" in done.stderr
    assert other.index() == []


def test_flit(publisher: Publisher, clients: Clients) -> None:
    """flit builds and publishes."""
    argv = client(clients, "flit")
    (publisher.folder / f"{publisher.name}.py").write_text('"""A module."""\n__version__ = "1.0"\n')
    lines = ["[build-system]", 'requires = ["flit_core >=3.2"]', 'build-backend = "flit_core.buildapi"', "[project]"]
    lines += [f'name = "{publisher.name}"', 'dynamic = ["version", "description"]', ""]
    (publisher.folder / "pyproject.toml").write_text("\n".join(lines))
    (publisher.folder / "README.md").write_text("Words\n")
    env = {"FLIT_INDEX_URL": f"{publisher.platform.url}/pypi/", "FLIT_USERNAME": "__token__"}
    unsent(publisher.run(*argv, "publish", "--no-use-vcs", **env), "Could not find password")
    done = publisher.run(*argv, "publish", "--no-use-vcs", FLIT_PASSWORD="wrong", **env)
    refused(done)
    done = publisher.run(*argv, "publish", "--no-use-vcs", FLIT_PASSWORD=publisher.token, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(publisher.index()) == 2


def test_hatch(publisher: Publisher, clients: Clients) -> None:
    """hatch publishes what was built."""
    argv = client(clients, "hatch")
    files = publisher.built()
    publish = ["publish", "-n", "-r", f"{publisher.platform.url}/pypi/", "-u", "__token__"]
    unsent(publisher.run(*argv, *publish, *files), "Missing required option: auth")
    refused(publisher.run(*argv, *publish, "-a", "wrong", *files))
    done = publisher.run(*argv, *publish, "-a", publisher.token, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(publisher.index()) == 2


def test_poetry(publisher: Publisher, clients: Clients) -> None:
    """poetry publishes what was built; a second time it is no error."""
    argv = client(clients, "poetry")
    publisher.built()
    lines = ["[project]", f'name = "{publisher.name}"', 'version = "1.0"', 'description = ""', "[tool.poetry]", ""]
    (publisher.folder / "pyproject.toml").write_text("\n".join(lines))
    env = {"POETRY_REPOSITORIES_OURS_URL": f"{publisher.platform.url}/pypi/", "POETRY_VIRTUALENVS_CREATE": "false"}
    unsent(publisher.run(*argv, "publish", "-n", "-r", "ours", **env), "no token was sent -- send one as the password")
    publish = [*argv, "publish", "-n", "-r", "ours", "-u", "__token__", "-p"]
    refused(publisher.run(*publish, "wrong", **env))
    for _ in range(2):
        done = publisher.run(*publish, publisher.token, **env)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(publisher.index()) == 2


def test_our_own_command(publisher: Publisher) -> None:
    """Uploaded, listed, yanked, un-yanked, deleted and released with ``dae``; what may not be done says why."""
    wheel, sdist = publisher.built()
    nowhere = str(publisher.folder / "nowhere")
    env = {"DAE_URL": publisher.platform.url, "DAE_TOKEN": "", "DAE_CONFIG": nowhere}
    unsent(publisher.platform.dae("mirror", "upload", str(wheel), env=env), "dae login")
    done = publisher.dae("mirror", "upload", str(wheel), str(sdist))
    assert done.returncode == 0, done.stderr
    listed = json.loads(publisher.dae("mirror", "projects", "--json").stdout)
    mine = next(project for project in listed if project["project"] == publisher.name)
    assert (mine["versions"], mine["status"]) == (["1.0"], "active")
    assert any(project["project"] == "dae" and project["owner"] == "" for project in listed)
    done = publisher.dae("mirror", "yank", publisher.name, "1.0", "--reason", "it leaks")
    assert done.returncode == 0, done.stderr
    shown = publisher.dae("mirror", "projects", publisher.name).stdout
    assert "it leaks" in shown
    assert publisher.dae("mirror", "unyank", publisher.name, "1.0").returncode == 0
    assert publisher.dae("mirror", "mark", publisher.name, "deprecated").returncode == 0
    done = publisher.dae("mirror", "delete", publisher.name, "--reason", "a test")
    assert done.returncode == 1
    assert "mirror/confirm" in done.stderr
    done = publisher.dae("mirror", "delete", publisher.name, "--reason", "a test", "--confirm", publisher.name)
    assert done.returncode == 0, done.stderr
    assert publisher.index() == []
    done = publisher.dae("mirror", "release", publisher.name, "--confirm", publisher.name)
    assert "auth/forbidden" in done.stderr
    root = publisher.platform.env_token()
    done = publisher.dae("mirror", "release", publisher.name, "--confirm", publisher.name, token=root)
    assert done.returncode == 0, done.stderr
    publisher.built("1.0", requires="more")
    done = publisher.dae("mirror", "upload", str(wheel))
    assert "mirror/file-exists" in done.stderr
    done = publisher.dae("mirror", "upload", str(publisher.folder / "none.whl"))
    assert "local/file" in done.stderr
    assert "mirror/bad-upload" in publisher.dae("mirror", "upload", __file__).stderr


def test_tokens(publisher: Publisher) -> None:
    """A token is made for one's own project only, shown once, listed without its text, a login nowhere, and revoked."""
    create = ["tokens", "create", "--project", publisher.name, "--action", "upload", "--action", "yank"]
    assert "mirror/unknown-project" in publisher.dae(*create).stderr
    wheel, _ = publisher.built()
    assert publisher.dae("mirror", "upload", str(wheel)).returncode == 0
    token = publisher.dae(*create).stdout.strip()
    (row,) = [row for row in json.loads(publisher.dae("tokens", "--json").stdout) if row["project"] == publisher.name]
    assert row["actions"] == ["upload", "yank"]
    assert token not in publisher.dae("tokens", "--json").stdout
    assert "auth/required" in publisher.dae("whoami", token=token).stderr
    assert "auth/required" in publisher.dae("apps", token=token).stderr
    assert publisher.dae("mirror", "yank", publisher.name, "1.0", token=token).returncode == 0
    assert "auth/forbidden" in publisher.dae("mirror", "mark", publisher.name, "archived", token=token).stderr
    assert publisher.dae("tokens", "revoke", str(row["id"])).returncode == 0
    assert "auth/required" in publisher.dae("mirror", "unyank", publisher.name, "1.0", token=token).stderr
    assert "auth/forbidden" in publisher.dae("tokens", "create", "--project", "dae", "--action", "upload").stderr


def test_large_files_are_not_buffered(publisher: Publisher) -> None:
    """A file above nginx's own limits goes through to the mirror, which checks it; the wrong token is told at once."""
    wheel, _ = publisher.built()
    wheel.write_bytes(build_wheel(publisher.name, "1.0", padding=30 << 20))
    assert publisher.dae("mirror", "upload", str(wheel)).returncode == 0
    assert publisher.index() == [wheel.name]
    assert "auth/required" in publisher.dae("mirror", "upload", str(wheel), token="wrong").stderr
