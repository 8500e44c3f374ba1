"""An app on another Python than the platform's own: locked for it, installed for it, and run by it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from core.files import remove_tree
from tests.blackbox.project import Project
from tests.conftest import RunningPlatform

APP = """\
import sys
import iniconfig

def app(environ, start_response):
    start_response("200 OK", [])
    return ["{}.{}".format(*sys.version_info).encode()]
"""
LEFT_OUT = shutil.ignore_patterns("test", "config-*", "idlelib", "ensurepip", "__pycache__", "site-packages", "*.a")
SERIES = ("3.13", "3.12", "3.14", "3.10")  # those that the runtime's packages have wheels for


def another() -> tuple[str, Path]:
    """A series that is not the platform's, and the folder of a Python of it, as pyenv makes them."""
    own = "{}.{}".format(*sys.version_info)
    versions = Path.home() / ".pyenv" / "versions"
    for series in SERIES:
        for place in sorted(versions.glob(f"{series}.*")) if series != own else ():
            if (place / "bin" / f"python{series}").is_file():
                return series, place
    pytest.skip(f"there is no second Python in {versions}: nothing shows that apps run on another one than {own}")


def moved(source: Path, place: Path, program: Path) -> None:
    """Have the program, and what the library says of it, look below ``place``: elsewhere only root may."""
    before = f"{source}/lib".encode()
    data = (source / "bin" / program.name).read_bytes()
    program.write_bytes(data.replace(before + b"\0", b"$ORIGIN/../lib".ljust(len(before), b"\0") + b"\0"))
    program.chmod(0o755)
    for facts in (place / "lib").glob("python3.*/_sysconfigdata_*.py"):
        facts.write_text(facts.read_text().replace(str(source), str(place)))


def told(platform: RunningPlatform) -> list[dict[str, str]]:
    return [row for row in json.loads(platform.dae("doctor", "--json").stdout) if row["subject"] == "pythons"]


def test_an_app_on_another_python(platform: RunningPlatform, tmp_path: Path) -> None:
    """What ``.python-version`` names runs the app. Where it cannot be started, doctor says why nobody gets it."""
    series, source = another()
    place = platform.home / "pythons" / "another"
    program = place / "bin" / f"python{series}"
    files = {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: app:app\n", "app.py": APP, "pip-req.txt": "iniconfig\n"}
    project = Project.create(platform, tmp_path / "app", "elsewhere", {**files, ".python-version": f"{series}\n"})
    try:
        program.parent.mkdir(parents=True)
        shutil.copy2(source / "bin" / program.name, program)  # without its library
        passed = next(row for row in told(platform) if str(program) in row["text"])
        assert passed["level"] == "warn"
        assert "builds pass" in passed["text"]
        assert "build/bad-runtime" in project.push().stderr
        remove_tree(place)

        (place / "bin").mkdir(parents=True)
        shutil.copytree(source / "lib", place / "lib", symlinks=True, ignore=LEFT_OUT)
        moved(source, place, program)
        listed = [row for row in told(platform) if str(program) in row["text"]]
        assert [row["level"] for row in listed] == ["ok"], listed
        done = project.push()
        assert done.returncode == 0, done.stderr
        assert project.get()[2] == series.encode()
        slug = json.loads(project.dae("slugs", "--json").stdout)[0]
        assert slug["interpreter"].startswith(f"cpython-{series}.")
    finally:
        project.dae("destroy", "elsewhere", "--confirm", "elsewhere")
        remove_tree(place)
