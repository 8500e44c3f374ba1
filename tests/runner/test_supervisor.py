"""The plug-in in a real supervisord."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Instance
from runner import procs
from runner.node import Node
from runner.spec import LaunchSpec
from runner.strays import reap_strays
from runner.supervisor import Supervisor
from tests.processes import alive
from tests.runner.ground import Daemon, Ground, until

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def prepare(ground: Ground, key: str, code: str) -> Instance:
    """A spec for an instance of any code."""
    instance = Instance.from_key(key)
    ground.apps.add(instance.app)
    ground.accounts.ensure_app(instance.app)
    argv = ("/usr/bin/env", "python3", "-I", "-c", code)
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    LaunchSpec(key, argv, environ, "/", ground.accounts.app(instance.app)).save(ground.home)
    return instance


def test_it_starts_at_once_and_lists_instances_only(the_ground: Ground, node: Node) -> None:
    """start gives the pid of a process that lives; the list names it; a second start of it is refused."""
    supervisor = Supervisor(the_ground.home, the_ground.settings)
    instance = prepare(the_ground, "sleepy.dev.v1.web.1", SLEEP)
    pid = supervisor.start(instance)
    assert alive(pid)
    found = supervisor.instances()
    assert (found[instance.key].pid, found[instance.key].state) == (pid, "running")
    with pytest.raises(DaeError, match="runner/refused"):
        supervisor.start(instance)
    log = the_ground.home.instance_log(instance)
    until(lambda: log.exists() and log.read_text() == "up\n", "its output is in its log")
    node.stop([instance.key], 5)
    assert not alive(pid)
    assert instance.key not in supervisor.instances()


def test_a_crash_loop_backs_off_and_is_kept_trying(the_ground: Ground, node: Node) -> None:
    """It is started again, later each time, and shows as backing off; what is there can still be stopped."""
    supervisor = Supervisor(the_ground.home, the_ground.settings)
    instance = prepare(the_ground, "crashy.dev.v1.web.1", "import sys; print('try', flush=True); sys.exit(0)")
    supervisor.start(instance)
    log = the_ground.home.instance_log(instance)
    until(lambda: log.exists() and log.read_text().count("try") >= 2, "a second try")
    until(lambda: supervisor.instances()[instance.key].state == "backoff", "it backs off")
    assert log.read_text().count("try") < 6
    node.stop([instance.key], 5)
    assert instance.key not in supervisor.instances()


def test_a_dead_instance_is_started_again(the_ground: Ground, node: Node) -> None:
    """An instance that was killed comes back with another pid."""
    supervisor = Supervisor(the_ground.home, the_ground.settings)
    instance = prepare(the_ground, "phoenix.dev.v1.web.1", SLEEP)
    pid = supervisor.start(instance)
    os.kill(pid, signal.SIGKILL)
    until(lambda: supervisor.instances()[instance.key].pid not in (0, pid), "it is back")


def test_nobody_answers() -> None:
    """Without supervisord the error says so."""
    from core.config import Settings
    from core.paths import Home

    nowhere = Path("/nonexistent")
    with pytest.raises(DaeError, match="runner/unavailable"):
        Supervisor(Home(nowhere), Settings(home=nowhere)).instances()


def test_a_killed_supervisord_leaves_no_second_copy(own_ground: Ground) -> None:
    """After kill -9 its children are found and ended by the records, and the next supervisord runs one copy."""
    supervisor, daemon = Supervisor(own_ground.home, own_ground.settings), Daemon(own_ground)
    daemon.start()
    instance = prepare(own_ground, "orphan.dev.v1.web.1", SLEEP)
    first = supervisor.start(instance)
    log = own_ground.home.instance_log(instance)
    until(lambda: log.exists() and log.read_text(), "it runs")
    daemon.kill()
    assert alive(first)
    assert reap_strays(own_ground.home) == [instance.key]
    assert not alive(first)
    daemon.start()
    try:
        assert supervisor.instances() == {}
        second = supervisor.start(instance)
        daemon.kill()  # and once more, without anybody reaping
        daemon.start()
        third = supervisor.start(instance)
        until(lambda: not alive(second), "the launcher ended the previous copy")
        assert alive(third)
        node = own_ground.node()
        node.stop([instance.key], 2)
        assert not procs.groups().get(third)
    finally:
        daemon.stop()
