"""Packages whose builds attack: what they try is contained, and the push says what it was stopped for."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.config import Settings
from core.paths import Home
from pypi_mirror import publish as mirror
from runner import confine, procs
from tests.blackbox.project import Platform, Project
from tests.blackbox.test_steps import PLAIN
from tests.buildpacks.index import source_distribution
from tests.conftest import RunningPlatform, bring_up, erased, free_port, platform_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds have accounts on root installs only")

MIB = 1 << 20
HERE = confine.host(os.geteuid() == 0)
GROUPS = pytest.mark.skipif(HERE.hierarchy is None, reason="no control groups")
NETWORK = pytest.mark.skipif(bool(HERE.network), reason=HERE.network)
FILES = pytest.mark.skipif(bool(HERE.files), reason=HERE.files)

#: A setup.py that does what ``{attack}`` says and then is a package of one module.
SETUP = """\
import json, os, signal, socket, sys, time
from urllib import request
direct = request.build_opener(request.ProxyHandler({{}}))
from setuptools import setup
def attempt(what):
    try:
        what()
        return "done"
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
if "bdist_wheel" in sys.argv:
{attack}
setup(name="{name}", version="1.0", py_modules=["{name}"])
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    """A platform with small limits for builds."""
    limits = {
        "DAE_BUILD_MEMORY": str(400 * MIB),
        "DAE_BUILD_PROCESSES": "60",
        "DAE_BUILD_DISK": str(100 * MIB),
        "DAE_BUILD_OUTPUT": str(256 << 10),
        "DAE_BUILD_TIMEOUT": "150",
    }
    with platform_folder() as folder, erased(RunningPlatform(folder, free_port(), environ=limits)) as made:
        bring_up(made)
        yield made


@pytest.fixture(scope="module")
def account(platform: RunningPlatform) -> str:
    return Settings(platform.home).account


def publish(platform: Platform, name: str, attack: str) -> None:
    """Put the package into the platform's own index, as its account."""
    lines = "".join(f"    {line}\n" for line in attack.splitlines())
    files = {
        "setup.py": SETUP.format(attack=lines, name=name),
        f"{name}.py": "",
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n",
    }
    filename, data = source_distribution(name, "1.0", files)
    place = platform.home.parent / filename
    place.write_bytes(data)
    mirror.publish(Home(platform.home), place)
    place.unlink()


@pytest.fixture(scope="module")
def neighbour(platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Another app, live, with a secret."""
    made = Project.create(platform, tmp_path_factory.mktemp("neighbour") / "app", "neighbour", PLAIN)
    assert made.dae("config", "set", "API_KEY=s3cret-of-the-neighbour").returncode == 0
    pushed = made.push()
    assert pushed.returncode == 0, pushed.stderr
    return made


Attack = Callable[..., tuple["subprocess.CompletedProcess[str]", Project]]


@pytest.fixture
def attack(platform: Platform, account: str, tmp_path: Path) -> Iterator[Attack]:
    """Push an app that requires a package with this attack; afterwards nothing of a build may be left anywhere."""

    def push(code: str, installer: str = "uv") -> tuple[subprocess.CompletedProcess[str], Project]:
        name = "evil" + uuid.uuid4().hex[:8]
        publish(platform, name, code)
        files = {**PLAIN, "pip-req.txt": f"{name}\n", "app.yaml": f"installer: {installer}\n" + PLAIN["app.yaml"]}
        project = Project.create(platform, tmp_path / name, name, files)
        return project.push(), project

    yield push
    for slot in ("b1", "b2"):
        assert procs.of_uid(pwd.getpwnam(f"{account}_{slot}").pw_uid) == []
    assert [path for path in (platform.home / "builds").iterdir() if path.name != "0"] == []
    assert platform.get("localhost", "/api/v1/")[0] < 500


def answers(push: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What the attack printed about itself, which the error shows."""
    assert "ATTACK" in push.stderr, push.stderr
    line = next(line for line in push.stderr.splitlines() if "ATTACK" in line)
    found: dict[str, str] = json.loads(line[line.index("{") : line.rindex("}") + 1])
    return found


def tell(**tries: str) -> str:
    """Code that tries each, prints what came of it, and fails."""
    words = ", ".join(f"{name}=attempt(lambda: {code})" for name, code in tries.items())
    return f"print('ERROR: ATTACK ' + json.dumps(dict({words})), file=sys.stderr)\nsys.exit(1)"


@pytest.mark.parametrize("installer", ["uv", "pip"])
@FILES
def test_the_platform_is_closed(
    platform: Platform, attack: Attack, account: str, neighbour: Project, installer: str
) -> None:
    """A build reads nothing of the platform's state, of other apps, of others' builds or processes, and ends nobody."""
    code = next((platform.home / "layers/code" / neighbour.name).glob("*/app.py"))
    home = str(platform.home)
    supervisor = int((platform.home / "run/agent/supervisord.pid").read_text())
    other = platform.home / "builds" / "0"
    other.mkdir(mode=0o700)
    try:
        push, _ = attack(
            tell(
                state=f"os.listdir('{home}/state')",
                key=f"open('{home}/state/internal.key')",
                repos=f"os.listdir('{home}/repos')",
                builds=f"os.listdir('{home}/builds')",
                other=f"os.listdir('{home}/builds/0')",
                control=f"socket.socket(socket.AF_UNIX).connect('{home}/run/control.sock')",
                agent=f"socket.socket(socket.AF_UNIX).connect('{home}/run/agent.sock')",
                receiver=f"socket.socket(socket.AF_UNIX).connect('{home}/run/receiver.sock')",
                mirror=f"socket.socket(socket.AF_UNIX).connect('{home}/run/mirror.sock')",
                supervisor=f"socket.socket(socket.AF_UNIX).connect('{home}/run/supervisor.sock')",
                proc=f"open('/proc/{supervisor}/cmdline').read()",
                kill=f"os.kill({supervisor}, 9)",
                layers=f"open('{home}/layers/env/x', 'w')",
                lock="open('/run/lock/x', 'w')",
                neighbour=f"open('{code}').read()",
                data=f"os.listdir('{home}/apps/{neighbour.name}/perm')",
                config=f"open('{Home(platform.home).release(neighbour.name, 1)}').read()",
                logs=f"os.listdir('{home}/logs')",
                mine="os.environ['API_KEY']",
            ),
            installer,
        )
    finally:
        other.rmdir()
    assert push.returncode == 1
    found = answers(push)
    assert found.pop("proc").startswith("FileNotFoundError")
    assert found.pop("mine") == "KeyError: 'API_KEY'", "the app's config is nothing for the packages that it requires"
    assert found.pop("lock").startswith("OSError: [Errno 30]")
    assert not [
        (key, said)
        for key, said in found.items()
        if "[Errno 13]" not in said and "[Errno 1]" not in said and "[Errno 30]" not in said
    ], found
    assert os.kill(supervisor, 0) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize("installer", ["uv", "pip"])
@NETWORK
def test_there_is_no_network_but_the_mirror(platform: Platform, attack: Attack, installer: str) -> None:
    """The public door, an app's port and the outside are closed; the index is there, to be read, and nothing else."""
    door = f"http://127.0.0.1:{platform.port}"

    def get(path: str, more: str = "") -> str:
        return f"direct.open(request.Request('{door}{path}'{more}), timeout=10)"

    with socket.create_server(("127.0.0.1", 0)) as outside:
        push, _ = attack(
            tell(
                index=get("/pypi/simple/flask/"),
                upload=get("/pypi/", ", data=b'x'"),
                change=get("/pypi/simple/flask/", ", data=b'x'"),
                api=get("/api/v1/apps"),
                git=get("/git/x.git/info/refs"),
                app=get("/", ", headers={'Host': 'x.dev.localhost'}"),
                outside=f"socket.create_connection(('127.0.0.1', {outside.getsockname()[1]}), 10)",
                world="socket.create_connection(('192.0.2.1', 80), 10)",
            ),
            installer,
        )
        outside.setblocking(False)
        with pytest.raises(BlockingIOError):
            outside.accept()
    found = answers(push)
    assert found.pop("index") == "done"
    assert "refused" in found.pop("outside")
    assert "unreachable" in found.pop("world")
    assert {key: said.partition(": ")[2][:14] for key, said in found.items()} == {
        "upload": "HTTP Error 404",
        "change": "HTTP Error 405",
        "api": "HTTP Error 404",
        "git": "HTTP Error 404",
        "app": "HTTP Error 404",
    }


@pytest.mark.parametrize("installer", ["uv", "pip"])
@NETWORK
def test_a_download_says_what_is_missing(attack: Attack, installer: str) -> None:
    """A setup.py that downloads fails with the reason, not with the resolver's."""
    push, _ = attack("import urllib.request\nurllib.request.urlopen('http://example.org/data', timeout=30)", installer)
    assert push.returncode == 1
    assert "build/install-failed" in push.stderr
    assert "the build has no network but the mirror" in push.stderr


@GROUPS
def test_a_fork_bomb(attack: Attack) -> None:
    """It ends at the limit of processes, with a word about it."""
    push, _ = attack(
        "for _ in range(10_000):\n    if not os.fork(): [os.close(n) for n in range(3)]; time.sleep(300)\n"
    )
    assert push.returncode == 1
    assert "build/limit: the build wanted more than 60 processes" in push.stderr


@pytest.mark.parametrize("code", ["kept = [b'x' * (1 << 20) for _ in range(800)]", "kept = b'x' * (20 << 30)"])
@GROUPS
def test_a_memory_hog(attack: Attack, code: str) -> None:
    """It ends at the limit of memory, with a word about it, whether it comes there little by little or at once."""
    push, _ = attack(code)
    assert push.returncode == 1
    assert "build/out-of-memory: the build needed more than 0.4 GiB of memory" in push.stderr
    assert "build_memory" in push.stderr


def test_filling_the_disk(attack: Attack) -> None:
    """It ends at the limit of the disk, with a word about it."""
    code = "for n in range(300):\n    open(f'f{n}', 'wb').write(bytes(1 << 20))\ntime.sleep(100)"
    push, _ = attack(code)
    assert push.returncode == 1
    assert "build/too-large: the build wrote more than 100 MiB" in push.stderr


def test_endless_output(attack: Attack) -> None:
    """What a setup.py prints is kept by the engine and cut: it neither floods the push nor fails it."""
    push, project = attack("for _ in range(20000): print('y' * 200)")
    assert push.returncode == 0, push.stderr
    assert len(push.stderr) < 20_000
    assert project.get()[0] == 200


@FILES
def test_what_is_left_behind(platform: Platform, attack: Attack) -> None:
    """Files in /tmp and /dev/shm, and daemons in sessions of their own, are gone after a build that succeeded; it
    reaches no file that somebody else has there, open to all."""
    mark = uuid.uuid4().hex
    folders = [Path(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm")]
    code = "".join(f"open('{folder}/{mark}', 'w').write('x')\n" for folder in folders)
    code += "if not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    code += "    [os.close(n) for n in range(3)]\n    time.sleep(600)\n    os._exit(0)\n"
    with tempfile.NamedTemporaryFile("w+", dir="/tmp") as theirs:
        Path(theirs.name).chmod(0o666)
        push, project = attack(code + f"open('{theirs.name}', 'w').write('x')\n")
        assert theirs.read() == ""
    assert push.returncode == 0, push.stderr
    assert project.get()[0] == 200
    assert not [folder for folder in folders if (folder / mark).exists()]


@pytest.mark.parametrize("place", ["layers", "builds"])
def test_a_full_disk(platform: Platform, tmp_path: Path, place: str) -> None:
    """No room for what the platform writes: the push says so, the old release serves on, nothing half is left."""
    name = "full" + place
    project = Project.create(platform, tmp_path / "app", name)
    project.pushed("one")
    layers = [platform.home / "layers" / "pkg", platform.home / "layers" / "env"]
    folders = layers if place == "layers" else [platform.home / "builds"]
    project.write({"pip-req.txt": "flask\nsix\n", "data.bin": "x" * (2 * MIB)})
    project.commit("more")
    before = {folder: sorted(path.name for path in folder.iterdir()) for folder in folders}
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(full(folder))
        refused = project.push()
        assert refused.returncode == 1
        assert "platform/disk-full" in refused.stderr, refused.stderr
        assert project.get()[2] == b"one"
        assert [path.name for folder in folders for path in folder.iterdir() if path.name != "filler"] == []
    assert {folder: sorted(path.name for path in folder.iterdir()) for folder in folders} == before
    again = project.push()
    assert again.returncode == 0, again.stderr


class full:  # noqa: N801 - reads as a word
    """A file system without room over a folder of the platform."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        found = self.folder.stat()
        options = f"size=1m,mode={found.st_mode & 0o7777:o},uid={found.st_uid},gid={found.st_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)
