"""The program of a build, run as the agent runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildpacks import Job, environment_digest, find_interpreter
from buildpacks.worker import beating
from core.errors import DaeError
from tests.buildpacks.index import Index

INTERPRETER = find_interpreter()


def job(index: Index, tmp_path: Path, requirements: str, **other: Any) -> Job:
    return Job(
        requirements=requirements,
        requirements_file="pip-req.txt",
        python=str(INTERPRETER.python),
        interpreter=INTERPRETER.id,
        index_url=index.url,
        environments=str(tmp_path / "layers"),
        **{"engine": "uv", "timeout": 60, **other},
    )


def build(folder: Path, wanted: Job) -> tuple[int, dict[str, Any], str]:
    folder.mkdir()
    (folder / "job.json").write_bytes(wanted.to_json())
    command = [sys.executable, "-I", "-m", "buildpacks.worker", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd="/", umask=0o077)
    assert ran.stderr == ""
    return ran.returncode, json.loads((folder / "result.json").read_text()), ran.stdout


@pytest.mark.parametrize("engine", ["uv", "pip"])
def test_builds_an_environment(index: Index, tmp_path: Path, engine: str) -> None:
    """A build leaves the environment with the app's and the platform's packages, its lock, and what was shown."""
    status, result, shown = build(tmp_path / "b", job(index, tmp_path, "shapes<2\n", engine=engine))
    assert status == 0
    runtime = ["dae==0.1.0", "gevent==24.2.1", "gunicorn==22.0.0", "packaging==24.0"]
    assert result["packages"] == ["colours==2.5", *runtime, "shapes==1.0"]
    assert result["installed"] is True
    assert result["environment"] == environment_digest(result["lock"], INTERPRETER.id)
    assert (tmp_path / "b/lock.txt").read_text() == result["lock"]
    assert f"-----> Locking 1 requirement ({engine})\n-----> Installing 6 packages ({engine})\n" in shown
    assert "       shapes 1.0\n" in shown
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["env", "job.json", "lock.txt", "result.json"]


def test_is_readable_by_everybody_once_it_is_sealed(index: Index, tmp_path: Path) -> None:
    """The umask of whoever starts a build does not close an environment to the apps that share it."""
    build(tmp_path / "b", job(index, tmp_path, ""))
    closed = [p for p in (tmp_path / "b/env").rglob("*") if not p.is_symlink() and not p.stat().st_mode & 0o004]
    assert closed == []


def test_compiles_for_the_place_where_it_will_stand(index: Index, tmp_path: Path) -> None:
    """All of the environment's bytecode is there, and names the final path."""
    _, result, _ = build(tmp_path / "b", job(index, tmp_path, "shapes"))
    compiled = list((tmp_path / "b/env").rglob("shapes.*.pyc"))
    assert len(compiled) == 1
    assert os.fsencode(tmp_path / "layers" / result["environment"]) in compiled[0].read_bytes()


def test_uses_an_environment_that_is_there(index: Index, tmp_path: Path) -> None:
    """When the lock leads to an environment that exists, nothing is installed."""
    _, first, _ = build(tmp_path / "b1", job(index, tmp_path, "shapes"))
    (tmp_path / "layers" / first["environment"]).mkdir(parents=True)
    status, second, shown = build(tmp_path / "b2", job(index, tmp_path, "# the same\nshapes\n"))
    assert (status, second["installed"], second["environment"]) == (0, False, first["environment"])
    assert "there already" in shown
    assert not (tmp_path / "b2/env").exists()


def test_a_known_lock_is_not_made_again(index: Index, tmp_path: Path) -> None:
    """With the lock in the job no version is resolved, and the same environment comes out."""
    _, first, _ = build(tmp_path / "b1", job(index, tmp_path, "shapes", steps=("lock",)))
    assert first["installed"] is False
    index.add("colours", ("colours-3.0-py3-none-any.whl", b"newer, and broken"))
    _, second, shown = build(tmp_path / "b2", job(index, tmp_path, "shapes", lock=first["lock"]))
    assert (second["installed"], second["environment"]) == (True, first["environment"])
    assert "Locking" not in shown


def test_the_app_may_choose_its_own_gunicorn(index: Index, tmp_path: Path) -> None:
    """What the app itself requires is not overruled by what every environment gets."""
    _, result, _ = build(tmp_path / "b", job(index, tmp_path, "Gunicorn==21.2.0", steps=("lock",)))
    assert "gunicorn==21.2.0" in result["packages"]


def test_a_failure_is_a_result(index: Index, tmp_path: Path) -> None:
    """A build that fails says so in its status, in its result, and in lines marked as errors; it leaves no env."""
    status, result, shown = build(tmp_path / "b", job(index, tmp_path, "no-such-thing"))
    assert status == 1
    assert DaeError.from_json(result).code == "build/unresolvable"
    assert " !     " in shown
    assert not (tmp_path / "b/env").exists()


def test_a_malformed_job_is_a_result(tmp_path: Path) -> None:
    """A job that cannot be read is refused with a code, not with a traceback."""
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "job.json").write_text('{"requirements": "", "steps": ["install"]}')
    ran = subprocess.run([sys.executable, "-I", "-m", "buildpacks.worker", folder], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert json.loads((folder / "result.json").read_text())["error"] == "input/invalid"


def test_usage() -> None:
    """Without a folder it says how it is used, and ends with 2."""
    ran = subprocess.run([sys.executable, "-I", "-m", "buildpacks.worker"], capture_output=True, text=True)
    assert (ran.returncode, "usage:" in ran.stderr) == (2, True)


def test_a_job_survives_its_file(index: Index, tmp_path: Path) -> None:
    """A job read back from its file is the same job."""
    wanted = job(index, tmp_path, "shapes\n", steps=("lock", "install"), cache="/var/cache/x")
    assert Job.from_json(wanted.to_json()) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "conda"},
        {"steps": ("install",)},
        {"steps": ()},
        {"index_url": "/some/folder"},
        {"python": "python3"},
        {"environments": "layers"},
        {"timeout": 0},
    ],
)
def test_a_job_cannot_be_wrong(wrong: dict[str, Any]) -> None:
    """Each field of a job is checked where it is made."""
    good = {"requirements": "", "engine": "uv", "python": "/p", "interpreter": "i", "environments": "/e"}
    with pytest.raises(DaeError) as caught:
        Job(**{**good, "index_url": "http://127.0.0.1/", **wrong})
    assert caught.value.code == "input/invalid"


def test_a_long_step_shows_that_it_lives() -> None:
    """While a step runs, a line is said again and again; after it, no more."""
    import threading

    said: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            twice.set()

    with beating(say, "waiting", every=0.001):
        assert twice.wait(10)
    assert said[0].startswith("       still waiting (")
    count = len(said)
    assert len(said) == count
