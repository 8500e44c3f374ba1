"""Packages required by their address: from a git repository and from a file server, where the operator allows it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.files import remove_tree
from core.paths import Home
from runner import confine
from tests.blackbox.code_host import CodeHost, git
from tests.blackbox.project import Platform, Project
from tests.buildpacks.index import PLAIN, source_distribution, wheel
from tests.conftest import RunningPlatform, bring_up, erased, free_port, platform_folder

APP_YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
APP = """\
import importlib.metadata
import json
import os

import plain


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return [json.dumps({**found, "said": getattr(plain, "SAID", "")}).encode()]
"""
#: What a build says of the network: whether it reaches the host that its own package came from.
REACHING = """
import urllib.request
def reach():
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(HOST, timeout=5)
    except OSError as error:
        return "reached" if hasattr(error, "code") else "nothing"
    return "reached"
FILES["plain.py"] = f"SAID = {reach()!r}\\n"
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeHost]:
    made = CodeHost(tmp_path_factory.mktemp("host"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def platform(host: CodeHost) -> Iterator[RunningPlatform]:
    """A platform whose operator allows what lies below /team/ and /hang/ of the host of code."""
    with ExitStack() as stack:
        made = RunningPlatform(stack.enter_context(platform_folder()), free_port())
        entries = [f"git+{host.url}/team/", f"{host.url}/team/", f"{host.url}/hang/"]
        made.environ |= {"DAE_BUILD_SOURCES": ",".join(entries)}
        made.environ |= {"DAE_SOURCE_TIMEOUT": "8", "DAE_SOURCE_BYTES": str(1 << 20)}
        stack.enter_context(erased(made))
        bring_up(made)
        yield made


@pytest.fixture(scope="module")
def commit(host: CodeHost) -> str:
    """A commit of the package `plain`, whose build says whether it has a network."""
    backend = PLAIN["backend.py"].replace("def build_wheel", f"HOST = {host.url!r}\n{REACHING}\ndef build_wheel", 1)
    found = host.commit("plain", {**PLAIN, "backend.py": backend})
    host.commit("plain", {"backend.py": "raise SystemExit('a later commit')\n"})
    return found


def files(requirements: str, name: str = "pip-req.txt") -> dict[str, str]:
    return {"app.yaml": APP_YAML, "app.py": APP, name: requirements}


def lock_of(project: Project) -> str:
    slug = json.loads(project.dae("slugs", "--json").stdout)[0]["slug"]
    shown = project.dae("slugs", "lock", slug)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_what_is_allowed_goes_live(
    platform: Platform, host: CodeHost, commit: str, tmp_path: Path, installer: str
) -> None:
    """A commit, a wheel and a source distribution serve; what they require comes from the index; the lock names all."""
    name, data = wheel("direct", "3.0", requires=["iniconfig"])
    source, archive = source_distribution("older", "1.0", _renamed("older"))
    host.files |= {f"/team/{name}": data, f"/team/{source}": archive}
    sha256 = hashlib.sha256(data).hexdigest()
    wanted = f"-e git+{host.url}/team/plain.git@{commit}#egg=plain\n"
    wanted += f"direct @ {host.url}/team/{name}#sha256={sha256}\nolder @ {host.url}/team/{source}\nsix==1.16.0\n"
    setup = "from setuptools import setup\nsetup(name='classic', version='4.0', py_modules=['classic'])\n"
    classic = host.commit("classic", {"py/setup.py": setup, "py/classic.py": "", "other": ""})
    wanted += f"classic @ git+{host.url}/team/classic.git@{classic}#subdirectory=py\n"
    wanted += f"gone @ {host.url}/team/gone.whl ; python_version < '3'\n"
    app = {**files(wanted), "app.yaml": f"{APP_YAML}installer: {installer}\n"}
    project = Project.create(platform, tmp_path / "app", f"direct-{installer}", app)
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert f"Fetching git+{host.url}/team/plain.git@{commit}" in done.stderr
    served = json.loads(project.get()[2])
    assert (served["plain"], served["direct"], served["older"], served["six"]) == ("1.0", "3.0", "1.0", "1.16.0")
    assert served["classic"] == "4.0"
    assert "iniconfig" in served
    if os.geteuid() == 0 and not confine.host(root=True).network:
        assert served["said"] == "nothing"
    lock = lock_of(project)
    assert f"plain @ git+{host.url}/team/plain.git@{commit}#version=1.0" in lock
    assert f"direct @ {host.url}/team/{name}#version=3.0 \\\n    --hash=sha256:{sha256}" in lock

    asked = len(host.asked)
    project.write({"more.txt": "no requirement was changed"})
    project.commit("more")
    again = project.push()
    assert again.returncode == 0, again.stderr
    assert "nothing to install" in again.stderr
    assert len(host.asked) == asked


def _renamed(name: str) -> dict[str, str]:
    return {path: text.replace("plain", name) for path, text in PLAIN.items()}


def test_the_same_bytes_or_none(platform: Platform, host: CodeHost, tmp_path: Path) -> None:
    """What a lock of before names is fetched again when it is gone, and nothing else is taken in its place."""
    name, data = wheel("plain", "7.0", body="SAID = 'first'\n")
    host.files[f"/team/{name}"] = data
    project = Project.create(platform, tmp_path / "app", "first-use", files(f"plain @ {host.url}/team/{name}\n"))
    assert project.push().returncode == 0
    lock = lock_of(project)

    def pushed_without_layers(number: int) -> tuple[int, str]:
        """The next push, after everything but the lock is gone."""
        home = Home(platform.home)
        for manifest in home.packages.glob("*/manifest.json"):
            if f"/team/{name}" in manifest.read_text():
                remove_tree(manifest.parent)
        (environment,) = {row["environment"] for row in json.loads(project.dae("slugs", "--json").stdout)}
        remove_tree(home.environment(environment))
        project.write({"more.txt": str(number)})
        project.commit("more")
        done = project.push()
        return done.returncode, done.stderr

    asked = len(host.asked)
    status, said = pushed_without_layers(1)
    assert status == 0, said
    assert len(host.asked) == asked + 1
    assert lock_of(project) == lock
    assert json.loads(project.get()[2])["said"] == "first"
    host.files[f"/team/{name}"] = wheel("plain", "7.0", body="SAID = 'second'\n")[1]
    status, said = pushed_without_layers(2)
    assert status == 1
    assert "build/bad-source" in said


def test_not_the_file_of_the_index(platform: Platform, host: CodeHost, tmp_path: Path) -> None:
    """A package of an address that is called like one of the index is never given to those who ask the index for it."""
    name, data = wheel("six", "1.16.0", body="SAID = 'not six'\n")
    host.files[f"/team/{name}"] = data
    app = APP.replace("import plain", "import six as plain")
    first = Project.create(
        platform, tmp_path / "a", "own-six", {**files(f"six @ {host.url}/team/{name}\n"), "app.py": app}
    )
    second = Project.create(platform, tmp_path / "b", "real-six", {**files("six==1.16.0\n"), "app.py": app})
    for project, said in ((first, "not six"), (second, "")):
        done = project.push()
        assert done.returncode == 0, done.stderr
        served = json.loads(project.get()[2])
        assert (served["six"], served["said"]) == ("1.16.0", said)


def test_the_lock_of_another_manager(platform: Platform, host: CodeHost, commit: str, tmp_path: Path) -> None:
    """Its commit and its hashes are what is taken."""
    name, data = wheel("direct", "3.0")
    host.files[f"/team/{name}"] = data
    lock = f"""
lock-version = "1.0"
created-by = "tests"
[[packages]]
name = "plain"
vcs = {{ type = "git", url = "{host.url}/team/plain.git", requested-revision = "main", commit-id = "{commit}" }}
[[packages]]
name = "direct"
archive = {{ url = "{host.url}/team/{name}", hashes = {{ sha256 = "{hashlib.sha256(data).hexdigest()}" }} }}
"""
    project = Project.create(platform, tmp_path / "app", "foreign", files(lock, "pylock.toml"))
    done = project.push()
    assert done.returncode == 0, done.stderr
    served = json.loads(project.get()[2])
    assert (served["plain"], served["direct"]) == ("1.0", "3.0")
    assert f"plain.git@{commit}" in lock_of(project)
    project.write({"pylock.toml": lock.replace(hashlib.sha256(data).hexdigest(), "0" * 64)})
    project.commit("another hash")
    assert "build/bad-source" in project.push().stderr


def test_what_is_refused(platform: Platform, host: CodeHost, commit: str, tmp_path: Path) -> None:
    """Each with its code; nothing of it is served."""
    host.files["/other/plain-1.0-py3-none-any.whl"] = wheel("plain", "1.0")[1]
    host.files["/team/plain-1.0-py3-none-any.whl"] = wheel("plain", "1.0")[1]
    host.files["/team/plain-2.0-py3-none-any.whl"] = b"x" * (2 << 20)
    host.redirects["/team/away/"] = f"{host.url}/other/plain-1.0-py3-none-any.whl"
    repository = host.folder / "links.work"
    out = host.commit("links", PLAIN, {"out": "/etc/passwd"})
    git(repository, "rm", "--quiet", "out")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},vendored")
    git(repository, "commit", "--quiet", "-m", "a submodule")
    git(repository, "push", "--quiet", str(host.folder / "team" / "links.git"), "main")
    submodule = git(repository, "rev-parse", "HEAD")
    unsupported, bad, silent = "build/unsupported-requirement", "build/bad-source", "build/source-unavailable"
    cases = {
        f"plain @ {host.url}/other/plain-1.0-py3-none-any.whl": (unsupported, "build_sources"),
        f"plain @ git+{host.url}/other/plain.git@{commit}": (unsupported, "build_sources"),
        f"plain @ git+{host.url}/team/plain.git@main": (unsupported, "40 digits"),
        f"plain @ git+file://{host.folder}/team/plain.git@{commit}": (unsupported, "build_sources"),
        f"plain @ {host.url}/team/away/plain-1.0-py3-none-any.whl": (bad, "redirects to"),
        f"plain @ {host.url}/team/plain-1.0-py3-none-any.whl#sha256={'0' * 64}": (bad, "must have"),
        f"other @ {host.url}/team/plain-1.0-py3-none-any.whl": (bad, "and not other"),
        f"plain @ {host.url}/team/plain-2.0-py3-none-any.whl": (bad, "source_bytes"),
        f"plain @ git+{host.url}/team/links.git@{out}": (bad, "outside the commit"),
        f"plain @ git+{host.url}/team/links.git@{submodule}": (bad, "submodule"),
        f"plain @ git+{host.url}/team/plain.git@{'1' * 40}": (bad, "does not have that commit"),
        f"plain @ {host.url}/hang/plain-1.0-py3-none-any.whl": (silent, "within 8 s"),
    }
    project = Project.create(platform, tmp_path / "app", "refused", files("# nothing yet\n"))
    for line, (code, words) in cases.items():
        project.write(files(line + "\n"))
        project.commit(line)
        done = project.push()
        assert done.returncode == 1, line
        assert code in done.stderr, done.stderr
        assert words in done.stderr, done.stderr
    assert not [path for path, _who in host.asked if path.startswith("/other/")]


def test_a_lock_in_the_repository(platform: Platform, host: CodeHost, commit: str, tmp_path: Path) -> None:
    """`dae lock` pins what comes from an address, too, and a push of that lock has those very bytes or fails."""
    name, data = wheel("lockeddirect", "3.0")
    host.files[f"/team/{name}"] = data
    wanted = f"plain @ git+{host.url}/team/plain.git@{commit}\nlockeddirect @ {host.url}/team/{name}\n"
    project = Project.create(platform, tmp_path / "app", "lockdirect", files(wanted))
    locked = project.dae("lock")
    assert locked.returncode == 0, locked.stderr
    lock = (project.folder / "dae.lock").read_text()
    assert f"plain @ git+{host.url}/team/plain.git@{commit}#version=1.0" in lock
    assert f"--hash=sha256:{hashlib.sha256(data).hexdigest()}" in lock
    again = project.dae("lock")
    assert (again.returncode, (project.folder / "dae.lock").read_text()) == (0, lock), again.stderr
    project.commit("lock")
    pushed = project.push()
    assert pushed.returncode == 0, pushed.stderr
    served = json.loads(project.get()[2])
    assert (served["plain"], served["lockeddirect"]) == ("1.0", "3.0")
    host.files[f"/team/{name}"] = wheel("lockeddirect", "3.0", requires=["six"])[1]
    project.write({"app.py": APP + "\n"})
    project.commit("the same lock, other code")
    assert project.push().returncode == 0  # nothing is fetched again: the environment of that lock is there
    assert json.loads(project.get()[2])["lockeddirect"] == "3.0"
    unsummed = "".join(line for line in lock.splitlines(keepends=True) if not line.startswith("# Sum"))
    assert unsummed != lock
    project.write({"dae.lock": unsummed.replace(hashlib.sha256(data).hexdigest(), "0" * 64)})
    project.commit("another hash")
    refused = project.push()
    assert refused.returncode == 1
    assert "build/bad-source" in refused.stderr, refused.stderr
