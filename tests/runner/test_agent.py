"""The agent as a process, asked through its client."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.argv import CLEAN_ENVIRON
from core.errors import DaeError
from core.nouns import Health
from runner.client import Agent
from tests.processes import alive
from tests.runner.ground import ROOT, Daemon, Ground, until

OnLine = Callable[[str], None]
WEB = {"web": "exec python server.py"}


class AgentProcess:
    """The agent of a ground, as supervisord would start it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.client = Agent(ground.home.socket("agent"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environ = {**CLEAN_ENVIRON, "DAE_HOME": str(self.ground.home.root), "DAE_DRAIN_TIMEOUT": "2"}
        log = (self.ground.home.logs / "agent.log").open("ab")
        with log:
            argv = [sys.executable, "-I", "-m", "runner.agent"]
            self.process = subprocess.Popen(argv, env=environ, stderr=log, cwd="/")
        until(self.answers, "the agent answers")

    def answers(self) -> bool:
        try:
            return self.process is not None and self.client.ping()["pid"] == self.process.pid
        except DaeError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def agent_process(the_ground: Ground, daemon: Daemon) -> Iterator[AgentProcess]:
    made = AgentProcess(the_ground)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def agent(agent_process: AgentProcess) -> Iterator[Agent]:
    yield agent_process.client
    agent_process.client.reconcile([])


def say(ground: Ground, request: bytes) -> list[dict[str, object]]:
    """What the agent answers to raw bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(ground.home.socket("agent")))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as file:
            return [json.loads(line) for line in file]


def test_a_whole_life(the_ground: Ground, agent: Agent, on_line: OnLine, lines: list[str]) -> None:
    """An app's folders, its start, the list, its stop, its removal: all over the socket."""
    instance = the_ground.release("living", WEB)
    assert agent.ensure_app("living") == the_ground.accounts.app("living")
    agent.start(instance.key, on_line)
    row = next(row for row in agent.instances() if row["key"] == instance.key)
    assert (row["state"], row["pid"] > 1, row["since"] > 10**9) == ("running", True, True)
    agent.stop([instance.key], 2)
    assert agent.instances() == []
    agent.remove_app("living")
    assert not the_ground.home.app_home("living").exists()


def test_errors_and_lines_come_through(the_ground: Ground, agent: Agent, on_line: OnLine, lines: list[str]) -> None:
    """The app's last words as lines, then the error with its code."""
    instance = the_ground.release("failing", {"web": "echo last words; exit 1"})
    with pytest.raises(DaeError, match="release/crashed"):
        agent.start(instance.key, on_line)
    assert lines == ["last words"]


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "shell"},
        {"op": ["start"]},
        {"op": "__init__"},
        {"op": "start"},
        {"op": "start", "key": "/bin/sh"},
        {"op": "start", "key": 5},
        {"op": "stop", "keys": "x", "grace": 1},
        {"op": "stop", "keys": [], "grace": True},
        {"op": "stop", "keys": [], "grace": -1},
        {"op": "build", "build": "../../etc"},
        {"op": "build", "build": 0},
        {"op": "ensure_app", "app": ".."},
        {"op": "rename_app", "app": "a", "to": "../b"},
        {"op": "release_command", "app": "a", "number": 1.5},
        {"op": "route", "routes": {}},
        {"op": "route", "routes": [{"app": "a"}]},
        {"op": "route", "routes": [{"app": "a", "stage": "dev", "release": 1, "code": "../.."}]},
        {"op": "route", "routes": [{"app": "a", "stage": "dev", "release": 1, "port": 70000}]},
        {"op": "route", "routes": [{"app": "a", "stage": "dev", "release": 1, "host": "x; }"}]},
        {"op": "route", "routes": [{"app": "a", "stage": "dev", "release": 1, "user": "root"}]},
        {"op": "reconcile", "desired": [1]},
        "text",
        None,
    ],
)
def test_requests_that_are_refused(the_ground: Ground, agent: Agent, request_: object) -> None:
    """What is not one of the typed requests gets an error of the catalogue, and the agent goes on."""
    (answer,) = say(the_ground, json.dumps(request_).encode() + b"\n")
    assert answer["error"] in {"runner/refused", "app/bad-name", "input/invalid", "router/invalid"}
    assert agent.ping()["root"] is ROOT


def test_requests_that_are_none(the_ground: Ground, agent: Agent) -> None:
    """Garbage and unfinished requests do no harm."""
    (answer,) = say(the_ground, b"\xff\xfe{\n")
    assert answer["error"] == "runner/refused"
    assert say(the_ground, b'{"op": "ping"}') == []
    assert agent.ping()


def test_the_socket_is_guarded(the_ground: Ground, agent: Agent) -> None:
    """Mode 0600; on a root install it is the platform's account's."""
    found = the_ground.home.socket("agent").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    if ROOT:
        assert the_ground.home.socket("agent").owner() == the_ground.settings.account


ASK = """\
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b'{"op": "ping"}\\n')
print(s.recv(99) != b"")
"""


@pytest.mark.root
def test_who_may_ask(the_ground: Ground, agent: Agent) -> None:
    """The platform's account may; another's process is hung up on, even when it gets at the socket."""
    path = the_ground.home.socket("agent")
    path.chmod(0o666)
    try:
        for user, answered in ((the_ground.settings.account, "True"), ("nobody", "False")):
            argv = [sys.executable, "-I", "-c", ASK, str(path)]
            found = subprocess.run(argv, user=user, extra_groups=[], capture_output=True, text=True, check=False)
            assert (found.stdout.strip() or "False") == answered
    finally:
        path.chmod(0o600)


def test_nobody_answers(tmp_path: Path) -> None:
    """A client without an agent says so."""
    with pytest.raises(DaeError, match="runner/unavailable"):
        Agent(tmp_path / "none.sock").ping()


def test_there_is_one_agent(the_ground: Ground, agent: Agent) -> None:
    """A second one of the same home ends at once, and the first goes on."""
    environ = {**CLEAN_ENVIRON, "DAE_HOME": str(the_ground.home.root)}
    second = subprocess.run(
        [sys.executable, "-I", "-m", "runner.agent"], env=environ, capture_output=True, timeout=20, check=False
    )
    assert second.returncode == 1
    assert agent.ping()


def test_a_killed_agent_comes_back_to_its_work(
    the_ground: Ground, agent_process: AgentProcess, agent: Agent, on_line: OnLine
) -> None:
    """What was wanted is brought back without control; what was never finished is not."""
    kept, lost, stray = (the_ground.release(name, WEB) for name in ("kept", "lost", "stray"))
    agent.start(kept.key, on_line)
    agent.start(lost.key, on_line)
    pid = next(row["pid"] for row in agent.instances() if row["key"] == kept.key)
    agent_process.kill()
    node = the_ground.node()
    node.start(stray.key, on_line)
    node.desired.change(drop=[stray.key])
    node.stop([lost.key], 0)
    node.desired.change(add=[lost.key])
    agent_process.start()
    until(lambda: {row["key"] for row in agent.instances()} == {kept.key, lost.key}, "exactly what was wanted runs")
    assert next(row["pid"] for row in agent.instances() if row["key"] == kept.key) == pid


def test_a_start_that_nobody_waits_for(the_ground: Ground, agent: Agent) -> None:
    """An instance whose starter went away does not stay."""
    instance = the_ground.release("unawaited", {"web": "exec sleep 600"}, health=Health(timeout=600))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(the_ground.home.socket("agent")))
        connection.sendall(json.dumps({"op": "start", "key": instance.key}).encode() + b"\n")
        until(lambda: [row for row in agent.instances() if row["key"] == instance.key], "it is started")
    until(lambda: not agent.instances(), "it is stopped")


def test_a_client_that_goes_away_cancels(the_ground: Ground, agent: Agent) -> None:
    """A release command ends when nobody waits for it."""
    the_ground.release("waiting", {"web": "x", "release": "echo $$; exec sleep 600"})
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as file:
        connection.connect(str(the_ground.home.socket("agent")))
        connection.sendall(b'{"op": "release_command", "app": "waiting", "number": 1}\n')
        pid = int(json.loads(file.readline())["line"])
    until(lambda: not alive(pid), "it was ended")
