"""dae venv and dae install: a real .venv, a real pip, an index of tiny wheels."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dae.local.environment import index_of, install_argv, pip_environ
from tests.sdk.conftest import Person
from tests.sdk.platform import Platform, simple_index
from tests.sdk.wheels import wheel

PYTHON = ["--python", sys.executable]


@pytest.fixture
def index(platform: Platform, tmp_path: Path) -> Path:
    """The runtime and two versions of a project, on the platform's index; returns the wheels' folder."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    gevent = ("Provides-Extra: gevent", 'Requires-Dist: gevent; extra == "gevent"')
    found = [wheel(folder, "gunicorn", "25.0", *gevent), wheel(folder, "gevent", "25.0"), wheel(folder, "dae", "9.9")]
    found += [wheel(folder, "tiny", "1.0"), wheel(folder, "tiny", "2.0")]
    simple_index(platform, *found)
    return folder


def test_the_environment_follows_the_requirements(ann: Person, platform: Platform, index: Path) -> None:
    """Made at the first use, filled from the index alone, asked for again only when the requirements changed."""
    (ann.folder / "pip-req.txt").write_text("tiny==1.0\n")
    # The machine's own configuration must not count: this one would find nothing at all.
    ann.environ.update(PIP_INDEX_URL="http://127.0.0.1:9/simple/", PIP_NO_INDEX="1", PYTHONPATH="/nowhere")
    show = ["python", "-c", "import tiny, dae, gevent, gunicorn; print(tiny.VERSION, dae.VERSION)"]
    assert ann.dae("venv", *PYTHON, *show).stdout == "1.0 9.9\n"

    platform.files.clear()
    assert ann.dae("venv", *show).stdout == "1.0 9.9\n", "nothing changed: no index is needed"

    (ann.folder / "pip-req.txt").write_text("tiny==2.0\n")
    assert "local/install-failed" in ann.dae("venv", *show, status=1).stderr
    assert "local/install-failed" in ann.dae("venv", *show, status=1).stderr, "what failed is tried again"

    simple_index(platform, *sorted(index.iterdir()))
    assert ann.dae("venv", *show).stdout == "2.0 9.9\n"

    deep = ann.folder / "deep" / "er"
    deep.mkdir(parents=True)
    ann.folder = deep
    assert ann.dae("venv", *show).stdout == "2.0 9.9\n", "the app's folder is found from below"


def test_git_does_not_see_the_environment(ann: Person, index: Path) -> None:
    """After a first ``dae venv`` a plain ``git add .`` commits the app alone."""
    ann.run(["git", "init", "--quiet"])
    ann.dae("venv", *PYTHON, "true")
    assert (ann.folder / ".venv").is_dir()
    assert ann.run(["git", "status", "--porcelain"]).stdout == ""


def test_a_command_runs_as_it_would_by_itself(ann: Person, index: Path) -> None:
    """Its options are its own, its exit status is ours, and it knows that this is the SDK."""
    ann.dae("venv", *PYTHON, "true")
    code = (
        "import os, sys; print(os.environ['DAE_ENV'], os.environ['VIRTUAL_ENV'], sys.prefix, sys.argv[1:]); sys.exit(7)"
    )
    done = ann.dae("venv", "python", "-c", code, "--help", "-h", "--python", status=7)
    path = ann.folder / ".venv"
    assert done.stdout == f"SDK {path} {path} ['--help', '-h', '--python']\n"
    assert "local/no-command" in ann.dae("venv", "no-such-program", status=1).stderr


def test_install_records_what_it_installed(ann: Person, platform: Platform, index: Path) -> None:
    """A line in pip-req.txt and a package in .venv; when that cannot be, the file is as it was."""
    file = ann.folder / "pip-req.txt"
    assert "local/install-failed" in ann.dae("install", *PYTHON, "nothing-of-that-name", status=1).stderr
    assert not file.exists()
    done = ann.dae("install", "tiny<2")
    assert file.read_text() == "tiny<2\n"
    assert "tiny<2: in pip-req.txt" in done.stderr
    assert ann.dae("venv", "python", "-c", "import tiny; print(tiny.VERSION)").stdout == "1.0\n"
    file.chmod(0o600)
    ann.dae("install", "tiny==3", status=1)
    assert file.read_text() == "tiny<2\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_no_environment_is_left_alone(ann: Person, index: Path) -> None:
    """A .venv that somebody put there for something else is neither cleared nor filled."""
    (ann.folder / ".venv").mkdir()
    (ann.folder / ".venv" / "thesis.txt").write_text("years")
    assert "local/environment" in ann.dae("venv", "true", status=1).stderr
    assert (ann.folder / ".venv" / "thesis.txt").exists()


def test_without_a_platform_there_is_nothing_to_install_from(person: Person) -> None:
    """The error says to log in, and no half an environment is left."""
    assert "local/no-platform" in person.dae("venv", "true", status=1).stderr
    assert "local/no-platform" in person.dae("install", "flask", status=1).stderr
    assert list(person.folder.iterdir()) == []


def test_pip_asks_one_index(tmp_path: Path) -> None:
    """Isolated, this index, no configuration file; *.localhost is written as an address, which pip can resolve."""
    assert index_of("http://dae.localhost:8080") == "http://127.0.0.1:8080/pypi/simple/"
    assert index_of("https://dae.example.com") == "https://dae.example.com/pypi/simple/"
    argv = install_argv(Path("/v/bin/python"), "http://h:1/pypi/simple/", tmp_path / "r.txt")
    assert argv[:4] == ["/v/bin/python", "-m", "pip", "--isolated"]
    assert argv[argv.index("--index-url") + 1] == "http://h:1/pypi/simple/"
    assert argv[argv.index("--trusted-host") + 1] == "h:1"
    assert "--trusted-host" not in install_argv(Path("p"), "https://h/pypi/simple/", None)
    environ = pip_environ({"PIP_EXTRA_INDEX_URL": "x", "PIP_CONFIG_FILE": "y", "PYTHONPATH": "z", "PATH": "p"})
    assert environ == {"PATH": "p", "PIP_CONFIG_FILE": "/dev/null"}
