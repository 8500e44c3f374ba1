"""Locks of other managers: what they say for one interpreter, what is out of date, what nobody should have written."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import sys_tags

from buildpacks import detect, facts, find_interpreter
from buildpacks.direct import Source
from buildpacks.facts import Facts
from buildpacks.policy import Policy
from core.errors import DaeError

INDEX = "https://index.example/simple"
POLICY = Policy(lambda: (INDEX,))
FACTS = Facts(
    ("cp311-cp311-manylinux_2_17_x86_64", "py3-none-any"),
    {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux", "os_name": "posix",
     "platform_machine": "x86_64", "implementation_name": "cpython", "implementation_version": "3.11.2",
     "platform_python_implementation": "CPython", "platform_release": "6", "platform_system": "Linux",
     "platform_version": "1"},
)  # fmt: skip
SHA = {
    name: hashlib.sha256(name.encode()).hexdigest() for name in ("flask", "jinja2", "six", "redis", "old", "colorama")
}
PROJECT = '[project]\nname = "shop"\nrequires-python = ">=3.9"\n'
REQUIRES = PROJECT + 'dependencies = ["flask>=3", "colorama; sys_platform == \'win32\'"]\n'
MORE = '[project.optional-dependencies]\nweb = ["six"]\n[dependency-groups]\ndev = ["redis"]\n'


def uv_project(*dependencies: str) -> dict[str, str]:
    """A project with such dependencies, and a lock of REQUIRES."""
    return {"uv.lock": uv(), "pyproject.toml": f"{PROJECT}dependencies = {json.dumps(dependencies)}\n{MORE}"}


def uv(root: str = "", *packages: str, source: str = f'registry = "{INDEX}"') -> str:
    default = 'dependencies = [{ name = "flask" }, { name = "colorama", marker = "sys_platform == \'win32\'" }]\n'
    default += '[package.optional-dependencies]\nweb = [{ name = "six" }]\n[package.dev-dependencies]\n'
    default += (
        'dev = [{ name = "redis" }]\n[package.metadata]\nrequires-dist = [{ name = "flask", specifier = ">=3" }, '
    )
    default += '{ name = "colorama", marker = "sys_platform == \'win32\'" }, '
    default += '{ name = "six", marker = "extra == \'web\'" }]\nprovides-extras = ["web"]\n'
    default += '[package.metadata.requires-dev]\ndev = [{ name = "redis" }]\n'
    text = 'version = 1\nrevision = 3\nrequires-python = ">=3.9"\n'
    text += f'[[package]]\nname = "shop"\nversion = "1"\nsource = {{ virtual = "." }}\n{root or default}'
    for name in ("flask", "jinja2", "six", "redis", "colorama"):
        text += f'[[package]]\nname = "{name}"\nversion = "3.1"\nsource = {{ {source} }}\n'
        text += 'dependencies = [{ name = "jinja2" }]\n' if name == "flask" else ""
        text += f'wheels = [{{ url = "x", hash = "sha256:{SHA[name]}" }}]\n'
    return text + "".join(packages)


def pylock(*packages: str) -> str:
    text = 'lock-version = "1.0"\ncreated-by = "x"\nrequires-python = ">=3.9"\n'
    for name, more in (("flask", f'index = "{INDEX}"'), ("jinja2", ""), ("colorama", "marker = \"os_name == 'nt'\"")):
        text += f'[[packages]]\nname = "{name}"\nversion = "3.1"\n{more}\n'
        text += (
            f'wheels = [{{ name = "{name}-3.1-py3-none-any.whl", url = "u", hashes = {{ sha256 = "{SHA[name]}" }} }}]\n'
        )
    return text + "".join(packages)


POETRY_EXTRAS = "[tool.poetry.extras]\nweb = ['six']\n"


def poetry_project(**dependencies: Any) -> str:
    table = {"python": "^3.9", "flask": "^3.0", "six": {"version": "*", "optional": True}, **dependencies}
    lines = [f"{key} = {_toml(value)}\n" for key, value in table.items()]
    return f"[tool.poetry]\nname = 'shop'\n[tool.poetry.dependencies]\n{''.join(lines)}" + POETRY_EXTRAS


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def poetry(project: str, version: str = "2.1", *packages: str, content_hash: str = "") -> str:
    new = version == "2.1"
    text = ""
    for name, optional, group, marker in (
        ("flask", False, "main", ""), ("jinja2", False, "main", ""), ("six", True, "main", 'extra == "web"'),
        ("redis", False, "dev", ""), ("colorama", False, "main", 'sys_platform == "win32"'),
    ):  # fmt: skip
        text += f'[[package]]\nname = "{name}"\nversion = "3.1"\noptional = {str(optional).lower()}\n'
        text += f'groups = ["{group}"]\n' if new else ""
        text += f"markers = '{marker}'\n" if new and marker else ""
        text += f'files = [{{file = "x", hash = "sha256:{SHA[name]}"}}]\n' if version != "1.1" else ""
        if name == "flask":
            text += "[package.dependencies]\nJinja2 = '>=3'\n"
            text += "colorama = {version = '*', markers = \"sys_platform == 'win32'\"}\n"
    table = tomllib.loads(project)["tool"]["poetry"]
    relevant = {key: table.get(key) for key in ("dependencies", "source", "extras", "dev-dependencies")}
    content_hash = content_hash or hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
    text += "".join(packages) + "[extras]\nweb = ['six']\n"
    text += f'[metadata]\nlock-version = "{version}"\npython-versions = "^3.9"\ncontent-hash = "{content_hash}"\n'
    if version == "1.1":
        text += "[metadata.files]\n" + "".join(f'{n} = [{{file = "x", hash = "sha256:{h}"}}]\n' for n, h in SHA.items())
    return text


PIPFILE = '[packages]\nFlask = ">=3"\n'
PIPFILE += 'colorama = {version = "*", sys_platform = "== \'win32\'"}\n[dev-packages]\nredis = "*"\n'


def pipfile_lock(pipfile: str = PIPFILE, made_of: str = "", **packages: Any) -> str:
    sources = [{"name": "pypi", "url": INDEX, "verify_ssl": True}]
    data = tomllib.loads(pipfile)
    content = {"_meta": {"sources": sources, "requires": data.get("requires", {})}}
    content |= {"default": data["packages"], "develop": data["dev-packages"]}
    own = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    default = {
        name: {"version": "==3.1", "hashes": [f"sha256:{SHA[name]}"], **more}
        for name, more in (("flask", {"index": "pypi"}), ("jinja2", {}), ("colorama", {"markers": "os_name == 'nt'"}))
    }
    meta = {
        "pipfile-spec": 6,
        "hash": {"sha256": made_of or own},
        "sources": sources,
        "requires": data.get("requires", {}),
    }
    develop = {"redis": {"version": "==3.1", "hashes": [f"sha256:{SHA['redis']}"]}}
    return json.dumps({"_meta": meta, "default": {**default, **packages}, "develop": develop})


def pins(folder: Path, files: dict[str, str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    for name, text in {"Procfile": "web: x\n", **files}.items():
        (folder / name).write_text(text)
    recipe = detect(folder, POLICY)
    assert recipe.lock is not None
    assert (recipe.requirements, recipe.constraints) == ("", "")
    return {name: (pin.version, pin.hashes) for name, pin in recipe.lock.pins(FACTS).items()}


PLAIN = poetry_project()
ENRICHED = (
    REQUIRES + "[project.optional-dependencies]\nweb = ['six']\n[tool.poetry.dependencies]\nsix = {source = 'x'}\n"
)
GOOD: dict[str, dict[str, str]] = {
    "uv": {"uv.lock": uv(), "pyproject.toml": REQUIRES + MORE},
    "uv of a calculated list": {"uv.lock": uv(), "pyproject.toml": PROJECT + 'dynamic = ["dependencies"]'},
    "pylock": {"pylock.toml": pylock()},
    "pylock beside a project": {"pylock.toml": pylock(), "pyproject.toml": REQUIRES},
    "pylock with the project": {
        "pylock.toml": pylock('[[packages]]\nname = "shop"\ndirectory = { path = ".", editable = true }\n')
    },
    "poetry 2": {"poetry.lock": poetry(PLAIN), "pyproject.toml": PLAIN},
    "poetry of a project": {"poetry.lock": poetry(PLAIN).replace("content-hash", "other"), "pyproject.toml": ENRICHED},
    "poetry 1.8": {"poetry.lock": poetry(PLAIN, "2.0"), "pyproject.toml": PLAIN},
    "poetry 1.2": {"poetry.lock": poetry(PLAIN, "1.1"), "pyproject.toml": PLAIN},
    "pipenv": {"Pipfile.lock": pipfile_lock(), "Pipfile": PIPFILE},
    "pipenv without Pipfile": {"Pipfile.lock": pipfile_lock()},
    "pipenv with the project": {"Pipfile.lock": pipfile_lock(shop={"path": ".", "editable": True}), "Pipfile": PIPFILE},
}


@pytest.mark.parametrize("what", GOOD)
def test_what_a_lock_says(tmp_path: Path, what: str) -> None:
    """The project's own dependencies and theirs, for this interpreter; no groups, no extras; with their hashes."""
    expected = {name: ("3.1", (f"sha256:{SHA[name]}",)) for name in ("flask", "jinja2")}
    assert pins(tmp_path, GOOD[what]) == expected


def test_the_facts_of_a_real_interpreter() -> None:
    """What an interpreter says of itself is what the readers ask for."""
    found = facts.facts_of(find_interpreter())
    assert set(FACTS.markers) <= set(found.markers)
    assert "py3-none-any" in found.tags


def test_an_interpreter_that_is_too_old_for_our_packaging_tells_the_same() -> None:
    """What is asked there in the place of the platform's own `packaging` gives, on one interpreter, the same tags.

    Only plain `linux`, which no index takes, has another place among them.
    """
    here = find_interpreter()
    with_ours = facts.facts_of(here)
    assert with_ours.tags == tuple(str(tag) for tag in sys_tags())
    with_theirs = facts.facts_of(replace(here, version=(3, 9, 2)))
    assert with_theirs.markers == with_ours.markers
    known = [[tag for tag in found.tags if "-linux_" not in tag] for found in (with_ours, with_theirs)]
    assert known[0] == known[1]
    assert set(with_theirs.tags) == set(with_ours.tags)


def test_extras_of_a_dependency(tmp_path: Path) -> None:
    """What an extra of a dependency brings is installed, and nothing else of its extras."""
    root = 'dependencies = [{ name = "app", extra = ["Cache_x"] }]\n[package.metadata]\n'
    root += 'requires-dist = [{ name = "app", extras = ["cache-x"] }]\n'
    app = f'[[package]]\nname = "app"\nversion = "1"\nsource = {{ registry = "{INDEX}" }}\n'
    app += f'sdist = {{ hash = "sha256:{SHA["old"]}" }}\n'
    app += '[package.optional-dependencies]\ncache-x = [{ name = "redis" }]\nother = [{ name = "six" }]\n'
    manifest = PROJECT + "dependencies = ['app[cache.x]']"
    assert set(pins(tmp_path, {"uv.lock": uv(root, app), "pyproject.toml": manifest})) == {"app", "redis"}


def test_a_project_that_requires_itself(tmp_path: Path) -> None:
    """It stands for its extras."""
    root = 'dependencies = [{ name = "shop", extra = ["web"] }]\n[package.optional-dependencies]\n'
    root += 'web = [{ name = "six" }]\n[package.metadata]\nrequires-dist = [{ name = "shop", extras = ["web"] }]\n'
    assert set(pins(tmp_path, {"uv.lock": uv(root), "pyproject.toml": PROJECT + "dependencies = ['shop[web]']"})) == {
        "six"
    }


def test_extras_in_an_old_poetry_lock(tmp_path: Path) -> None:
    """The same where the lock is a graph; several constraints for one name are told apart by their markers."""
    project = poetry_project(app={"version": "^1.0", "extras": ["cache"]})
    app = f'[[package]]\nname = "app"\nversion = "1.2"\nfiles = [{{hash = "sha256:{SHA["old"]}"}}]\n'
    app += (
        "[package.dependencies]\nredis = {version = '>=2', optional = true}\nold = [{version = '<2', python = '<3'}, "
    )
    app += "{version = '>=2', python = '>=3'}]\n[package.extras]\ncache = ['redis (>=2)']\n"
    for version in ("1.0", "2.5"):
        app += f'[[package]]\nname = "old"\nversion = "{version}"\nfiles = [{{hash = "sha256:{SHA["old"]}"}}]\n'
    found = pins(tmp_path, {"poetry.lock": poetry(project, "2.0", app), "pyproject.toml": project})
    assert set(found) == {"flask", "jinja2", "app", "redis", "old"}
    assert found["old"][0] == "2.5"


def forked(markers: str) -> str:
    text = f'[[package]]\nname = "old"\nversion = "{{}}"\nresolution-markers = ["{markers}"]\n'
    return text + f'source = {{{{ registry = "{INDEX}" }}}}\nsdist = {{{{ hash = "sha256:{SHA["old"]}" }}}}\n'


def test_forks_of_uv(tmp_path: Path) -> None:
    """Of several versions of a project the one for this interpreter is taken."""
    root = 'dependencies = [{ name = "old", version = "1", marker = "python_full_version < \'3.10\'" },'
    root += '{ name = "old", version = "2", marker = "python_full_version >= \'3.10\'" }]\n'
    root += '[package.metadata]\nrequires-dist = [{ name = "old" }]\n'
    both = forked("python_full_version < '3.10'").format(1), forked("python_full_version >= '3.10'").format(2)
    found = pins(tmp_path, {"uv.lock": uv(root, *both), "pyproject.toml": PROJECT + "dependencies = ['old']"})
    assert found["old"][0] == "2"


def with_source(source: str) -> dict[str, str]:
    return {"uv.lock": uv(source=source), "pyproject.toml": REQUIRES + MORE}


def poetry_with(more: str, version: str = "2.1") -> dict[str, str]:
    package = '[[package]]\nname = "old"\nversion = "1"\noptional = false\ngroups = ["main"]\n'
    package += f'files = [{{hash = "sha256:{SHA["old"]}"}}]\n{more}'
    return {"poetry.lock": poetry(PLAIN, version, package), "pyproject.toml": PLAIN}


PYTHON_2 = '"requires": {"python_version": "2.7"}'
OUTDATED, BAD, UNSUPPORTED = "build/lock-outdated", "build/bad-lock", "build/unsupported-requirement"
GIT = {"git": "https://x.example/r.git", "ref": "0" * 40}
CHANGED = poetry_project(flask="^3.1")
REFUSED: dict[str, tuple[dict[str, str], str, str, str]] = {
    "uv: added": (uv_project("flask>=3", "colorama; os_name == 'nt'", "six"), OUTDATED,
                  "dependencies: it has nothing, pyproject.toml six", "uv lock"),
    "uv: changed": (uv_project("flask>=3.0.5"), OUTDATED,
                    "flask>=3.0.5", "uv lock"),
    "uv: removed": (uv_project(), OUTDATED, "it has flask>=3, pyproject.toml nothing", "uv lock"),
    "uv: edited": ({"uv.lock": uv().replace('"3.1"', '"2.9"'), "pyproject.toml": REQUIRES + MORE}, OUTDATED,
                   "flask>=3 is required, and it holds flask 2.9", "uv lock"),
    "uv: git": (with_source('git = "https://x.example/r.git?rev=1"'), UNSUPPORTED, "x.example/r.git", "40 digits"),
    "uv: path": (with_source('path = "../x"'), UNSUPPORTED, "path ../x", "upload"),
    "uv: a folder outside": (with_source('editable = "../x"'), UNSUPPORTED, "../x is outside", "move it into"),
    "uv: a member that is not there": (with_source('editable = "packages/x"'), OUTDATED,
                                       "it holds the project packages/x, of which the commit has no", "uv lock"),
    "uv: other index": (with_source('registry = "https://other.example/simple"'), UNSUPPORTED, "other.example",
                        "index_aliases"),
    "uv: no hash": ({"uv.lock": uv().replace("sha256:", "md5:"), "pyproject.toml": REQUIRES + MORE}, BAD,
                    "no sha256", "anew"),
    "uv: a type": ({"uv.lock": uv('dependencies = "x"\n'), "pyproject.toml": PROJECT + "dynamic=['dependencies']"},
                   BAD, "dependencies", "anew"),
    "uv: a marker": ({"uv.lock": uv('dependencies = [{name = "six", marker = "a b"}]\n'),
                      "pyproject.toml": PROJECT + "dynamic=['dependencies']"}, BAD, "not a marker", "anew"),
    "uv: a hole": ({"uv.lock": uv('dependencies = [{name = "gone"}]\n'),
                    "pyproject.toml": PROJECT + "dynamic=['dependencies']"}, BAD, "gone is required", "uv lock"),
    "pylock: outdated": ({"pylock.toml": pylock(), "pyproject.toml": PROJECT + "dependencies = ['six']"}, OUTDATED,
                         "six is required, and it holds no six", "uv export"),
    "pylock: vcs": ({"pylock.toml": pylock('[[packages]]\nname = "old"\nvcs = { type = "git", url = "https://x.example",'
                                           ' commit-id = "00" }\n')}, UNSUPPORTED, "old: git+https", "40 digits"),
    "pylock: folder": ({"pylock.toml": pylock('[[packages]]\nname = "old"\ndirectory = { path = "x" }\n')},
                       UNSUPPORTED, "old: directory", "upload"),
    "pylock: index": ({"pylock.toml": pylock().replace("index.example", "other.example")}, UNSUPPORTED, "other.example",
                      "index_aliases"),
    "pylock: version": ({"pylock.toml": pylock().replace('"1.0"', '"9.0"')}, BAD, "9.0", "anew"),
    "pylock: no wheel": ({"pylock.toml": pylock().replace("py3-none-any", "cp27-none-win32")}, BAD, "serve", "anew"),
    "pylock: md5": ({"pylock.toml": pylock().replace("sha256 =", "md5 =")}, BAD, "no sha256", "anew"),
    "poetry: changed": ({"poetry.lock": poetry(PLAIN), "pyproject.toml": CHANGED}, OUTDATED,
                        "what pyproject.toml requires, or where it comes from, was changed", "poetry lock"),
    "poetry: added": ({"poetry.lock": poetry(PLAIN), "pyproject.toml": poetry_project(django="*")}, OUTDATED,
                      "holds no django", "poetry lock"),
    "poetry: raised": ({"poetry.lock": poetry(PLAIN, "2.0"), "pyproject.toml": poetry_project(flask="^4")}, OUTDATED,
                       "flask ^4", "poetry lock"),
    "poetry: PEP 621": ({"poetry.lock": poetry(PLAIN), "pyproject.toml": PROJECT + "dependencies = ['django']"},
                        OUTDATED, "django is required", "poetry lock"),
    "poetry: git": (poetry_with('[package.source]\ntype = "git"\nurl = "https://x.example/r"\nresolved_reference = "'
                                 + "0" * 40 + '"\n'), UNSUPPORTED, "old: git+https://x.example/r", "build_sources"),
    "poetry: index": (poetry_with('[package.source]\ntype = "legacy"\nurl = "https://other.example/s"\n'), UNSUPPORTED,
                      "other.example", "index_aliases"),
    "poetry: version": ({"poetry.lock": poetry(PLAIN, "3.0"), "pyproject.toml": PLAIN}, BAD, "3.0", "poetry lock"),
    "poetry: letters": ({"poetry.lock": poetry(PLAIN), "pyproject.toml": poetry_project(django="\x1b[2J")}, OUTDATED,
                        r"django \x1b[2J is", "poetry lock"),
    "pipenv: changed": ({"Pipfile.lock": pipfile_lock(made_of="0" * 64), "Pipfile": PIPFILE}, OUTDATED,
                        "Pipfile was changed", "pipenv lock"),
    "pipenv: added": ({"Pipfile.lock": pipfile_lock(), "Pipfile": PIPFILE.replace("[dev", 'six = "*"\n[dev')}, OUTDATED,
                      "holds no six", "pipenv lock"),
    "pipenv: raised": ({"Pipfile.lock": pipfile_lock(), "Pipfile": PIPFILE.replace(">=3", ">=4")}, OUTDATED,
                       "holds flask 3.1", "pipenv lock"),
    "pipenv: git": ({"Pipfile.lock": pipfile_lock(old=GIT), "Pipfile": PIPFILE}, UNSUPPORTED, "git+https", "upload"),
    "pipenv: folder": ({"Pipfile.lock": pipfile_lock(old={"path": "./x"}), "Pipfile": PIPFILE}, UNSUPPORTED, "./x",
                       "upload"),
    "pipenv: index": ({"Pipfile.lock": pipfile_lock().replace("index.example", "other.example")}, UNSUPPORTED,
                      "other.example", "index_aliases"),
    "pipenv: python": ({"Pipfile.lock": pipfile_lock().replace('"requires": {}', PYTHON_2)}, BAD,
                       "asks for Python '2.7'", "[requires]"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(tmp_path: Path, what: str) -> None:
    """What differs, what does not come from the index, what is damaged: with a code, a cause and the next step."""
    files, code, cause, hint = REFUSED[what]
    with pytest.raises(DaeError) as caught:
        pins(tmp_path, files)
    assert caught.value.code == code
    assert cause in caught.value.cause
    assert hint in caught.value.hint


DIRECT = Policy(lambda: (INDEX,), ("git+https://x.example/", "https://x.example/"))
AT_COMMIT = Source("https://x.example/r.git", "1" * 40, "sub")
POETRY_GIT = f"""[package.source]
type = "git"
url = "https://x.example/r.git"
reference = "main"
resolved_reference = "{"1" * 40}"
subdirectory = "sub"
"""
PYLOCK_GIT = f"""[[packages]]
name = "old"
vcs = {{ type = "git", url = "https://x.example/r.git", commit-id = "{"1" * 40}", subdirectory = "sub" }}
"""
PYLOCK_FILE = f"""[[packages]]
name = "old"
archive = {{ url = "https://x.example/old-1.zip", hashes = {{ sha256 = "{SHA["old"]}" }} }}
"""
FILE = Source("https://x.example/old-1.zip", sha256=SHA["old"])
FROM_ADDRESSES: dict[str, tuple[dict[str, str], Source]] = {
    "uv: git": (with_source(f'git = "https://x.example/r.git?subdirectory=sub&rev=main#{"1" * 40}"'), AT_COMMIT),
    "uv: url": (with_source('url = "https://x.example/old-1.zip"'), FILE),
    "poetry: git": (poetry_with(POETRY_GIT), AT_COMMIT),
    "poetry: url": (poetry_with('[package.source]\ntype = "url"\nurl = "https://x.example/old-1.zip"\n'), FILE),
    "pylock: vcs": ({"pylock.toml": pylock(PYLOCK_GIT)}, AT_COMMIT),
    "pylock: archive": ({"pylock.toml": pylock(PYLOCK_FILE)}, FILE),
    "pipenv: git": ({"Pipfile.lock": pipfile_lock(old={"git": AT_COMMIT.url, "ref": "1" * 40, "subdirectory": "sub"}),
                     "Pipfile": PIPFILE}, AT_COMMIT),
    "pipenv: file": ({"Pipfile.lock": pipfile_lock(old={"file": FILE.url, "hashes": [f"sha256:{SHA['old']}"]}),
                      "Pipfile": PIPFILE}, FILE),
}  # fmt: skip


@pytest.mark.parametrize("what", FROM_ADDRESSES)
def test_what_comes_from_addresses(tmp_path: Path, what: str) -> None:
    """Each manager's way of writing a commit or a file with its hash; what is not allowed names the setting."""
    files, source = FROM_ADDRESSES[what]
    for file, text in {"Procfile": "web: x\n", **files}.items():
        (tmp_path / file).write_text(text)
    lock = detect(tmp_path, DIRECT).lock
    assert lock is not None
    found = {pin.source for pin in lock.pins(FACTS).values() if pin.source}
    assert {(s.url, s.commit, s.subdirectory) for s in found} == {(source.url, source.commit, source.subdirectory)}
    assert all(s.is_git or s.sha256 for s in found)
    with pytest.raises(DaeError) as caught:
        pins(tmp_path, files)
    assert (caught.value.code, "build_sources" in caught.value.hint) == (UNSUPPORTED, True)


def test_a_lock_says_which_python(tmp_path: Path) -> None:
    """Without another word the interpreter is one that the lock is for."""
    pipfile = PIPFILE + '[requires]\npython_version = "3.11"\n'
    pins(tmp_path, {"Pipfile.lock": pipfile_lock(pipfile), "Pipfile": pipfile})
    assert detect(tmp_path, POLICY).python.requires == "==3.11.*"


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["flask", "main", "x" * 5000, "<3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def places(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of a tree."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in [(*above, key), *places(value, (*above, key))]]


READ = {name: files for name, files in GOOD.items() if "without" not in name}


@pytest.mark.parametrize("what", READ)
@given(data=st.data())
def test_never_another_error(tmp_path_factory: pytest.TempPathFactory, what: str, data: st.DataObject) -> None:
    """A good lock, or its manifest, with anything in any place: it is read, or refused with a documented code."""
    folder = tmp_path_factory.mktemp("lock")
    files = dict(READ[what])
    victim = data.draw(st.sampled_from(sorted(files)))
    tree = json.loads(files[victim]) if victim == "Pipfile.lock" else tomllib.loads(files[victim])
    *way, last = data.draw(st.sampled_from(places(tree)))
    at = tree
    for key in way:
        at = at[key]
    at[last] = data.draw(JUNK)
    if victim == "Pipfile.lock":
        files[victim] = json.dumps(tree)
    else:
        try:
            files[victim] = "".join(f"{json.dumps(key)} = {inline(value)}\n" for key, value in tree.items())
        except ValueError:
            return  # TOML has no null
    try:
        pins(folder, files)
    except DaeError as error:
        assert error.code in (BAD, OUTDATED, UNSUPPORTED, "build/bad-requirements", "build/bad-runtime")
        assert error.line().isprintable()


def inline(value: Any) -> str:
    """A value in TOML."""
    if value is None:
        raise ValueError
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "pylock.toml", "Pipfile.lock"])
@given(text=st.text(max_size=40) | st.sampled_from(["[" * 5000, "a=" + "[" * 5000, '{"_meta":' * 5000, "a.b=1\na=2"]))
def test_any_text(tmp_path_factory: pytest.TempPathFactory, name: str, text: str) -> None:
    """No text is more than a refusal."""
    folder = tmp_path_factory.mktemp("lock")
    with pytest.raises(DaeError):
        pins(folder, {name: text.encode("utf-8", "replace").decode(), "pyproject.toml": PROJECT})
