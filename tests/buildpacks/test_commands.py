"""Commands of an app that do not start: the shell's own words, and what the developer is told to write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildpacks.commands import hint

PYPROJECT = '[project]\nname = "shop"\nversion = "1"\n[project.scripts]\nshop-serve = "shop.main:run"\n'


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A commit with scripts, and an environment beside it."""
    code, programs = tmp_path / "code", tmp_path / "env" / "bin"
    programs.mkdir(parents=True)
    for name in ("gunicorn", "python", "celery"):
        (programs / name).touch()
    (code / "bin").mkdir(parents=True)
    (code / "pyproject.toml").write_text(PYPROJECT)
    (code / "bin/plain").write_text("#!/bin/sh\necho hello\n")
    for name, text in (("bin/windows", "#!/bin/sh\r\necho hello\r\n"), ("run.py", "#!/usr/bin/nothing\n")):
        (code / name).write_text(text)
        (code / name).chmod(0o755)
    return code


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("uv run gunicorn app:app", "write 'gunicorn app:app' alone, without 'uv run'"),
        ("exec poetry run --quiet flask run; true", "write 'flask run' alone, without 'poetry run'"),
        ("pipenv sync", "are installed already, without pipenv: take the command out"),
        ("gunicron app:app", "did you mean gunicorn?"),
        ("uvicorn app:app", "no package brings the program uvicorn: require uvicorn"),
        ("waitress-serve app:app", "require waitress"),
        ("shop-serve --port 1", "write python -c 'from shop.main import run; run()' in its place"),
        ("no-such-program-of-ours", "there is no program no-such-program-of-ours"),
        ("bin/plain", "git update-index --chmod=+x bin/plain"),
        ("./bin/plain", "git update-index --chmod=+x bin/plain"),
        ("bin/windows", "sed -i 's/\\r$//' bin/windows"),
        ("run.py", "write ./run.py"),
        ("./run.py", "its first line is '#!/usr/bin/nothing'"),
        ("env gunicron", "did you mean gunicorn?"),
        ("pip install flask", "write flask into pip-req.txt"),
        ("echo app: not found", ""),
        ("exit 3", ""),
    ],
)
def test_told(code: Path, shell: str, command: str, told: str) -> None:
    """Of what this shell itself says of the command."""
    environ = {"PATH": f"{code.parent / 'env/bin'}:{code.parent / 'nothing'}", "LC_ALL": "C.UTF-8"}
    words = command.replace("env gun", "/usr/bin/env gun")
    done = subprocess.run([shell, "-c", words], cwd=code, env=environ, capture_output=True, text=True, check=False)
    found = hint((done.stdout + done.stderr).splitlines(), words, code, code.parent / "env")
    assert told in found if told else found == "", (found, done.stderr)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("sh: 1: \x1b[2Jgunicron: not found", "x"),
        ("/bin/sh: 1: a\r: not found", "sh " + "x" * 300),
    ],
)
def test_what_a_name_may_hold(code: Path, line: str, command: str) -> None:
    """Nothing that a terminal would obey is repeated, and no path is too long to be looked for."""
    told = hint([line], command, code, code.parent / "env")
    assert told == "" or "sed -i 's/\\r$//' the script" in told
    assert told.isprintable()


@pytest.mark.parametrize(
    "line", ["/usr/bin/python: No module named pip", "error: externally-managed-environment", "sh: 1: pip: not found"]
)
def test_pip(code: Path, line: str) -> None:
    """Nothing is installed by commands, whatever pip there is or is not."""
    told = hint([line, "more of it"], "python -m pip install -U requests 'rich>=1' && true", code, code.parent / "env")
    assert told.startswith("the platform installs the packages: write requests 'rich>=1' into pip-req.txt"), told
