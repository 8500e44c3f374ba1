"""What tests need beside what the app requires."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpacks import lockfile
from buildpacks.development import Needs, advice, beside, check_named, needs
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.test_foreign import FACTS
from tests.buildpacks.test_real_locks import INDEX, copied

HASH = "sha256:" + "a" * 64
LOCK = f"flask==3.0.0 \\\n    --hash={HASH} \\\n    --hash=sha256:{'b' * 64}\nsix==1.16.0 \\\n    --hash={HASH}\n"


GROUPED = '[dependency-groups]\ntests = ["a"]\ntest = ["b", {include-group = "tests"}]\n'


@pytest.mark.parametrize(
    ("there", "named", "wanted"),
    [
        ({}, "", None),
        ({"dev-req.txt": ""}, "", "dev-req.txt"),
        ({"requirements-dev.txt": ""}, "", "requirements-dev.txt"),
        ({"dev-req.txt": "", "requirements-dev.txt": ""}, "", "dev-req.txt"),
        ({"dev-req.txt": "", "more.txt": ""}, "more.txt", "more.txt"),
        ({"dev-req.txt": "", "pyproject.toml": GROUPED}, "", "dev-req.txt"),
        ({"pyproject.toml": GROUPED}, "", "the group test of pyproject.toml"),
        ({"pyproject.toml": GROUPED + "Dev = []\n"}, "", "the group dev of pyproject.toml"),
        ({"pyproject.toml": "[dependency-groups]\ndocs = ['x']\n"}, "", None),
        ({"pyproject.toml": "[tool.uv]\ndev-dependencies = ['x']\n"}, "", "the group dev of pyproject.toml"),
    ],
)
def test_where_they_stand(tmp_path: Path, there: dict[str, str], named: str, wanted: str | None) -> None:
    """In the file that app.yaml names, else the first usual one that is there, else in a group, else nowhere."""
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    found = needs(tmp_path, named, Policy())
    assert (found and str(found)) == wanted


def test_a_group_of_pyproject(tmp_path: Path) -> None:
    """Its requirements, and those of the groups that it includes, beside the slug's versions."""
    (tmp_path / "pyproject.toml").write_text(GROUPED)
    found = beside(lockfile.read(LOCK), tmp_path, Needs("pyproject.toml", "test"), Policy(), FACTS)
    assert found.requirements.splitlines()[2:] == ["b", "a"]
    (tmp_path / "pyproject.toml").write_text(GROUPED.replace('"a"', '"../evil.whl"'))
    with pytest.raises(DaeError, match=r"pyproject\.toml, the group test, entry 2"):
        beside(lockfile.read(LOCK), tmp_path, Needs("pyproject.toml", "test"), Policy(), FACTS)
    for text in ('test = [{include-group = "test"}]', 'test = [{include-group = "gone"}]', "test = 1", "test = [1]"):
        (tmp_path / "pyproject.toml").write_text(f"[dependency-groups]\n{text}\n")
        with pytest.raises(DaeError) as caught:
            needs(tmp_path, "", Policy())
        assert caught.value.code == "build/bad-requirements"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("poetry-1.2", "dev"),
        ("poetry-1.8", "dev"),
        ("poetry-2.5", "dev"),
        ("poetry-2.5-project", "dev"),
        ("pipenv-2026.10", "dev"),
    ],
)
def test_a_group_of_a_lock(tmp_path: Path, name: str, group: str) -> None:
    """The versions and hashes that the lock has, as the manager itself would install them."""
    folder = copied(name, tmp_path)
    found = needs(folder, "", Policy(lambda: (INDEX,)))
    assert found is not None and (found.group, found.lock is not None) == (group, True)
    lines = beside(lockfile.read(LOCK), folder, found, Policy(), FACTS).requirements.splitlines()
    assert lines[0] == f"flask==3.0.0 --hash={HASH} --hash=sha256:{'b' * 64}"
    assert [line.partition(" --hash=sha256:")[0] for line in lines if "flask" not in line] == [
        "linting==1.0",
        "six==1.16.0",
        *(["tools==2.0"] if name.endswith("project") else []),
    ]


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """Tests without what they need would fail for another reason than the one that is told; the likely one is named."""
    with pytest.raises(DaeError, match="which is not in the commit") as caught:
        check_named(tmp_path, "dev.txt")
    assert caught.value.hint == "commit it, or take 'requires' out"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "dev-req.txt").write_text("")
    with pytest.raises(DaeError, match="requires tests/dev_req") as caught:
        check_named(tmp_path, "tests/dev_req.txt")
    assert caught.value.hint.startswith("name tests/dev-req.txt, which is there")
    (tmp_path / "out").symlink_to("/usr/share/doc")
    with pytest.raises(DaeError, match="requires out/x") as caught:
        check_named(tmp_path, "out/x.txt")
    assert caught.value.hint == "commit it, or take 'requires' out"
    check_named(tmp_path, "tests/dev-req.txt")
    check_named(tmp_path, "")


@pytest.mark.parametrize(
    ("commands", "found", "says"),
    [
        (["pytest-of-none -q"], None, "pytest-of-none is not installed: write pytest-of-none into dev-req.txt"),
        (["cd x && tool-of-none"], Needs("more.txt"), "tool-of-none is not among what the tests get: write its"),
        (["tool-of-none"], Needs("more.txt"), "write its package into more.txt, and push again"),
        (["true | tool-of-none"], Needs("pyproject.toml", "dev"), "into the group dev of pyproject.toml, and push"),
        (["./run"], None, "the program is not installed: write its package into dev-req.txt"),
    ],
)  # fmt: skip
def test_advice(tmp_path: Path, commands: list[str], found: Needs | None, says: str) -> None:
    """Which program is not there, and into which file its package belongs."""
    assert says in advice(commands, tmp_path, found)


def test_advice_for_a_lock(tmp_path: Path) -> None:
    """It names the manifest, and the manager's command."""
    for name, where, command in (
        ("poetry-2.5", "the group dev of pyproject.toml", "poetry lock"),
        ("pipenv-2026.10", "[dev-packages] of Pipfile", "pipenv lock"),
    ):
        found = needs(copied(name, tmp_path), "", Policy(lambda: (INDEX,)))
        assert f"into {where}, run '{command}', and push" in advice(["tool-of-none"], tmp_path, found)


def test_together(tmp_path: Path) -> None:
    """The slug's own versions are required with their hashes, and what the tests need beside them."""
    (tmp_path / "requirements.txt").write_text("flask\n")
    (tmp_path / "pip-req.txt").write_text("flask\n")  # a compile step made one: what is installed decides, not it
    (tmp_path / "dev-req.txt").write_text("-r requirements.txt\n-c limits.txt\npytest>=8  # a comment\n")
    (tmp_path / "limits.txt").write_text("pluggy<2\n")
    pins = lockfile.read(LOCK + f"dae==0.1 --hash={HASH}\n")  # the platform's own, whichever it is by now
    found = beside(pins, tmp_path, Needs("dev-req.txt"), Policy(), FACTS, "pip")
    assert found.requirements.splitlines() == [
        f"flask==3.0.0 --hash={HASH} --hash=sha256:{'b' * 64}",
        f"six==1.16.0 --hash={HASH}",
        "flask",
        "pytest>=8",
    ]
    assert (found.constraints, found.lock, found.requirements_file) == ("pluggy<2\n", None, "dev-req.txt")
    assert found.installer == "pip"


def test_what_is_refused(tmp_path: Path) -> None:
    """Lines that a requirements file may not have are refused here as well, with their place."""
    (tmp_path / "dev-req.txt").write_text("pytest\n../evil.whl\n")
    with pytest.raises(DaeError, match=r"dev-req\.txt line 2"):
        beside(lockfile.read(LOCK), tmp_path, Needs("dev-req.txt"), Policy(), FACTS)
