"""Locks that the real uv makes: out of date here whenever ``uv lock --check`` says so, and never otherwise."""

# ruff: noqa: E501 - a table is read by its rows

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uv

from buildpacks import detect
from buildpacks.facts import Facts, facts_of
from buildpacks.interpreters import find_interpreter
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.index import Index, populated, wheel

PROJECT = """\
[project]
name = "shop"
version = "1"
description = "sells"
requires-python = ">=3.9"
dependencies = [
    "Shapes>=1,<3",
    "needs-old; python_version < '3.13' and sys_platform == 'linux'",
    "extra-ordinary[x]",
    "from_git",
    "from-url",
    "lib",
    "tools; sys_platform == 'nowhere'",
]

[project.optional-dependencies]
Web_x = ["tools; sys_platform == 'win32'", "shop[other]"]
other = ["colours>=1"]

[dependency-groups]
dev = ["tools", {include-group = "test"}]
test = ["needs-old"]

[tool.uv]
constraint-dependencies = ["colours<2"]
override-dependencies = ["packaging==24.0"]
build-constraint-dependencies = ["setuptools<80"]
exclude-dependencies = ["ancient"]
resolution = "highest"
prerelease = "allow"
environments = ["sys_platform == 'linux'", "sys_platform == 'win32'"]

[[tool.uv.index]]
name = "inside"
url = "@INDEX@"
explicit = true

[tool.uv.sources]
shapes = { index = "inside" }
from-git = { git = "@GIT@", branch = "work" }
from-url = { url = "@FILES@/from-url/from_url-1.0-py3-none-any.whl" }
lib = { workspace = true }
tools = [{ index = "inside", marker = "sys_platform == 'win32'" }]

[tool.uv.workspace]
members = ["libs/*"]
"""
LIB = """\
[project]
name = "lib"
version = "0.3"
requires-python = ">=3.8"
dependencies = ["deep"]

[tool.uv.sources]
deep = { path = "../../deep" }
"""
DEEP = '[project]\nname = "deep"\nversion = "1"\ndependencies = ["colours"]\n'


@dataclass
class Real:
    """A project with its lock, made once; ``home`` and ``index`` are what uv needs to ask again."""

    folder: Path
    index: Index
    facts: Facts

    @property
    def repository(self) -> str:
        return (self.folder.parent / "repository").as_uri()

    def uv(self, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder.parent), "UV_DEFAULT_INDEX": self.index.url}
        environ |= {"UV_PYTHON": str(find_interpreter().python), "UV_PYTHON_DOWNLOADS": "never"}
        return subprocess.run(
            [uv.find_uv_bin(), *words], cwd=where, env=environ, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    top, index = tmp_path_factory.mktemp("uv"), populated()
    index.add("extra-ordinary", wheel("extra-ordinary", "1.0", requires=["shapes; extra == 'x'"]))
    index.add("tools", wheel("tools", "0.9"))
    index.add("from-url", wheel("from-url", "1.0"))
    repository, folder = top / "repository", top / "project"
    for where in ("", "sub"):
        (repository / where).mkdir(exist_ok=True)
        (repository / where / "pyproject.toml").write_text('[project]\nname = "from-git"\nversion = "1.0"\n')
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-qm", "x"],
        ["tag", "v1"],
        ["branch", "work"],
    ):
        subprocess.run([*git, *words], check=True)
    (folder / "libs/lib").mkdir(parents=True)
    (folder / "deep").mkdir()
    project = PROJECT.replace("@INDEX@", index.url).replace("@GIT@", repository.as_uri())
    (folder / "pyproject.toml").write_text(project.replace("@FILES@", index.url.replace("/simple/", "/files")))
    (folder / "libs/lib/pyproject.toml").write_text(LIB)
    (folder / "deep/pyproject.toml").write_text(DEEP)
    (folder / "Procfile").write_text("web: x\n")
    made = Real(folder, index, facts_of(find_interpreter()))
    outcome = made.uv(folder, "lock")
    assert outcome.returncode == 0, outcome.stderr
    yield made
    index.close()


Change = Callable[[str], str]


def to(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def more(text: str) -> Change:
    return lambda before: f"{before}\n{text}\n"


LIBS, DEEPER = "libs/lib/pyproject.toml", "deep/pyproject.toml"
#: Changes of pyproject.toml with no part in a resolution, each made after those above it.
HARMLESS: dict[str, Change] = {
    "the description": to('"sells"', '"sells more"'),
    "a script": more('[project.scripts]\nshop = "shop:main"'),
    "another tool": more("[tool.ruff]\nline-length = 100"),
    "the order": to('    "extra-ordinary[x]",\n    "from_git",\n', '    "from_git",\n    "extra-ordinary[x]",\n'),
    "a comment": more("# so it is"),
    "the name's spelling": to('"Shapes', '"shapes'),
    "the order of versions": to(">=1,<3", "<3, >=1"),
    "a version's spelling": to("<3, >=1", "<3.0.0, >=1.0"),
    "a marker's spelling": to("python_version < '3.13' and", "python_full_version < '3.13.0' and"),
    "a marker the other way round": to("python_full_version < '3.13.0' and", "'3.13' > python_version and"),
    "a marker that the range decides": to("> python_version and", "> python_version and python_version >= '3.7' and"),
    "an extra's spelling": to("Web_x", "WEB-x"),
    "a group's spelling": to("\ntest = [", "\nTest = ["),
    "a group written out": to('{include-group = "test"}', '"needs-old"'),
    "a default that is named": to(
        'resolution = "highest"\n', 'resolution = "highest"\nfork-strategy = "requires-python"\n'
    ),
    "a default that is not named": to('resolution = "highest"\n', ""),
    "an environment's spelling": to("\"sys_platform == 'linux'\", ", "\"'linux' == sys_platform\", "),
    "an unused source": to("[tool.uv.sources]", '[tool.uv.sources]\nidle = { index = "inside" }'),
    "an address beside a source": to('"from_git"', '"from_git @ git+@GIT@@v1"'),
    "what is excluded and not there": to('["ancient"]', '["ancient", "gevent"]'),
}
#: A change of pyproject.toml (or of the file that is named), and what the error says.
STALE: dict[str, tuple[Change, str] | tuple[Change, str, str]] = {
    # Requirements.
    "one more": (to('"from_git",', '"from_git", "gunicorn",'), "dependencies: it has nothing, pyproject.toml gunicorn"),
    "one less": (to('    "extra-ordinary[x]",\n', ""), "it has extra-ordinary[x], pyproject.toml nothing"),
    "other versions": (to(">=1,<3", ">=1,<2.5"), "it has shapes<3,>=1 from the index"),
    "another extra": (to("ordinary[x]", "ordinary[x,y]"), "it has extra-ordinary[x], pyproject.toml extra-ordinary[x,y]"),
    "another marker": (to("'3.13' and", "'3.12' and"), "python_version < \"3.12\" and sys_platform"),
    "no marker": (to("; python_version < '3.13' and sys_platform == 'linux'", ""), "it has needs-old ;"),
    "another platform's, new": (to('"from_git",', '"from_git", "gunicorn; sys_platform == \'win32\'",'), "gunicorn ;"),
    # The project.
    "its name": (to('name = "shop"', 'name = "store"'), "name: it has shop, pyproject.toml store"),
    "its version": (to('version = "1"', 'version = "1.1"'), "version: it has 1, pyproject.toml 1.1"),
    "a calculated version": (to('version = "1"', 'dynamic = ["version"]'), "version: it has 1, pyproject.toml nothing"),
    "requires-python": (to(">=3.9", ">=3.10"), "requires-python: it has >=3.9, pyproject.toml >=3.10"),
    "requires-python, to the top": (to(">=3.9", ">=3.9,<3.13"), "requires-python: it has >=3.9"),
    # Extras and groups.
    "a requirement of an extra": (to("colours>=1", "colours>=1.1"), "extra other: it has colours>=1, pyproject.toml colours>=1.1"),
    "one more extra": (to("other = [", 'third = ["tools"]\nother = ['), "it knows no extra third, pyproject.toml has one"),
    "one more extra, empty": (to("other = [", "third = []\nother = ["), "it knows no extra third"),
    "one less extra": (to('other = ["colours>=1"]', ""), "it has the extra other, pyproject.toml has none"),
    "a requirement of a group": (to('test = ["needs-old"]', 'test = ["needs-old>=1"]'), "group test: it has needs-old"),
    "one more group": (to("[dependency-groups]", '[dependency-groups]\nlint = ["tools"]'), "group lint: it has nothing"),
    "one less group": (to('dev = ["tools", {include-group = "test"}]\n', ""), "group dev: it has"),
    "dev-dependencies": (to("[tool.uv]\n", '[tool.uv]\ndev-dependencies = ["gunicorn"]\n'), "group dev: it has nothing, pyproject.toml gunicorn"),
    # Sources.
    "a branch": (to('branch = "work"', 'branch = "main"'), "branch work, pyproject.toml from-git from"),
    "a tag for a branch": (to('branch = "work"', 'tag = "v1"'), "tag v1"),
    "a revision for a branch": (to('branch = "work"', 'rev = "main"'), "rev main"),
    "a folder of a repository": (to('branch = "work"', 'branch = "work", subdirectory = "sub"'), "subdirectory sub"),
    "a source's marker": (to('"inside", marker = "sys_platform == \'win32\'"', '"inside", marker = "sys_platform != \'win32\'"'), "tools from the index"),
    "no source": (to('shapes = { index = "inside" }\n', ""), "it has shapes<3,>=1 from the index"),
    "an address for a source": (lambda t: to('"from_git"', '"from_git @ git+@GIT@@v1"')(to("from-git =", "from-no =")(t)), "rev v1"),
    # [tool.uv].
    "a constraint": (to("colours<2", "colours<3"), "constraint-dependencies: it has colours<2, pyproject.toml colours<3"),
    "no constraint": (to('constraint-dependencies = ["colours<2"]\n', ""), "constraint-dependencies: it has colours<2, pyproject.toml nothing"),
    "an override": (to("packaging==24.0", "packaging>=24"), "override-dependencies: it has packaging==24.0"),
    "a constraint of builds": (to("setuptools<80", "setuptools<81"), "build-constraint-dependencies: it has setuptools<80"),
    "what is excluded": (to('["ancient"]', '["ancient", "colours"]'), "exclude-dependencies: it has ancient, pyproject.toml ancient, colours"),
    "what is excluded no more": (to('["ancient"]', '[]'), "exclude-dependencies: it has ancient, pyproject.toml nothing"),
    "the resolution": (to('"highest"', '"lowest-direct"'), "resolution: it has highest, pyproject.toml lowest-direct"),
    "prereleases": (to('"allow"', '"disallow"'), "prerelease: it has allow, pyproject.toml disallow"),
    "forks": (to('"highest"', '"highest"\nfork-strategy = "fewest"'), "fork-strategy: it has requires-python"),
    "environments": (to(", \"sys_platform == 'win32'\"]", "]"), "environments: it has"),
    "needed environments": (to('"highest"', '"highest"\nrequired-environments = ["sys_platform == \'linux\'"]'), "required-environments: it has nothing"),
    # The other projects of the commit.
    "a member's requirement": (to('["deep"]', '["deep", "tools"]'), "libs/lib: dependencies: it has nothing, pyproject.toml tools", LIBS),
    "a member's version": (to("0.3", "0.4"), "libs/lib: version: it has 0.3", LIBS),
    "a member's Python": (to(">=3.8", ">=3.10"), "requires-python: it has >=3.9", LIBS),
    "a folder's requirement": (to('"colours"', '"colours>1"'), "deep: dependencies: it has colours, pyproject.toml colours>1", DEEPER),
    "a new member": (to("", ""), "workspace: it knows no libs/new", "libs/new/pyproject.toml"),
}  # fmt: skip


def copied(real: Real, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(real.folder, folder)
    return folder


def said(real: Real, folder: Path) -> str:
    """What the error says of the lock in the folder; empty when there is none but that an address is not allowed."""
    try:
        lock = detect(folder, Policy(lambda: (real.index.url,))).lock
        assert lock is not None
        lock.pins(real.facts)
    except DaeError as error:
        return "" if error.code == "build/unsupported-requirement" else error.line()
    return ""


def test_what_has_no_part(real: Real, tmp_path: Path) -> None:
    """What changes nothing for uv is no reason to refuse, however it is written."""
    folder = copied(real, tmp_path)
    assert said(real, folder) == ""
    for what, change in HARMLESS.items():
        before = (folder / "pyproject.toml").read_text()
        (folder / "pyproject.toml").write_text(change(before).replace("@GIT@", real.repository))
        assert said(real, folder) == "", what
    (folder / DEEPER).write_text(DEEP + 'readme = "x"\n')
    assert said(real, folder) == ""
    checked = real.uv(folder, "lock", "--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("what", STALE)
def test_what_is_out_of_date(real: Real, tmp_path: Path, what: str) -> None:
    """What uv calls out of date is refused; the error says which entry differs, and both sides of it."""
    change, says, file = (*STALE[what], "pyproject.toml")[:3]
    folder = copied(real, tmp_path)
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else '[project]\nname = "new"\nversion = "1"\n'
    path.write_text(change(before).replace("@GIT@", real.repository))
    checked = real.uv(folder, "lock", "--check")
    assert checked.returncode == 1, checked.stderr
    found = said(real, folder)
    assert found.startswith("build/lock-outdated: uv.lock is out of date: ")
    assert says in found
    assert "run 'uv lock', and commit uv.lock" in found


def test_projects_of_the_commit(real: Real) -> None:
    """A member and a folder that is required are imported from where they stand; what they require is installed."""
    recipe = detect(real.folder, Policy(lambda: (real.index.url,)))
    assert recipe.python_path == ("deep", "libs/lib")
    assert recipe.lock is not None


def test_groups(real: Real) -> None:
    """The versions of a group, and what they lead to: what `uv sync --only-group` would install."""
    exported = real.uv(real.folder, "export", "--only-group", "dev", "--no-hashes", "--no-header", "--no-annotate")
    lock = detect(real.folder, Policy(lambda: (real.index.url,))).lock
    assert lock is not None
    found = lock.pins(real.facts, "dev")
    wanted = {line.partition(" ")[0] for line in exported.stdout.splitlines()}
    assert {f"{name}=={pin.version}" for name, pin in found.items()} == wanted
    assert set(lock.groups()) == {"dev", "test"}


def test_pylock_groups(real: Real, tmp_path: Path) -> None:
    """The same of a pylock.toml that uv wrote of the lock."""
    (tmp_path / "Procfile").write_text("web: x\n")
    exported = real.uv(real.folder, "export", "--only-group", "dev", "--format", "pylock.toml", "-o", "pylock.toml")
    assert exported.returncode == 0, exported.stderr
    shutil.move(real.folder / "pylock.toml", tmp_path)
    lock = detect(tmp_path, Policy(lambda: (real.index.url,))).lock
    assert lock is not None
    assert {"colours", "needs-old", "tools"} == set(lock.pins(real.facts))
