"""Projects of other managers, with locks made by the real tools against the platform's own index, pushed and served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project

APP = """\
import importlib.metadata
import json

import shopcode


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return [json.dumps(found).encode()]
"""
PROJECT = '[project]\nname = "shop"\nversion = "0.1"\nrequires-python = ">=3.11,<4"\n'
PROJECT += "dependencies = ['six==1.16.0']\n[dependency-groups]\ndev = ['iniconfig']\n"
POETRY = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '>=3.11,<4'\nsix = '1.16.0'\n"
POETRY += "[tool.poetry.group.dev.dependencies]\niniconfig = '*'\n"
PIPFILE = '[[source]]\nname = "inside"\nurl = "{index}"\nverify_ssl = false\n'
PIPFILE += "[packages]\nsix = '==1.16.0'\n[dev-packages]\niniconfig = '*'\n"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs `poetry` and `pipenv`."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet", "poetry", "pipenv"]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "bin"


def run(folder: Path, *command: str | Path) -> None:
    """Run a tool as a developer does, without the machine's own indexes."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    environ = {**kept, "HOME": str(folder.parent), "PIP_CONFIG_FILE": os.devnull, "PIPENV_IGNORE_VIRTUALENVS": "1"}
    environ |= {"WORKON_HOME": str(folder.parent / "venvs"), "NO_COLOR": "1", "UV_NO_CONFIG": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(more: dict[str, str]) -> dict[str, str]:
    app_yaml = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
    return {"app.yaml": app_yaml, "app.py": APP, "src/shopcode.py": "", **more}


def write_lock(manager: str, folder: Path, index: str, tools: Path) -> dict[str, str]:
    """Have the ``manager`` lock a project in ``folder``; returns the files that a developer would commit."""
    folder.mkdir()
    if manager in ("uv", "pylock"):
        uv = Path(sys.executable).with_name("uv")
        (folder / "pyproject.toml").write_text(PROJECT)
        run(folder, uv, "lock", "--default-index", index)
        if manager == "pylock":
            command = (uv, "export", "--quiet", "--no-dev", "--format", "pylock.toml", "-o", "pylock.toml")
            run(folder, *command, "--default-index", index)
            (folder / "uv.lock").unlink()
    elif manager == "poetry":
        source = f'[[tool.poetry.source]]\nname = "inside"\nurl = "{index}"\npriority = "primary"\n'
        (folder / "pyproject.toml").write_text(POETRY + source)
        run(folder, tools / "poetry", "lock")
    else:
        (folder / "Pipfile").write_text(PIPFILE.format(index=index))
        run(folder, tools / "pipenv", "lock")
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("manager", ["uv", "pylock", "poetry", "pipenv"])
def test_a_lock_is_obeyed(platform: Platform, tmp_path: Path, tools: Path, manager: str) -> None:
    """What runs has the versions of the lock, no group dev, and the code below src; a stale lock is told.

    The index keeps the files of the lock, however little room it has.
    """
    index = f"http://127.0.0.1:{platform.port}/pypi/simple/"
    committed = write_lock(manager, tmp_path / "made", index, tools)
    project = Project.create(platform, tmp_path / "app", f"lock-{manager}", files(committed))
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert "Taking 1 packages as" in done.stderr
    status, _headers, body = project.get()
    assert status == 200, body
    served = json.loads(body)
    assert served["six"] == "1.16.0"
    assert {"gunicorn", "gevent", "dae"} <= set(served)
    assert "iniconfig" not in served
    assert list((platform.home / "mirror" / "files").glob("*/*/six-1.16.0*.whl"))
    evicted = platform.dae("mirror", "evict", "--bytes", "0", "--dry-run", "--json")
    assert [name for name in json.loads(evicted.stdout)["files"] if name.startswith("six-1.16.0")] == []
    manifest = "Pipfile" if manager == "pipenv" else "pyproject.toml"
    project.write({manifest: committed[manifest].replace("1.16.0", "1.17.0")})
    project.commit("another version, and no new lock")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/lock-outdated" in refused.stderr
    assert project.get()[0] == 200


def test_a_hash_that_the_index_does_not_have(platform: Platform, tmp_path: Path, tools: Path) -> None:
    """Nothing is installed but the bytes that the lock names."""
    index = f"http://127.0.0.1:{platform.port}/pypi/simple/"
    committed = write_lock("uv", tmp_path / "made", index, tools)
    lines = committed["uv.lock"].split("sha256:")
    forged = "sha256:".join([lines[0], *("0" * 64 + line[64:] for line in lines[1:])])
    project = Project.create(platform, tmp_path / "app", "forged", files({**committed, "uv.lock": forged}))
    refused = project.push()
    assert refused.returncode == 1
    assert "no file of six 1.16.0 with a hash of the lock" in refused.stderr


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_requirements_with_options(platform: Platform, tmp_path: Path, installer: str) -> None:
    """Included files, constraints, the project itself below src, and a line that names the mirror: all at once."""
    committed = files(
        {
            "pyproject.toml": PROJECT.replace("six==1.16.0", "six"),
            "requirements.txt": f"-i http://127.0.0.1:{platform.port}/pypi/simple\n-r more/base.txt\n-e .\n",
            "more/base.txt": "-c ../limits.txt\n--only-binary :all:\niniconfig\n",
            "limits.txt": "six<1.17\niniconfig==2.0.0\nnever-asked-for==1\n",
        }
    )
    committed["app.yaml"] += f"installer: {installer}\n"
    project = Project.create(platform, tmp_path / "app", f"options-{installer}", committed)
    done = project.push()
    assert done.returncode == 0, done.stderr
    served = json.loads(project.get()[2])
    assert (served["six"], served["iniconfig"]) == ("1.16.0", "2.0.0")
    assert "never-asked-for" not in served
