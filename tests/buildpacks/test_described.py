"""What `dae lock` sends of a folder is all that the platform reads of a commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpacks import detect, foreign, manifests
from core.errors import DaeError
from dae import reqfile
from dae.local import lockfile
from tests.sdk.test_lockfile import written

APP = {"Procfile": "web: gunicorn app:app\n", "app.py": "x = 1\n"}
POETRY = '[tool.poetry.dependencies]\nsix = "*"\n'
PROJECT = '[project]\nname = "x"\nrequires-python = ">=3.9"\ndependencies = ["six"]\n'
SETUP = "from setuptools import setup\nsetup(install_requires=['six<2'])\n"


def seen(folder: Path) -> object:
    """What the platform makes of a folder: its recipe, or its error."""
    try:
        return detect(folder)
    except DaeError as error:
        return error.code, error.cause.partition("; the commit has")[0], error.hint


@pytest.mark.parametrize(
    "files",
    [
        {"index.html": "", "style.css": ""},
        {"index.html": "", "größe.py": ""},
        {"index.html": "", "package.json": "{}"},
        {"style.css": ""},
        APP,
        {
            **APP,
            "requirements.txt": "\ufeff--pre -r 'größe/base 1.in'\n",
            "größe/base 1.in": "-c ../limits\nsix\n",
            "limits": "six<2",
        },
        {**APP, "requirements.txt": "-r missing.txt\n"},
        {**APP, "requirements.txt": "-r 'open.txt\n"},
        {**APP, "requirements.txt": "six\r\n# a\\\r\ntoolz\r-r x\n"},
        {**APP, "requirements.txt": ".\n", "setup.py": SETUP},
        {
            **APP,
            "requirements.txt": "-e .[a]\n",
            "pyproject.toml": PROJECT + "[project.optional-dependencies]\na=['toolz']\n",
        },
        {**APP, "requirements.txt": "six\n", "pip-req.txt": "six\n"},
        {**APP, "pip-req.txt": "six\n", "uv.lock": "nonsense", "setup.py": "nonsense("},
        {**APP, "requirements.txt": "six\n", "poetry.lock": "nonsense"},
        {**APP, "Requirements.txt": "six\n"},
        {**APP, "pip-reqs.txt": "six\n"},
        {**APP, "setup.py": SETUP},
        {**APP, "setup.cfg": "[options]\ninstall_requires = six\n"},
        {**APP, "pyproject.toml": PROJECT, "runtime.txt": "python-3.11\n"},
        {**APP, "pyproject.toml": POETRY},
        {**APP, "pylock.dev.toml": "", ".python-version": "3.11\n"},
        {**APP, "Pipfile": "[packages]\n"},
        {**APP, "Pipfile": "[packages]\nsix='*'\n", "Pipfile.lock": "{}"},
        {**APP, "pdm.lock": "", "setup.py": SETUP},
        {**APP, "environment.yml": ""},
        {**APP, "requirements.txt": "six\n", "dae.lock": "six==1 --hash=sha256:" + "a" * 64},
        {**APP, "uv.lock": "version = 1\n", "dae.lock": ""},
        {"app.yaml": "buildpacks: [textsite]\n", "pip-req.txt": "-r none"},
        {"app.yaml": "handlers:\n- url: /.*\n  wsgi_app: a:b\nruntime: python3.11\n", "setup.cfg": "["},
        {"app.yaml": "nonsense: 1\n"},
    ],
)
def test_it_suffices(tmp_path: Path, files: dict[str, str]) -> None:
    """The platform finds in what is sent what it finds in the whole folder: the same recipe, or the same error."""
    whole = written(tmp_path / "whole", files)
    sent = written(tmp_path / "sent", lockfile.described(whole))
    assert seen(sent) == seen(whole)


def test_the_lists_agree() -> None:
    """The command knows the manifests and locks that the platform knows."""
    assert manifests.FILES == reqfile.NAMES
    assert set(lockfile.LOCKS) == set(foreign.LOCKS)
