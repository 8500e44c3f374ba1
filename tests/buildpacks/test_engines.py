"""One contract, held by every engine, against a real index."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpacks import find_interpreter, locks
from buildpacks.deadline import Deadline
from buildpacks.engines import ENGINES, Engine, Tool
from buildpacks.locks import Pin
from buildpacks.requirements import parse
from core.errors import DaeError
from tests.buildpacks.index import Index, populated, wheel

PYTHON = find_interpreter().python


@pytest.fixture(params=sorted(ENGINES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tool(index: Index, tmp_path: Path) -> Tool:
    return make_tool(index.url, tmp_path)


def make_tool(url: str, tmp_path: Path, show: Callable[[str], None] = print) -> Tool:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return Tool(PYTHON, url, work, work / "cache", Deadline.after(60), show)


@pytest.fixture
def engine(name: str, tool: Tool) -> Engine:
    return ENGINES[name](tool)


def failure(engine: Engine, *requirements: str) -> DaeError:
    with pytest.raises(DaeError) as caught:
        engine.lock(requirements)
    return caught.value


def test_locks_everything_with_every_hash_of_the_index(engine: Engine, index: Index) -> None:
    """A lock names exact versions with the hashes of all their files (other systems' too), no address, no path."""
    lock = engine.lock(["shapes[round]>=1"])
    hashes = sorted(hashlib.sha256(d).hexdigest() for f, d in index.files["colours"].items() if "-2.5-" in f)
    shapes = hashlib.sha256(index.files["shapes"]["shapes-2.0-py3-none-any.whl"]).hexdigest()
    assert lock == (
        f"colours==2.5 \\\n    --hash=sha256:{hashes[0]} \\\n    --hash=sha256:{hashes[1]}\n"
        f"shapes==2.0 \\\n    --hash=sha256:{shapes}\n"
    )


def test_obeys_constraints_and_options(engine: Engine, index: Index) -> None:
    """A constraint limits and brings nothing; early versions are taken when asked for; sources are not, when not."""
    index.add("colours", wheel("colours", "3.0rc1"))
    pins = [f"{r.name}=={r.version}" for r in locks.releases(engine.lock(["shapes"], ["colours<2.6", "needs-old<9"]))]
    assert pins == ["colours==2.5", "shapes==2.0"]
    assert "colours==3.0rc1 " in engine.lock(["shapes"], [], ["--pre"])
    assert "plain==1.0 " in engine.lock(["plain"])
    with pytest.raises(DaeError):
        engine.lock(["plain"], [], ["--only-binary=plain"])


def test_prefers_versions(engine: Engine, index: Index) -> None:
    """A preferred version is taken instead of the newest, and gives way where it does not fit; it brings nothing in."""
    index.add("gevent", wheel("gevent", "25.1"))
    old = ["colours==1.5", "gevent==24.10.1", "needs-old==1.0"]
    for wanted in (["gevent", "shapes", "colours"], ["colours", "shapes", "gevent"]):
        pins = [f"{r.name}=={r.version}" for r in locks.releases(engine.lock(wanted, ["shapes==2.0"], (), old))]
        assert pins == ["colours==2.5", "gevent==24.10.1", "shapes==2.0"]
    assert "colours==1.5 " in engine.lock(["shapes", "colours"], ["shapes==1.0"], (), old)


def test_downloads_no_file_to_hash_it(engine: Engine, index: Index) -> None:
    """The hashes come from the index's pages: what another system would install is never fetched."""
    engine.lock(["shapes"])
    assert not [path for path in index.asked if "win32" in path]


def test_builds_a_wheel(engine: Engine, tool: Tool, tmp_path: Path) -> None:
    """A source distribution becomes one wheel, its build's requirements coming from the index."""
    source = sdist_of("plain", tmp_path)
    made = engine.wheel(source, tmp_path / "out")
    assert made == tmp_path / "out" / "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made) as archive:
        assert "plain.py" in archive.namelist()


BACKEND = """
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "dated-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("dated.py", f"{os.environ['SOURCE_DATE_EPOCH']} {set(map(str, range(99)))}")
        archive.writestr("dated-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: dated\\nVersion: 1.0\\n")
        archive.writestr("dated-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr("dated-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def test_the_same_wheel_again(name: str, index: Index, tmp_path: Path) -> None:
    """Two builds of one source see the same date, and have sets in the same order: what they write is the same."""
    source = tmp_path / "dated-1.0.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("dated-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: dated\nVersion: 1.0\n")
        archive.writestr("dated-1.0/pyproject.toml", PROJECT)
        archive.writestr("dated-1.0/backend.py", BACKEND)
    texts = set[bytes]()
    for place in (tmp_path / "one", tmp_path / "two"):
        place.mkdir()
        with zipfile.ZipFile(ENGINES[name](make_tool(index.url, place)).wheel(source, place / "out")) as made:
            texts.add(made.read("dated.py"))
    assert len(texts) == 1


def test_a_wheel_that_is_not_made(engine: Engine, tmp_path: Path) -> None:
    """A back end that fails is the package's fault, with its name and its reason."""
    with pytest.raises(DaeError, match="broken") as caught:
        engine.wheel(sdist_of("broken", tmp_path), tmp_path / "out")
    assert caught.value.code == "build/install-failed"


def sdist_of(project: str, folder: Path) -> Path:
    """A source distribution of the index, as a file."""
    index = populated()
    index.close()
    ((name, data),) = index.files[project].items()
    (folder / name).write_bytes(data)
    return folder / name


def test_explains_a_missing_package(engine: Engine) -> None:
    """A name that the index does not have is named in the cause."""
    error = failure(engine, "no-such-thing")
    assert error.code == "build/unresolvable"
    assert "no-such-thing" in error.cause


def test_explains_a_conflict(name: str, index: Index, tmp_path: Path) -> None:
    """Requirements that exclude each other are both named, and the tool's own lines are shown."""
    shown: list[str] = []
    error = failure(ENGINES[name](make_tool(index.url, tmp_path, shown.append)), "shapes==2.0", "needs-old")
    assert error.code == "build/unresolvable"
    assert "shapes" in error.cause
    assert "needs-old" in error.cause
    assert shown
    assert not [line for line in shown if "Traceback" in line or line.startswith("File ")]


@pytest.mark.parametrize("version", ["0.9", "99"])
def test_explains_a_missing_version(engine: Engine, version: str) -> None:
    """A version that the index does not have is named in the cause."""
    error = failure(engine, f"shapes=={version}")
    assert error.code == "build/unresolvable"
    assert f"shapes=={version}" in error.cause


def test_a_silent_index_is_not_the_apps_fault(engine: Engine, index: Index) -> None:
    """An index that answers 503 is build/mirror-unavailable, never "no such package"."""
    index.down = True
    assert failure(engine, "shapes").code == "build/mirror-unavailable"


def test_a_stopped_index_is_not_the_apps_fault(name: str, index: Index, tmp_path: Path) -> None:
    """An index that refuses connections is build/mirror-unavailable."""
    index.close()
    assert failure(ENGINES[name](make_tool(index.url, tmp_path)), "shapes").code == "build/mirror-unavailable"


def test_a_source_distribution_that_does_not_build(engine: Engine) -> None:
    """A package that fails to build is named, with build/install-failed."""
    error = failure(engine, "broken")
    assert error.code == "build/install-failed"
    assert "broken" in error.cause


def test_asks_the_given_index_only(name: str, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables nor files of the machine or the user add another source of packages."""
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    for project, files in index.files.items():
        if project == "shapes":
            (decoy / "shapes-9.0-py3-none-any.whl").write_bytes(next(iter(files.values())))
    for variable in ("PIP_FIND_LINKS", "UV_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_INDEX"):
        monkeypatch.setenv(variable, str(decoy))
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nfind-links = {decoy}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert "shapes==2.0 " in ENGINES[name](make_tool(index.url, tmp_path)).lock(["shapes"])


def test_stops_at_its_deadline(name: str, index: Index, tmp_path: Path) -> None:
    """When the time of the build is over, no tool is started: build/timeout."""
    times = iter([0.0, 100.0, 200.0])
    work = tmp_path / "w"
    work.mkdir()
    tool = Tool(PYTHON, index.url, work, work / "c", Deadline.after(5, lambda: next(times)))
    assert failure(ENGINES[name](tool), "shapes").code == "build/timeout"


def test_all_engines_write_the_same_lock(index: Index, tmp_path: Path) -> None:
    """The same resolution has one spelling, so that apps share environments whatever their installer."""
    wanted = ["shapes", "gunicorn>=22", "gevent", "packaging", "dae"]
    assert len({ENGINES[name](make_tool(index.url, tmp_path)).lock(wanted) for name in ENGINES}) == 1


def test_the_apps_own_hashes_bind(index: Index) -> None:
    """A requirement with hashes is locked to those files; when the index has none of them, that is said."""
    good, bad = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    lock = locks.render({"colours": Pin("1.5", (good, bad)), "shapes": Pin("1.0", (bad,))})
    held = locks.held_to(lock, parse(f"colours==1.5 --hash={good}\nshapes", "pip-req.txt"))
    assert held == locks.render({"colours": Pin("1.5", (good,)), "shapes": Pin("1.0", (bad,))})
    with pytest.raises(DaeError, match=r"colours 1\.5"):
        locks.held_to(lock, parse(f"colours --hash=sha256:{'c' * 64}", "pip-req.txt"))


def test_quotes_the_index_that_hides(engine: Engine, index: Index) -> None:
    """A version that the index hides is an error that says which rule hides it, and what to do."""
    index.why = {"shapes": b"shapes-9.0-py3-none-any.whl is not let through (rule 1): too new -- wait a week\n"}
    error = failure(engine, "shapes>=9")
    assert error.code == "build/unresolvable"
    assert error.cause.endswith("shapes-9.0-py3-none-any.whl is not let through (rule 1): too new")
    assert error.hint == "wait a week"


@pytest.mark.parametrize(
    ("asked", "has"),
    [
        ("many==99", "the index has many 9.0, 8.0, 7.0, 6.0, 5.0"),
        ("many>=99", "the index has many 9.0, 8.0, 7.0, 6.0, 5.0"),
        ("many==3.5", "the index has many 9.0, 5.0, 4.0, 3.0, 2.0"),
        ("many==0.5", "the index has many 9.0, 2.0, 1.0"),
    ],
)
def test_versions_that_there_are(engine: Engine, index: Index, asked: str, has: str) -> None:
    """A version that is not there: the error names the newest, and the nearest to what was asked, at most five."""
    for number in range(1, 10):
        index.add("many", wheel("many", f"{number}.0"))
    index.add("many", wheel("many", "10.0rc1"))
    error = failure(engine, asked)
    assert error.code == "build/unresolvable"
    assert error.cause.endswith(f"; {has}")
    assert "from versions" not in error.cause


def test_extras_that_there_are_not(name: str, index: Index, tmp_path: Path) -> None:
    """An extra that a package does not have is told, with those that it has; the lock is made all the same."""
    index.add("extra-ordinary", wheel("extra-ordinary", "1.0", extras=["web", "all"]))
    told: list[str] = []
    lock = ENGINES[name](make_tool(index.url, tmp_path, told.append)).lock(["extra-ordinary[nosuch]", "plain"])
    assert [release.name for release in locks.releases(lock)] == ["extra-ordinary", "plain"]
    assert told == ["extra-ordinary 1.0 has no extra 'nosuch': it has all, web"]
    told.clear()
    ENGINES[name](make_tool(index.url, tmp_path, told.append)).lock(["extra-ordinary[web]", "shapes"])
    assert told == []
