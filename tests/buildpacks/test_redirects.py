"""Tables that take packages from elsewhere, in commits without the lock that says what came of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpacks import detect
from buildpacks.development import Needs, beside
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.test_foreign import FACTS

MANIFEST, ELSEWHERE = "build/unsupported-manifest", "build/unsupported-requirement"
INDEX = "http://127.0.0.1:8080/pypi/simple/"
PROJECT = '[project]\nname = "shop"\ndependencies = ["six", "Big_Library>=1"]\n'
UV, POETRY = "run 'uv lock', and commit uv.lock", "run 'poetry lock', and commit poetry.lock"
PRIVATE = 'url = "https://user:secret@packages.example.org/simple"\n'
NAMED = f'[[tool.uv.index]]\nname = "inner"\nexplicit = true\n{PRIVATE}'


def commit(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"Procfile": "web: x\n", **files}.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("table", "code", "cause", "hint"),
    [
        ('[tool.uv.sources]\nsix = { git = "https://x/y" }', MANIFEST, "takes six from git https://x/y, and", UV),
        ('[tool.uv.sources]\nbig-library.path = "../b"', MANIFEST, "takes big-library from path ../b", UV),
        ('[tool.uv.sources]\nsix = { url = "https://x/y.whl" }', MANIFEST, "from url https://x/y.whl", UV),
        ("[tool.uv.sources]\nSix = { workspace = true }", MANIFEST, "takes six from workspace", UV),
        (
            '[tool.uv.sources]\nsix = [{ path = "a", marker = "os_name == \'x\'" }, { index = "a" }]',
            *(MANIFEST, "takes six from path a", UV),
        ),
        ('[tool.uv.sources]\nsix = { index = "nowhere" }', MANIFEST, "an index that nothing describes", UV),
        (f'{NAMED}[tool.uv.sources]\nsix = {{ index = "inner" }}', ELSEWHERE, "packages.example.org", "index_aliases"),
        (f"[[tool.uv.index]]\n{PRIVATE}", ELSEWHERE, "[tool.uv] of pyproject.toml: the index", "index_aliases"),
        (f"[tool.uv.pip]\nextra-index-{PRIVATE}", ELSEWHERE, "[tool.uv.pip] of pyproject.toml, extra-", "remove it"),
        ("[tool.uv]\nfind-links = ['./wheels']", ELSEWHERE, "[tool.uv] of pyproject.toml, find-links", "remove it"),
        ("[tool.uv]\nconstraint-dependencies = ['idna<3']", MANIFEST, "has constraint-dependencies", UV),
        ("[tool.uv]\noverride-dependencies = ['idna<3']", MANIFEST, "has override-dependencies", UV),
        (f'[[tool.poetry.source]]\nname = "x"\n{PRIVATE}', ELSEWHERE, "[[tool.poetry.source]] of", "index_aliases"),
        (
            f'[[tool.poetry.source]]\nname = "x"\npriority = "explicit"\n{PRIVATE}'
            '[tool.poetry.dependencies]\nsix = { source = "x" }',
            *(ELSEWHERE, "[[tool.poetry.source]] of pyproject.toml, six: the index", "index_aliases"),
        ),
        ('[tool.poetry.dependencies]\nsix = { git = "https://x/y" }', MANIFEST, "takes six from git https", POETRY),
        ('[tool.poetry.dependencies]\nsix = { path = "lib" }', MANIFEST, "takes six from path lib", POETRY),
        ('[tool.poetry.dependencies]\nsix = [{ url = "https://x" }]', MANIFEST, "takes six from url", POETRY),
        (f"[[tool.pdm.source]]\n{PRIVATE}", ELSEWHERE, "[[tool.pdm.source]] of pyproject.toml", "index_aliases"),
        ("[tool.pdm.resolution.overrides]\nidna = '2'", MANIFEST, "[tool.pdm.resolution.overrides]", "pdm export"),
    ],
)
def test_what_redirects(tmp_path: Path, table: str, code: str, cause: str, hint: str) -> None:
    """It is refused, and so is what leads to it from a requirements file; of an index neither lock nor table helps."""
    commit(tmp_path, {"pyproject.toml": PROJECT + table})
    for more in ("", "requirements.txt", "pip-req.txt"):
        if more:
            (tmp_path / more).write_text("-e .\nflask\n")
        with pytest.raises(DaeError) as caught:
            detect(tmp_path, Policy(lambda: (INDEX,)))
        assert caught.value.code == code
        assert cause in caught.value.cause
        assert "secret" not in caught.value.cause
        again = f", and: git rm {more}" if more and hint in (UV, POETRY) else ""
        assert f"{hint}{again}" in caught.value.hint
        if more:
            (tmp_path / more).unlink()


def test_uv_toml_redirects(tmp_path: Path) -> None:
    """It says what [tool.uv] says."""
    commit(tmp_path, {"pyproject.toml": PROJECT, "uv.toml": f"[[index]]\n{PRIVATE}"})
    with pytest.raises(DaeError, match=r"uv\.toml: the index https://packages\.example\.org/simple is not one"):
        detect(tmp_path)
    commit(tmp_path, {"uv.toml": "constraint-dependencies = ['idna<3']"})
    with pytest.raises(DaeError, match=r"uv\.toml has constraint-dependencies, and there is no uv\.lock"):
        detect(tmp_path)


@pytest.mark.parametrize(
    "table",
    [
        f'[[tool.uv.index]]\nname = "x"\nurl = "{INDEX}"\ndefault = true\n[tool.uv.sources]\nsix = {{ index = "x" }}',
        NAMED,
        '[tool.uv.sources]\nother = { git = "https://x/y" }',
        '[[tool.poetry.source]]\nname = "PyPI"\npriority = "primary"',
        f'[[tool.poetry.source]]\nname = "x"\npriority = "explicit"\n{PRIVATE}',
        '[tool.poetry.dependencies]\nsix = "^1"\nother = { git = "https://x/y" }\n[tool.poetry.group.x]\n',
        f'[[tool.pdm.source]]\nname = "x"\nurl = "{INDEX.rstrip("/")}"',
        "[tool.uv]\nsources = 1\nindex = 'x'\nconstraint-dependencies = []\n[tool.poetry]\nsource = [1]\n",
        f"[[tool.uv.index]]\nname = [1]\nurl = '{INDEX}'\n[[tool.poetry.source]]\nname = {{}}\n",
    ],
)
def test_what_changes_nothing(tmp_path: Path, table: str) -> None:
    """The mirror's own index, or one that it stands for, and sources of what is not required, are no redirection."""
    recipe = detect(commit(tmp_path, {"pyproject.toml": PROJECT + table}), Policy(lambda: (INDEX,)))
    assert (recipe.requirements, recipe.notes) == ("six\nBig_Library>=1\n", ())


def test_how_uv_chooses(tmp_path: Path) -> None:
    """What only uv would mind of the choice among versions is told."""
    files = {"pyproject.toml": PROJECT + "[tool.uv]\nresolution = 'lowest'\n", "uv.toml": "exclude-newer = '7 days'"}
    assert detect(commit(tmp_path, files)).notes == (
        "[tool.uv] of pyproject.toml: resolution counts with a uv.lock only; there is none",
        "uv.toml: exclude-newer counts with a uv.lock only; there is none",
    )


def test_an_index_beside_a_requirements_file(tmp_path: Path) -> None:
    """It is told that nothing comes from there, though uv would ask it; one that the mirror stands for is not."""
    policy = Policy(lambda: (INDEX,))
    files = {"requirements.txt": "six\n", "pyproject.toml": f"[[tool.uv.index]]\n{PRIVATE}", "uv.toml": ""}
    assert detect(commit(tmp_path, files), policy).notes == (
        "[tool.uv] of pyproject.toml: the index https://packages.example.org/simple is not one the mirror stands for:"
        " what requirements.txt requires comes from the internal index alone",
    )
    files = {"pyproject.toml": NAMED, "uv.toml": f"index-url = '{INDEX}'\n"}
    assert detect(commit(tmp_path, files), policy).notes == ()


def test_groups_of_tests(tmp_path: Path) -> None:
    """What tests require is redirected as little."""
    text = '[dependency-groups]\ntest = ["six"]\n[tool.uv.sources]\nsix = { git = "https://x/y" }\n'
    with pytest.raises(DaeError, match="takes six from git") as caught:
        beside({}, commit(tmp_path, {"pyproject.toml": text}), Needs("pyproject.toml", "test"), Policy(), FACTS)
    assert caught.value.code == MANIFEST
