"""How a commit says what it requires, and which Python: every kind of project, well-formed or not."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pytest

from buildpacks import detect, find_interpreter
from buildpacks.foreign import LOCKS
from buildpacks.interpreters import OLDEST
from buildpacks.runtimes import END_OF_LIFE, Wanted
from core.errors import DaeError

BAD, FOREIGN, RUNTIME = "build/bad-requirements", "build/unsupported-manifest", "build/bad-runtime"
LOCK = "build/bad-lock"
PROJECT = '[project]\nname = "x"\n'
EXTRAS = PROJECT + "dependencies = ['six']\n[project.optional-dependencies]\nweb-X = ['a']\nall = ['X[web-x]']\n"
SETUP_CFG = 'six\na; os_name == "posix"\n'
ROOT = Path(__file__).resolve().parents[2]
TODAY = datetime.date(2026, 11, 23)


def commit(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in {"Procfile": "web: x\n", **files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "filename", "text"),
    [
        ({}, "requirements.txt", ""),
        ({"pip-req.txt": "flask\n"}, "pip-req.txt", "flask\n"),
        ({"requirements.txt": "flask\n"}, "requirements.txt", "flask\n"),
        ({"requirements.txt": "flask\n", "requirements-dev.txt": "pytest\n"}, "requirements.txt", "flask\n"),
        ({"pip-req.txt": "flask\n", "uv.lock": "", "Pipfile": ""}, "pip-req.txt", "flask\n"),
        ({"requirements.txt": "flask\n", "setup.py": "", "Pipfile": ""}, "requirements.txt", "flask\n"),
        ({"pyproject.toml": PROJECT + "dependencies = ['flask>=3', 'six']"}, "pyproject.toml", "flask>=3\nsix\n"),
        ({"pyproject.toml": PROJECT + "dependencies = []", "setup.py": ""}, "pyproject.toml", ""),
        ({"pyproject.toml": PROJECT}, "requirements.txt", ""),
        ({"setup.py": "import x\nx.setup(install_requires=['six', 'a>1'])"}, "setup.py", "six\na>1\n"),
        ({"setup.py": "setup(install_requires='six\\na')"}, "setup.py", "six\na\n"),
        ({"setup.py": "x = '\\d'\nsetup(install_requires=['six'])"}, "setup.py", "six\n"),
        ({"setup.py": "setup()  # no install_requires"}, "requirements.txt", ""),
        ({"setup.cfg": "[options]\ninstall_requires =\n  six\n  a; os_name == 'posix'"}, "setup.cfg", SETUP_CFG),
        ({"pip-req.txt": "-e .\na", "setup.py": "setup(install_requires=['six'])"}, "pip-req.txt", "a\nsix\n"),
        ({"requirements.txt": ".", "pyproject.toml": PROJECT + "dependencies = ['six']"}, "requirements.txt", "six\n"),
        ({"requirements.txt": "-e .[all]", "pyproject.toml": EXTRAS}, "requirements.txt", "six\na\n"),
        ({"requirements.txt": "-e .[Web_x]", "pyproject.toml": EXTRAS}, "requirements.txt", "six\na\n"),
        ({"pyproject.toml": PROJECT, "setup.cfg": "[flake8]"}, "requirements.txt", ""),
        ({"setup.cfg": "[flake8]", "setup.py": "setup()"}, "requirements.txt", ""),
        ({"pyproject.toml": PROJECT + "dependencies = ['six']", "pip-req.txt": "flask"}, "pip-req.txt", "flask\n"),
        ({"pyproject.toml": "[tool.ruff]\nline-length = 99"}, "requirements.txt", ""),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nx = '1'", "pip-req.txt": "flask"}, "pip-req.txt", "flask\n"),
    ],
)
def test_what_is_read(tmp_path: Path, files: dict[str, str], filename: str, text: str) -> None:
    """One file counts, in one order; what belongs to tools is left to them."""
    recipe = detect(commit(tmp_path, files))
    assert (recipe.requirements_file, recipe.requirements) == (filename, text)


@pytest.mark.parametrize(
    ("files", "code", "cause", "hint"),
    [
        ({"requirments.txt": ""}, BAD, "requirments.txt", "git mv requirments.txt requirements.txt"),
        ({"Requirements.txt": ""}, BAD, "Requirements.txt", "git mv Requirements.txt requirements.txt"),
        (
            {"requirements/dev.txt": "", "requirements/base.txt": ""},
            BAD,
            "base.txt, dev.txt",
            "-r requirements/base.txt'",
        ),
        (
            {"requirements/base.txt": "", "requirements/prod.txt": ""},
            BAD,
            "prod.txt, base.txt",
            "requirements/prod.txt'",
        ),
        ({"requirements/web.in": "", "pyproject.toml": PROJECT}, BAD, "with web.in,", "'-r requirements/web.in' into"),
        ({"requirements": ""}, BAD, "requirements, which nothing reads", "git mv requirements requirements.txt"),
        ({"PIP-REQ.txt": ""}, BAD, "PIP-REQ.txt", "git mv PIP-REQ.txt pip-req.txt"),
        ({"pip_req.txt": ""}, BAD, "pip_req.txt", "git mv pip_req.txt pip-req.txt"),
        ({"requirements.txt": "", "pip-req.txt": ""}, BAD, "both pip-req.txt and requirements.txt", "keep one"),
        ({"requirements.txt": "", "uv.lock": ""}, BAD, "requirements.txt and uv.lock", "git rm uv.lock"),
        ({"requirements.txt": "", "poetry.lock": ""}, BAD, "requirements.txt and poetry.lock", "git mv"),
        ({"poetry.lock": "", "uv.lock": ""}, BAD, "uv.lock and poetry.lock", "git rm poetry.lock"),
        ({"pylock.toml": "", "Pipfile.lock": ""}, BAD, "pylock.toml and Pipfile.lock", "git rm"),
        ({"uv.lock": ""}, "build/lock-outdated", "no pyproject.toml", "commit pyproject.toml"),
        ({"uv.lock": "version = 2", "pyproject.toml": PROJECT}, LOCK, "version 1 is read", "uv lock"),
        ({"uv.lock": "version = 1", "pyproject.toml": PROJECT}, LOCK, "holds no project", "give the pyproject.toml"),
        ({"uv.lock": "[", "pyproject.toml": PROJECT}, LOCK, "uv.lock: it is not TOML", "anew"),
        ({"poetry.lock": "", "pyproject.toml": PROJECT}, LOCK, "its version is", "poetry lock"),
        ({"Pipfile": "", "Pipfile.lock": "{"}, LOCK, "it is not JSON", "anew"),
        ({"Pipfile.lock": "{}"}, LOCK, "version 6 is read", "pipenv lock"),
        ({"Pipfile": ""}, FOREIGN, "Pipfile", "pipenv lock"),
        ({"pdm.lock": ""}, FOREIGN, "pdm.lock", "pdm export"),
        ({"pylock.toml": ""}, LOCK, "lock-version", "anew"),
        ({"pylock.dev.toml": "", "pylock.web.toml": ""}, FOREIGN, "pylock.dev.toml, pylock.web.toml", "git mv"),
        ({"setup.py": "setup(install_requires=open('x').read())"}, BAD, "setup.py calculates", "pip-req.txt"),
        ({"setup.py": "setup(install_requires=X)"}, BAD, "setup.py calculates", "pip-req.txt"),
        ({"setup.py": "setup(**x)  # install_requires"}, BAD, "setup.py calculates", "pip-req.txt"),
        ({"setup.py": "install_requires = " + "(" * 50000}, BAD, "setup.py is not Python", "correct it"),
        ({"setup.py": "setup(install_requires=['-e .'])"}, "build/unsupported-requirement", "entry 1", "name a"),
        ({"setup.cfg": "[options]\ninstall_requires = file: r.txt"}, BAD, "setup.cfg calculates", "pip-req.txt"),
        ({"setup.cfg": "[options\ninstall_requires = six"}, BAD, "setup.cfg cannot be read", "correct"),
        ({"environment.yml": ""}, FOREIGN, "environment.yml", "pip-req.txt"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nx = '1'"}, FOREIGN, "[tool.poetry]", "poetry lock"),
        ({"environment.yaml": ""}, FOREIGN, "environment.yaml", "pip-req.txt"),
        (
            {"pip-req.txt": "-e .", "pyproject.toml": "[tool.poetry.dependencies]\nx = '1'", "poetry.lock": ""},
            *(FOREIGN, "[tool.poetry]", "commit poetry.lock, and: git rm pip-req.txt"),
        ),
        ({"pyproject.toml": "[project"}, BAD, "pyproject.toml is not TOML", "correct"),
        ({"pyproject.toml": "project = 1"}, BAD, "[project] is not a table", "621"),
        ({"pyproject.toml": PROJECT + "dependencies = 'flask'"}, BAD, "not a list", "dependencies ="),
        ({"pyproject.toml": PROJECT + "dependencies = [1]"}, BAD, "not a list", "dependencies ="),
        ({"pyproject.toml": PROJECT + 'dependencies = ["a\\nb"]'}, BAD, "not a list", "dependencies ="),
        ({"pyproject.toml": PROJECT + "dependencies = ['flask=>3']"}, BAD, "pyproject.toml", "write"),
        ({"pyproject.toml": PROJECT + "dependencies = ['-e .']"}, "build/unsupported-requirement", "toml", "name a"),
        ({"pyproject.toml": PROJECT + "dynamic = ['dependencies']"}, BAD, "when it is built", "pip-req.txt"),
        ({"pyproject.toml": PROJECT + "requires-python = 3"}, BAD, "requires-python is not a text", ">=3.11"),
        ({"pyproject.toml": PROJECT + "requires-python = 'new'"}, RUNTIME, "no range of versions", ">=3.11"),
        ({".python-version": ""}, RUNTIME, ".python-version names no version", ": 3.11"),
        ({".python-version": "# only a comment\n"}, RUNTIME, "names no version", ": 3.11"),
        ({".python-version": "3.11\n3.12\n"}, RUNTIME, "names 2 versions", ": 3.11"),
        ({".python-version": "system"}, RUNTIME, "'system'", ": 3.11"),
        ({".python-version": "'3.11'"}, RUNTIME, "no version of Python", ": 3.11"),
        ({".python-version": ">=3.11"}, RUNTIME, "'>=3.11'", ": 3.11; a range belongs into pyproject.toml: requires-"),
        ({".python-version": "3.13t"}, RUNTIME, "'3.13t'", "without the global lock are not offered; write 3.13,"),
        ({".python-version": "3.13+freethreaded"}, RUNTIME, "'3.13+free", "not offered; write 3.13, the series"),
        ({"runtime.txt": "python-3.11.rc1"}, RUNTIME, "python-3.11.rc1", "python-3.11"),
        ({"runtime.txt": "python-3.11\x1b[2J"}, RUNTIME, r"\x1b", "python-3.11"),
    ],
)
def test_what_is_refused(tmp_path: Path, files: dict[str, str], code: str, cause: str, hint: str) -> None:
    """The error names what was found and what to type."""
    with pytest.raises(DaeError) as caught:
        detect(commit(tmp_path, files))
    assert caught.value.code == code
    assert cause in caught.value.cause
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"requirements/base.txt": "", "requirements.txt": "-r requirements/base.txt"}, ""),
        ({"requirements/base.txt": "", "pyproject.toml": PROJECT + "dependencies = ['six']"}, ""),
        ({"requirements/__init__.py": ""}, ""),
        ({"requirements-dev.txt": "", "requirements.in": "", "requirements.txt": ""}, ""),
        ({"Requirements.txt": "", "pyproject.toml": PROJECT + "dependencies = ['six']"}, "pyproject.toml says what"),
        ({"requirments.txt": "", "pip-req.txt": "six"}, "there is requirments.txt, which nothing reads: pip-req.txt"),
        ({"requirements-prod.txt": ""}, "requirements-prod.txt is not read for the app, and nothing is installed but"),
        (
            {"requirements-dev.txt": "", "requirements_prod.txt": ""},
            "are not read for the app, and nothing is installed but what every app gets; "
            "if that is what the app requires, write '-r requirements_prod.txt' into requirements.txt",
        ),
        ({"requirements.in": ""}, "'-r requirements.in' into"),
        ({"requires.txt": ""}, "'-r requires.txt' into"),
        ({"pip-requirements.txt": ""}, "'-r pip-requirements.txt' into"),
        ({"requirements-dev.txt": "", "dev-req.txt": ""}, "dev-req.txt, requirements-dev.txt are not read"),
        ({"requirements/dev.txt": ""}, "write what the app imports into requirements.txt"),
        ({"pixi.lock": ""}, "pixi.lock is not read"),
        ({"pyproject.toml": PROJECT + "[dependency-groups]\nprod = ['six']"}, "into 'dependencies' of [project]"),
        ({"pyproject.toml": EXTRAS.replace("'six'", "")}, "[project.optional-dependencies] of pyproject.toml is not"),
        ({"requirements-prod.txt": "", "pyproject.toml": PROJECT + "dependencies = ['six']"}, ""),
        ({"notes.txt": "", "required.txt": "", "requests.txt": "", "frequency.txt": ""}, ""),
    ],
)
def test_what_is_told(tmp_path: Path, files: dict[str, str], told: str) -> None:
    """What looks like requirements and is not read is told, with what to write; a folder of them is no file."""
    notes = detect(commit(tmp_path, files)).notes
    assert told in " ".join(notes)
    assert len(notes) == bool(told)


@pytest.mark.parametrize(
    ("files", "requires", "by"),
    [
        ({"setup.py": "setup(python_requires='>=3.99')"}, ">=3.99", "setup.py"),
        ({"setup.cfg": "[options]\npython_requires = >=3.99\n", "setup.py": "setup()"}, ">=3.99", "setup.cfg"),
        ({"setup.py": "setup(python_requires='>=3.9')", "requirements.txt": "six"}, ">=3.9", "setup.py"),
        ({"setup.py": "setup(python_requires='>=3.9')", "pyproject.toml": "[build-system]"}, ">=3.9", "setup.py"),
        ({"setup.py": "setup(python_requires='>=3')", "pyproject.toml": PROJECT}, "", "pyproject.toml"),
        ({"setup.py": "setup()  # python_requires"}, "", "pyproject.toml"),
    ],
)
def test_python_requires(tmp_path: Path, files: dict[str, str], requires: str, by: str) -> None:
    """What setup.cfg or setup.py says of the Python holds, where [project] says nothing."""
    recipe = detect(commit(tmp_path, files))
    assert (recipe.python.requires, recipe.python.required_by, recipe.notes) == (requires, by, ())


def test_python_requires_that_cannot_be_known(tmp_path: Path) -> None:
    """One that is calculated is told; one that is no range is refused by the name that it has there."""
    recipe = detect(commit(tmp_path, {"setup.py": "setup(python_requires=X, install_requires=['six'])"}))
    assert (recipe.requirements, recipe.python.requires) == ("six\n", "")
    assert "setup.py calculates 'python_requires'" in recipe.notes[0]
    with pytest.raises(DaeError, match=r"setup\.py: python_requires is 'new', which is no range") as caught:
        detect(commit(tmp_path, {"setup.py": "setup(python_requires='new')"}))
    assert caught.value.code == RUNTIME


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Wanted()),
        ({".python-version": "3.11\n"}, Wanted("python3.11", ".python-version")),
        ({".python-version": "# ours\n\n 3.11.7 \n"}, Wanted("python3.11", ".python-version", "7")),
        ({".python-version": "cpython-3.12"}, Wanted("python3.12", ".python-version")),
        ({"runtime.txt": "python-3.12.1\n"}, Wanted("python3.12", "runtime.txt", "1")),
        *(
            ({"runtime.txt": text}, Wanted("python3.11", "runtime.txt"))
            for text in ("Python-3.11", "python3.11", "3.11.x", "python-3.11.*")
        ),
        ({"runtime.txt": "python-2.7.18"}, Wanted("python2.7", "runtime.txt", "18")),
        (
            {"runtime.txt": "python-3.12", ".python-version": "3.11"},
            Wanted("python3.11", ".python-version", passed=(("runtime.txt", "3.12"),)),
        ),
        (
            {".python-version": "3.12", "app.yaml": "runtime: python3.11\n", "runtime.txt": "ruby"},
            Wanted("python3.11", "app.yaml", passed=((".python-version", "3.12"), ("runtime.txt", "no version"))),
        ),
        (
            {"pyproject.toml": PROJECT + "requires-python = '>=3.11'", ".python-version": "3.12"},
            Wanted("python3.12", ".python-version", requires=">=3.11"),
        ),
    ],
)
def test_which_python(tmp_path: Path, files: dict[str, str], expected: Wanted) -> None:
    """app.yaml, .python-version, runtime.txt: the first that is there; requires-python holds in any case."""
    assert detect(commit(tmp_path, files)).python == expected


def test_the_range_of_requires_python_holds() -> None:
    """The interpreter is in the range, or the error says what the range is and what there is."""
    here = find_interpreter()
    assert find_interpreter(requires=f">={here.series}") == here
    with pytest.raises(DaeError) as caught:
        find_interpreter(requires="===\x1b[2J")
    assert caught.value.cause.isprintable()
    for runtime in ("", f"python{here.series}"):
        with pytest.raises(DaeError, match=r"requires Python >=3\.99") as caught:
            find_interpreter(runtime, requires=">=3.99")
        assert caught.value.code == RUNTIME
        assert here.series in caught.value.cause


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, f"type '{command}', and commit") for name, command in LOCKS.items()),
        ("dae.lock", "type 'dae lock', and commit"),
        *((name, "remove the marks") for name in ("pip-req.txt", "pyproject.toml", "setup.cfg", ".python-version")),
        ("app.yaml", "remove the marks"),
        ("Procfile", "remove the marks"),
    ],
)
def test_marks_of_a_merge(tmp_path: Path, name: str, command: str) -> None:
    """They are told as that, with file and line, wherever a developer can leave them."""
    marked = "# install_requires\n<<<<<<< HEAD\none\n=======\nother\n>>>>>>> branch\n"
    (tmp_path / "Procfile").write_text("web: x\n")
    (tmp_path / name).write_text(marked)
    with pytest.raises(DaeError, match=f"{name} line 2: the marks of a merge conflict stand in it") as caught:
        detect(tmp_path)
    assert command in caught.value.hint


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ("python2.7", "runtime.txt asks for Python 2.7, which has had no security fixes since 2020-01-01: there is no"),
        ("python3.99", "runtime.txt asks for Python 3.99: there is no python3.99 here; there is python3."),
    ],
)
def test_a_python_that_is_not_here(runtime: str, told: str) -> None:
    """The error says which file asks for it, whether that is out of support, and the newest that is here."""
    with pytest.raises(DaeError) as caught:
        find_interpreter(runtime)
    error = Wanted(runtime, "runtime.txt").refused(caught.value, TODAY)
    assert error.code == RUNTIME
    assert error.cause.startswith(told)
    assert "the newest is python3." in error.hint
    assert Wanted().refused(caught.value, TODAY) == caught.value


@pytest.mark.parametrize("said", ["3", "3.x", "python-3"])
def test_a_python_that_leaves_the_series_open(tmp_path: Path, said: str) -> None:
    """The error says which there are, and nothing is chosen; where another file decides it says nothing."""
    here = find_interpreter()
    wanted = detect(commit(tmp_path, {".python-version": said})).python
    with pytest.raises(DaeError, match=r"\.python-version says 3, and not which one; there is python3\.") as caught:
        wanted.interpreter(shared=False, folder=tmp_path, today=TODAY)
    assert (caught.value.code, here.series in caught.value.cause) == (RUNTIME, True)
    assert "the newest is python3." in caught.value.hint
    assert not detect(commit(tmp_path, {"app.yaml": "runtime: python3.11\n"})).python.passed


def test_pythons_that_are_too_old() -> None:
    """They are not offered, wherever they stand; the bound is that of the library that each app gets."""
    with pytest.raises(DaeError, match=r"apps run on Python 3\.9 or later; there is python3\.") as caught:
        find_interpreter("python3.8", shared=False)
    assert caught.value.code == RUNTIME
    assert "python3.8" not in caught.value.cause
    bound = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]["requires-python"]
    assert bound == f">={OLDEST[0]}.{OLDEST[1]}"


def test_two_files_that_differ(tmp_path: Path) -> None:
    """Which one decides is told, and which is passed over; of files that say the same nothing is."""
    commit(tmp_path, {"runtime.txt": "python-3.12", ".python-version": "3.11", "app.yaml": "runtime: python\n"})
    assert detect(tmp_path).python.notes((3, 11, 4), TODAY) == (
        "runtime.txt says 3.12, and is passed over: app.yaml comes first, and says 3.11",
    )
    with pytest.raises(DaeError) as caught:
        find_interpreter("python3.11", None, ">=3.12", None, "Pipfile", ".python-version")
    assert caught.value.cause == "Pipfile requires Python >=3.12, and .python-version says 3.11"
    assert "change that in Pipfile or .python-version" in caught.value.hint


def test_notes() -> None:
    """Another patch level than asked for, and a series without security fixes, are told with the facts."""
    wanted = Wanted("python3.10", ".python-version", "4")
    assert wanted.notes((3, 10, 4), datetime.date(2026, 10, 31)) == ()
    assert wanted.notes((3, 10, 9), TODAY) == (
        ".python-version asks for 3.10.4; this platform has 3.10.9, of the same series",
        "Python 3.10 has had no security fixes since 2026-10-31: move to a newer one",
    )
    assert Wanted().notes((3, 99, 0), TODAY) == ()
    assert list(END_OF_LIFE.values()) == sorted(END_OF_LIFE.values())
