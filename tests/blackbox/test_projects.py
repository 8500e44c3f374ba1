"""A table of small projects: each is pushed to a real platform, and locked, installed and started by real tools."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project
from tests.blackbox.table import BASE, BROKEN, GOOD, PIPFILE, POETRY_PROJECT, Case

FILES = {"@WHEEL@": "six-1.16.0-py2.py3-none-any.whl", "@SDIST@": "six-1.16.0.tar.gz"}
Fill = Callable[[str], str]


@pytest.fixture(scope="module")
def fill(platform: Platform) -> Fill:
    """Puts the index's address and hashes in the places of a case's @WORDS@."""
    index = f"http://127.0.0.1:{platform.port}/pypi/simple/"
    _status, _headers, body = platform.get(
        "localhost", "/pypi/simple/six/?format=application/vnd.pypi.simple.v1%2Bjson"
    )
    hashes = {file["filename"]: file["hashes"]["sha256"] for file in json.loads(body)["files"]}
    words = {"@INDEX@": index, **{word: hashes[name] for word, name in FILES.items()}}
    words["@POETRY@"] = poetry_hash(POETRY_PROJECT)
    words["@PIPFILE@"] = pipfile_hash(PIPFILE.replace("@INDEX@", index))

    def replaced(text: str) -> str:
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    return replaced


def poetry_hash(text: str) -> str:
    """The content-hash that poetry 1.x writes: of what it finds relevant, as JSON."""
    section = tomllib.loads(text)["tool"]["poetry"]
    relevant = {key: section.get(key) for key in ("dependencies", "group", "source", "extras")}
    relevant["dev-dependencies"] = section.get("dev-dependencies")
    relevant = {key: value for key, value in relevant.items() if value is not None or key != "group"}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def pipfile_hash(text: str) -> str:
    """The hash of a Pipfile that pipenv writes into its lock."""
    found = tomllib.loads(text)
    data = {
        "_meta": {"sources": found["source"], "requires": found.get("requires", {})},
        "default": found.get("packages", {}),
        "develop": found.get("dev-packages", {}),
    }
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.create(platform, tmp_path_factory.mktemp("table") / "app", "table", BASE)
    assert made.push().returncode == 0
    return made


def put(project: Project, case: Case, fill: Fill) -> str:
    """Commit the case's files, and nothing else, on top of what is live; returns the commit that is live."""
    before = project.remote_head()
    project.git("reset", "--quiet", "--hard", before)
    for path in project.folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in {**BASE, **case.files}.items():
        if text is not None:
            path = Path(project.folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(fill(text).encode("utf-8", "surrogateescape"))
    project.commit("case")
    return before


@pytest.mark.parametrize("name", GOOD)
def test_live(project: Project, fill: Fill, name: str) -> None:
    """It goes live, with the packages that it asks for and no others."""
    case = GOOD[name]
    put(project, case, fill)
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert case.line in done.stderr
    status, _headers, body = project.get()
    assert status == 200, body
    packages = json.loads(body)["packages"]
    assert {package: packages.get(package) for package in case.has} == dict(case.has)


@pytest.mark.parametrize("name", BROKEN)
def test_refused(project: Project, fill: Fill, name: str) -> None:
    """It is refused with its code and the line that matters; what was live is live, and the branch stays."""
    case = BROKEN[name]
    before = put(project, case, fill)
    done = project.push()
    assert done.returncode == 1, done.stderr
    shown = [line.removeprefix("remote:").strip() for line in done.stderr.splitlines() if line.startswith("remote:")]
    told = [line for line in shown if line]
    assert case.code in "\n".join(told[-2:]), done.stderr
    assert case.line in done.stderr
    assert "Traceback" not in done.stderr or case.code.startswith("release/"), done.stderr
    assert project.remote_head() == before
    assert project.get()[0] == 200
