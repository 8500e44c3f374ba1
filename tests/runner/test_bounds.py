"""What bounds a build on a host that can enforce it: its files, its network, memory, processes, disk and output."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from runner import cgroups, confine, procs, sandbox
from runner.build import Builder
from runner.spec import LaunchSpec, Sandbox
from runner.stream import Ended, stream
from runner.usage import used_more_than
from tests.runner.ground import ROOT, Ground, until

MIB = 1 << 20
OnLine = Callable[[str], None]


def requires(what: str) -> pytest.MarkDecorator:
    """Skip on a host that cannot enforce ``what``, with the host's own reason."""
    here = confine.host(ROOT)
    why = ("no control groups" if here.hierarchy is None else "") if what == "cgroups" else str(getattr(here, what))
    return pytest.mark.skipif(bool(why), reason=why)


@pytest.fixture
def work(the_ground: Ground) -> Iterator[Path]:
    """The work folder of build 70, as control makes it."""
    path = the_ground.home.builds / "70"
    path.mkdir(mode=0o700)
    if ROOT:
        shutil.chown(path, the_ground.settings.account, the_ground.settings.account)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@dataclasses.dataclass
class Site:
    ground: Ground
    work: Path

    def run(self, code: str, on_line: OnLine = lambda _line: None, **settings: Any) -> dict[str, Any]:
        """Build: the worker is ``code``; returns its result."""
        made = dataclasses.replace(self.ground.settings, **settings)
        worker = (sys.executable, "-I", "-c", TELL + code)
        return Builder(made, self.ground.home, self.ground.accounts, worker).build(70, on_line)

    def fails(self, code: str, **settings: Any) -> DaeError:
        with pytest.raises(DaeError) as caught:
            self.run(code, **settings)
        assert not ROOT or procs.of_uid(self.uid) == []
        return caught.value

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.ground.settings.account + "_b1").pw_uid


#: The worker's way to answer: a dictionary, and what trying something came to.
TELL = """\
import json, os, socket, sys, time
def tell(**found):
    json.dump(found, open("result.json", "w"))
def attempt(what):
    try:
        return what() or "done"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture
def site(the_ground: Ground, work: Path) -> Site:
    return Site(the_ground, work)


@pytest.fixture
def index(the_ground: Ground) -> Iterator[socket.socket]:
    """What listens where nginx offers the index to builds: it says what it was sent, in capitals."""
    path = the_ground.home.socket("index")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(8)

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                while block := connection.recv(65536):
                    connection.sendall(block.upper())

    threading.Thread(target=serve, daemon=True).start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    path.unlink()


# -- files -----------------------------------------------------------------------------------------------------------

PLACES = """\
open("own", "w").write("x")
tell(
    own=[attempt(lambda p=p: open(p + "/" + sys.argv[-2], "w").write("x")) for p in ("/tmp", "/var/tmp", "/dev/shm")],
    there=[name for p in ("/tmp", "/var/tmp", "/dev/shm") for name in os.listdir(p) if name.startswith("of-others")],
    lock=attempt(lambda: open("/run/lock/x", "w").write("x") and ""),
    others=[pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat("/proc/" + pid).st_uid != os.getuid()],
)
"""


@requires("files")
def test_a_build_has_its_own_tmp(site: Site) -> None:
    """It neither finds nor leaves anything where all accounts write, and sees no process but its own."""
    name = f"of-others-{uuid.uuid4().hex}"
    folders = [Path(folder) for folder in sandbox.SHARED]
    for folder in folders:
        (folder / name).touch()
    try:
        found = site.run(PLACES.replace("sys.argv[-2]", repr("left-by-" + name)))
    finally:
        for folder in folders:
            (folder / name).unlink()
    assert found["own"] == [1, 1, 1]
    assert found["there"] == found["others"] == []
    assert "Read-only file system" in str(found["lock"])
    assert not [folder for folder in folders if (folder / ("left-by-" + name)).exists()]


@requires("files")
def test_a_private_tmp_is_bounded(site: Site) -> None:
    """Memory that stands for a disk runs out early."""
    code = "def fill():\n    with open('/dev/shm/x', 'wb') as file:\n"
    code += "        for _ in range(80): file.write(bytes(1 << 20))\n"
    found = site.run(code + "tell(end=attempt(fill))\n")
    assert "No space left on device" in str(found["end"])


def test_what_is_kept_of_a_shared_folder() -> None:
    """A home below /tmp is seen in the private one; what contains it, or is outside, needs nothing."""
    assert sandbox.covered(["/tmp/a/b", "/tmp/a", "/srv/x", "/tmpfiles", "/tmp", "/dev/shm/c"]) == [
        "/dev/shm/c",
        "/tmp/a",
    ]


@requires("tmp")
def test_an_app_has_its_own_tmp(the_ground: Ground) -> None:
    """What it puts into /tmp is in its own folder for such files, for all its instances; nobody else's is there."""
    the_ground.accounts.ensure_app("tidy")
    the_ground.apps.add("tidy")
    account = the_ground.accounts.app("tidy")
    made = confine.instance_sandbox(the_ground.settings, the_ground.home, "tidy", account)
    assert made is not None
    code = (
        "import os\nopen('/tmp/mine', 'w')\nprint(*[sorted(os.listdir(p)) for p in ('/tmp', '/var/tmp', '/dev/shm')])"
    )
    command = [sys.executable, "-I", "-m", "runner.launch", str(the_ground.home.root), "tidy"]
    lines: list[str] = []
    for folders in (made, dataclasses.replace(made, keep=())):
        LaunchSpec("tidy", ("/usr/bin/python3", "-I", "-c", code), {}, "/", account, sandbox=folders).save(
            the_ground.home
        )
        assert stream(command, lines.append, timeout=20) == Ended(0)
    own = the_ground.home.app_home("tidy") / "tmp"
    assert lines[1] == "['mine'] ['mine'] []"
    assert [path.name for path in own.iterdir()] == ["mine"]
    # This home lies in /tmp itself: it is seen there, and nothing was made for that in the app's folder.
    names = sorted([*{Path(path).parts[2] for path in sandbox.covered(list(made.keep))}, "mine"])
    assert lines[0] == f"{names} {names} []"
    shared = dataclasses.replace(the_ground.settings, instance_tmp="shared")
    assert confine.instance_sandbox(shared, the_ground.home, "tidy", account) is None


# -- network ---------------------------------------------------------------------------------------------------------

NETWORK = """\
def ask():
    with socket.create_connection(("{address}", {port}), 5) as s:
        s.sendall(b"hello " * 50000); s.shutdown(socket.SHUT_WR)
        answer = b""
        while block := s.recv(65536): answer += block
    return f"{{len(answer)}} {{answer[:5].decode()}}"
def connect(address, port):
    socket.create_connection((address, port), 5).close()
tell(
    index=attempt(ask),
    again=attempt(ask),
    host=attempt(lambda: connect("127.0.0.1", {outside})),
    world=attempt(lambda: connect("192.0.2.1", 80)),
    name=attempt(lambda: socket.getaddrinfo("example.org", 80) and ""),
    names=[name for _, name in socket.if_nameindex()],
    abstract=attempt(lambda: socket.socket(socket.AF_UNIX).connect("\\0{abstract}")),
)
"""


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "192.0.2.77", "::1", "fd00::77"])
@requires("network")
def test_a_build_reaches_the_index_alone(site: Site, index: socket.socket, listen: str) -> None:
    """Whatever address the platform has, it leads to the index; nothing else of this host or the world answers."""
    abstract = f"dae-test-{uuid.uuid4().hex}"
    with socket.create_server(("127.0.0.1", 0)) as outside, socket.socket(socket.AF_UNIX) as unnamed:
        unnamed.bind(f"\0{abstract}")
        unnamed.listen()
        settings = dataclasses.replace(site.ground.settings, listen=listen)
        values = {
            "address": settings.local_address,
            "port": settings.port,
            "outside": outside.getsockname()[1],
            "abstract": abstract,
        }
        found = site.run(NETWORK.format(**values), listen=listen)
        outside.setblocking(False)
        with pytest.raises(BlockingIOError):
            outside.accept()
    assert found["index"] == found["again"] == "300000 HELLO"
    assert found["names"] == ["lo"]
    assert "refused" in str(found["host"])
    assert "unreachable" in str(found["world"])
    assert "gaierror" in str(found["name"])
    assert "refused" in str(found["abstract"])


@requires("network")
def test_the_relay_is_out_of_reach_and_ends(site: Site, index: socket.socket) -> None:
    """A build can end every process that it may signal; the way to the index stays, and ends with the build."""
    before = set(procs.groups())
    code = "import signal\n" + NETWORK.split("def connect")[0]
    code = code.format(address="127.0.0.1", port=site.ground.settings.port)
    code += "if not os.fork():\n    os.setsid()\n    time.sleep(600)\n"
    code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.kill(-1, signal.SIGTERM)\ntell(index=attempt(ask))\n"
    assert site.run(code)["index"] == "300000 HELLO"
    assert [group for group in set(procs.groups()) - before if _is_ours(group)] == []


def _is_ours(group: int) -> bool:
    try:
        return "runner.launch" in Path(f"/proc/{group}/cmdline").read_text()
    except OSError:
        return False


def test_the_operator_opens_the_network(site: Site) -> None:
    """With ``build_network`` open a build has the host's, and that is told."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        code = f"tell(host=attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 5).close()))"
        assert site.run(code, build_network="open")["host"] == "done"
    report = confine.report(dataclasses.replace(site.ground.settings, build_network="open"), ROOT)
    assert [(ok, "build_network" in text) for topic, ok, text in report if topic == "build network"] == [(False, True)]


# -- memory and processes ----------------------------------------------------------------------------------------------

HOG = "kept = []\nfor _ in range(400): kept.append(b'x' * (1 << 20))\ntell(kept=len(kept))\n"
CHILD = "import subprocess\nsubprocess.run([sys.executable, '-c', %r])\ntell(error='build/install-failed', cause='x')\n"


@requires("cgroups")
@pytest.mark.parametrize("code", [HOG, CHILD % HOG.replace("tell(kept=len(kept))", "")])
def test_memory_is_limited_for_the_whole_build(site: Site, code: str) -> None:
    """Whether the worker or a child of it was killed for it: the error names the limit and what to do."""
    error = site.fails(code, build_memory=128 * MIB)
    assert (error.code, error.cause) == ("build/out-of-memory", "the build needed more than 0.1 GiB of memory")
    assert "build_memory" in error.hint


FORKS = """\
pids = []
try:
    for _ in range(200):
        pid = os.fork()
        if not pid:
            time.sleep(600)
        pids.append(pid)
except OSError as error:
    tell(error="build/install-failed", cause=f"{len(pids)} and no more")
"""


@requires("cgroups")
def test_processes_are_limited(site: Site) -> None:
    """Forking ends at the limit, and all that was forked ends with the build."""
    error = site.fails(FORKS, build_processes=40)
    assert (error.code, error.cause) == ("build/limit", "the build wanted more than 40 processes")


def test_without_groups_limits_are_for_each_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without control groups still bounds memory, per process, and Python's own error is recognised."""
    bare = dataclasses.replace(confine.host(ROOT), hierarchy=None)
    monkeypatch.setattr(confine, "host", lambda _root: bare)
    found = site.run("def hog():\n    return len(bytes(200 << 20))\ntell(end=attempt(hog))", build_memory=128 * MIB)
    assert found["end"] == "MemoryError: "
    if ROOT:
        assert "cgroup" not in str(site.fails(FORKS, build_processes=40))
    assert [ok for topic, ok, _ in confine.report(site.ground.settings, ROOT) if topic == "cgroups"] == [False]


LEAVE = """\
for _ in range(3):
    if not os.fork():
        os.setsid()
        if not os.fork():
            open(f"left{{os.getpid()}}", "w")
            time.sleep(600)
        os._exit(0)
while len([name for name in os.listdir() if name.startswith("left")]) < 3:
    time.sleep(0.02)
{then}
"""


@pytest.mark.root
@pytest.mark.parametrize("how", ["end", "timeout", "cancel", "output"])
def test_the_whole_tree_ends(site: Site, how: str) -> None:
    """Processes with a session of their own end with the build, whatever ended that."""
    then = {"end": "tell()", "output": "while True: print('x' * 1000)"}.get(how, "time.sleep(600)")
    settings = dataclasses.replace(site.ground.settings, build_timeout=2 if how == "timeout" else 20)
    worker = (sys.executable, "-I", "-c", TELL + LEAVE.format(then=then))
    made = Builder(settings, site.ground.home, site.ground.accounts, worker)

    def left() -> bool:
        return len(list(site.work.glob("left*"))) == 3

    if how == "end":
        made.build(70, lambda _line: None)
    else:
        code = {"timeout": "build/timeout", "cancel": "push/cancelled", "output": "build/limit"}[how]
        with pytest.raises(DaeError, match=code):
            made.build(70, lambda _line: None, left if how == "cancel" else lambda: False)
    assert left()
    assert procs.of_uid(site.uid) == []


@requires("cgroups")
def test_a_group_is_ended_whole(the_ground: Ground) -> None:
    """By its group too, whoever the processes run as: also those that left session and parents."""
    hierarchy = cgroups.find()
    assert hierarchy is not None
    name = f"{the_ground.settings.account}-test"
    group = hierarchy.make(name, cgroups.Limits(64 * MIB, 20, 50))
    join = "import os, sys, time\nfor f in sys.argv[1:]: open(f + '/cgroup.procs', 'w').write('0')\n"
    code = (
        join
        + "for _ in range(3):\n    if not os.fork():\n        os.setsid()\n        os.fork()\n        time.sleep(600)\n"
    )
    subprocess.run([sys.executable, "-c", code, *map(str, group.places())], check=True)
    folder = group.folders["pids"]
    until(lambda: len((folder / "cgroup.procs").read_text().split()) == 6, "six processes are left")
    assert hierarchy.make(name, cgroups.Limits(0, 20, 50)).places() == group.places()
    assert (folder / "cgroup.procs").read_text() == ""
    confine.clean([name])
    assert not any(place.exists() for place in group.places())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4:memory:/no/such\n8:pids:/\n1:cpu:/\n", 1), ("4:memory:/\n", None), ("", None)],
)
def test_where_groups_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    """In version 1 each controller has its own tree; a path that is not mounted here is another namespace's."""
    for controller in ("memory", "pids") if text.count("\n") > 1 else ("memory",):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    found = cgroups.find(text)
    assert (found and found.version) == expected


def test_where_groups_are_made_in_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the nearest group that hands its controllers on."""
    own = tmp_path / "system.slice" / "dae.service"
    own.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    for folder, control in ((own, ""), (own.parent, "cpu memory pids"), (tmp_path, "memory pids")):
        (folder / "cgroup.subtree_control").write_text(control)
    (own / "cgroup.subtree_control").unlink()  # as a group with processes in it: no controller can be handed on
    (own / "cgroup.subtree_control").symlink_to("/proc/self/mem")
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    found = cgroups.find("0::/system.slice/dae.service\n")
    assert found is not None
    assert set(found.folders.values()) == {own.parent}


# -- disk and output ---------------------------------------------------------------------------------------------------

FILL = """\
for number in range(600):
    with open(f"file{number}", "wb") as file:
        file.write(bytes(1 << 20))
    time.sleep(0.01)
time.sleep(600)
"""


def test_a_build_that_fills_the_disk_is_stopped(site: Site) -> None:
    """The sum of its files is what counts, and the error names the setting."""
    error = site.fails(FILL, build_disk=20 * MIB)
    assert (error.code, "20 MiB" in error.cause, "build_disk" in error.hint) == ("build/too-large", True, True)


def test_one_file_is_limited_at_once(site: Site) -> None:
    """Before anybody looks, the kernel does."""
    code = "def fill():\n    with open('x', 'wb') as file:\n        file.write(bytes(30 << 20))\n"
    code += "tell(end=attempt(fill))\nos.unlink('x')\n"
    assert "File too large" in str(site.run(code, build_disk=20 * MIB)["end"])


@pytest.mark.root
def test_files_without_a_name_count(site: Site, tmp_path: Path) -> None:
    """A file that was deleted and is still open takes room that no folder shows: the room that is left does."""
    small = site.work.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0711", "tmpfs", small], check=True)
    try:
        work = small / "70"
        work.mkdir(mode=0o700)
        shutil.chown(small, site.ground.settings.account, site.ground.settings.account)
        shutil.chown(work, site.ground.settings.account, site.ground.settings.account)
        code = "file = open('x', 'wb')\nos.unlink('x')\nfor _ in range(62):\n    file.write(bytes(1 << 20))\n"
        error = site.fails(code + "file.flush()\ntime.sleep(600)\n")
        assert error.code == "platform/disk-full"
    finally:
        subprocess.run(["umount", small], check=True)


def test_output_is_limited(site: Site) -> None:
    """A build that prints without end is stopped; what it printed up to there was shown, in lines of bounded length."""
    for endless in ("while True: print('y' * 5000)", "while True: sys.stdout.write('y' * 5000)"):
        lines: list[str] = []
        with pytest.raises(DaeError, match=r"build/limit: the build printed more than 64 KiB"):
            site.run(endless, lines.append, build_output=64 << 10)
        assert "not shown" in lines[-1]
        assert max(map(len, lines)) <= 2000


def test_used_more_than(tmp_path: Path) -> None:
    """Blocks count, not lengths; links are not followed; a tree too deep to be named is too much."""
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    (tmp_path / "link").symlink_to("/usr")
    assert not used_more_than(tmp_path, MIB)
    (tmp_path / "full").write_bytes(bytes(2 * MIB))
    assert used_more_than(tmp_path, MIB)
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        here, old = os.open("d" * 200, os.O_RDONLY, dir_fd=here), here
        os.close(old)
    os.close(here)
    assert used_more_than(deep, 1 << 40)
    subprocess.run(["rm", "-rf", deep], check=True)


def test_a_spec_with_a_sandbox_survives_its_file(the_ground: Ground) -> None:
    """What is loaded is what was saved."""
    made = Sandbox(True, "/x", ("/a", "/b"), "/w", ("127.0.0.1", 80, "/s"), ("/c",))
    spec = LaunchSpec("shut", ("/bin/true",), {}, "/", None, sandbox=made)
    spec.save(the_ground.home)
    assert LaunchSpec.load(the_ground.home, "shut") == spec
    assert json.loads((the_ground.home.agent_state / "specs" / "shut.json").read_text())["sandbox"]["tmp"] == "/x"


def test_what_is_not_enforced_is_said() -> None:
    """A plain user's install enforces nothing of this, and every line says so."""
    report = confine.report(Settings(Path("/h")), root=False)
    assert {topic for topic, _, _ in report} == {"private /tmp", "build files", "build network", "cgroups"}
    assert all(not ok and "not enforced" in text for _, ok, text in report)
    assert confine.instance_sandbox(Settings(Path("/h")), Home(Path("/h")), "blog", None) is None
