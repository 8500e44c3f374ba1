"""The program of a build, run as the agent runs it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildpacks import Job, find_interpreter, locks
from buildpacks.index import IndexFile
from core.errors import DaeError
from core.program import beating
from tests.buildpacks.index import Index

INTERPRETER = find_interpreter()


def job(index: Index, requirements: str, **other: Any) -> Job:
    return Job(
        requirements=requirements,
        requirements_file="pip-req.txt",
        python=str(INTERPRETER.python),
        interpreter=INTERPRETER.id,
        index_url=index.url,
        **{"engine": "uv", "timeout": 60, **other},
    )


def build(folder: Path, wanted: Job) -> tuple[int, dict[str, Any], str]:
    folder.mkdir()
    (folder / "job.json").write_bytes(wanted.to_json())
    command = [sys.executable, "-I", "-m", "buildpacks.worker", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd="/", umask=0o077)
    assert ran.stderr == ""
    return ran.returncode, json.loads((folder / "result.json").read_text()), ran.stdout


def source_of(index: Index, project: str) -> IndexFile:
    ((name, data),) = index.files[project].items()
    url = index.url.replace("/simple/", f"/files/{project}/{name}")
    return IndexFile(name, url, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("engine", ["uv", "pip"])
def test_locks(index: Index, tmp_path: Path, engine: str) -> None:
    """The result is a lock of the app's and the platform's packages; what is said names the step and the engine."""
    status, result, shown = build(tmp_path / "b", job(index, "shapes<2\n", engine=engine))
    assert status == 0
    assert [f"{release.name}=={release.version}" for release in locks.releases(result["lock"])] == [
        "colours==2.5", "dae==0.1.0", "gevent==24.10.1", "gunicorn==22.0.0", "packaging==24.0", "shapes==1.0",
    ]  # fmt: skip
    assert shown == f"-----> Locking 1 requirement ({engine})\n"
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["job.json", "result.json"]


def test_locks_beside_what_is_locked(index: Index, tmp_path: Path) -> None:
    """With nothing but constraints it locks what every app gets, in the versions that they name, with their hashes."""
    (data,) = (data for name, data in index.files["gunicorn"].items() if "21.2" in name)
    right = "sha256:" + hashlib.sha256(data).hexdigest()
    wanted = job(index, "", constraints=f"gunicorn==21.2.0 --hash={right}\nshapes==1.0\n", options=("--pre",))
    status, result, shown = build(tmp_path / "b", wanted)
    assert status == 0, result
    assert shown == "-----> Locking what every app gets, beside it (uv)\n"
    names = [f"{release.name}=={release.version}" for release in locks.releases(result["lock"])]
    assert names == ["dae==0.1.0", "gevent==24.10.1", "gunicorn==21.2.0", "packaging==24.0"]
    other = job(index, "", constraints=f"gunicorn==21.2.0 --hash=sha256:{'0' * 64}\n")
    assert build(tmp_path / "c", other)[1]["error"] == "build/unresolvable"


@pytest.mark.parametrize("engine", ["uv", "pip"])
def test_builds_a_source_distribution(index: Index, tmp_path: Path, engine: str) -> None:
    """The result names the one wheel in the folder `wheel`."""
    status, result, shown = build(tmp_path / "b", job(index, "", engine=engine, source=source_of(index, "plain")))
    assert (status, result) == (0, {"wheel": "plain-1.0-py3-none-any.whl"})
    assert (tmp_path / "b" / "wheel" / result["wheel"]).is_file()
    assert shown.startswith(f"-----> Building plain-1.0.tar.gz ({engine})")


def test_a_source_of_another_hash_is_not_built(index: Index, tmp_path: Path) -> None:
    """Nothing of a file is run that is not the locked one."""
    source = replace(source_of(index, "plain"), sha256="0" * 64)
    status, result, _shown = build(tmp_path / "b", job(index, "", source=source))
    assert (status, result["error"]) == (1, "build/install-failed")
    assert not (tmp_path / "b" / "wheel").exists()


def test_the_app_may_choose_its_own_gunicorn(index: Index, tmp_path: Path) -> None:
    """What the app itself requires is not overruled by what every environment gets."""
    _, result, _ = build(tmp_path / "b", job(index, "Gunicorn==21.2.0"))
    assert "gunicorn==21.2.0 " in result["lock"]


def test_a_failure_is_a_result(index: Index, tmp_path: Path) -> None:
    """A build that fails says so in its status, in its result, and in lines marked as errors."""
    status, result, shown = build(tmp_path / "b", job(index, "no-such-thing"))
    assert status == 1
    assert DaeError.from_json(result).code == "build/unresolvable"
    assert " !     " in shown


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


def test_a_job_survives_its_file(index: Index) -> None:
    """A job read back from its file is the same job."""
    for wanted in (job(index, "shapes\n", options=("--pre",)), job(index, "", source=source_of(index, "plain"))):
        assert Job.from_json(wanted.to_json()) == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "conda"},
        {"index_url": "/some/folder"},
        {"python": "python3"},
        {"timeout": 0},
    ],
)
def test_a_job_cannot_be_wrong(wrong: dict[str, Any]) -> None:
    """Each field of a job is checked where it is made."""
    good = {"requirements": "", "engine": "uv", "python": "/p", "interpreter": "i"}
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
