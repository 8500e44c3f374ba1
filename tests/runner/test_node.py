"""Instances of real apps, started, checked and stopped under a real supervisord."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import DaeError
from core.nouns import Handler, Health, Instance
from runner import procs
from runner.node import Node
from runner.spec import record_path
from runner.supervisor import Supervisor
from runner.tails import LAST_LINES
from tests.processes import alive
from tests.runner.ground import ENVIRONMENT, ROOT, TREE, Ground, until

OnLine = Callable[[str], None]
WEB = {"web": "exec python server.py"}


def get(path: Path, url: str) -> tuple[int, Any]:
    """GET over an instance's socket: status and decoded JSON."""
    connection = http.client.HTTPConnection("app")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def keys(node: Node) -> set[str]:
    return {row["key"] for row in node.instances()}


def test_a_started_instance_serves(the_ground: Ground, node: Node, on_line: OnLine, lines: list[str]) -> None:
    """It answers on its own socket when start returns, as its account, with config and nothing of ours."""
    instance = the_ground.release("serving", WEB, config={"COLOUR": "blue"})
    node.start(instance.key, on_line)
    status, environ = get(the_ground.socket(instance), "/env")
    assert (status, environ["COLOUR"], environ["DAE_RELEASE"]) == (200, "blue", "v1")
    assert not [key for key in environ if key.startswith("SUPERVISOR")]
    row = next(row for row in node.instances() if row["key"] == instance.key)
    assert row["state"] == "running"
    if ROOT:
        assert Path(f"/proc/{row['pid']}").owner() == the_ground.accounts.app("serving")
    assert instance.key in node.desired.read()
    assert lines == []
    node.start(instance.key, on_line)  # it runs: nothing but the check is done
    assert [r["pid"] for r in node.instances() if r["key"] == instance.key] == [row["pid"]]


def test_gunicorn_serves_handlers(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A slug without a web command is served by gunicorn with the SDK's application."""
    app = "def app(environ, start):\n    start('200 OK', [('Content-Length', '4')])\n    return [b'\"hi\"']\n"
    instance = the_ground.release(
        "handled", {"web": ""}, files={"app.py": app}, handlers=(Handler("/.*", wsgi_app="app:app"),)
    )
    node.start(instance.key, on_line)
    assert get(the_ground.socket(instance), "/") == (200, "hi")


def test_a_port_instance_serves(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A command with $PORT is checked on its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    instance = the_ground.release("ported", {"web": "python server.py $PORT"}, port=port)
    node.start(instance.key, on_line)
    assert not the_ground.socket(instance).exists()


def test_a_crash_is_told_with_its_own_lines(the_ground: Ground, node: Node, on_line: OnLine, lines: list[str]) -> None:
    """The last lines of this start, not of the one before; nothing is left running."""
    command = f"for i in $(seq {LAST_LINES + 10}); do echo $DAE_RELEASE line $i; done; exit {3}"
    for number in (1, 2):
        instance = the_ground.release("crashing", {"web": command}, number)
        lines.clear()
        with pytest.raises(DaeError, match="release/crashed"):
            node.start(instance.key, on_line)
    assert lines == [f"v2 line {n}" for n in range(11, LAST_LINES + 11)]
    assert instance.key not in keys(node)
    assert not (the_ground.home.agent_state / "specs" / f"{instance.key}.json").exists()


def test_an_import_error_is_a_crash(the_ground: Ground, node: Node, on_line: OnLine, lines: list[str]) -> None:
    """gunicorn ends when its worker cannot import the app, and the traceback is shown."""
    handlers = (Handler("/.*", wsgi_app="app:app"),)
    instance = the_ground.release(
        "importing", {"web": ""}, files={"app.py": "import no_such_module\n"}, handlers=handlers
    )
    with pytest.raises(DaeError, match="release/crashed"):
        node.start(instance.key, on_line)
    assert any("no_such_module" in line for line in lines)


def test_a_sick_app_is_not_started(the_ground: Ground, node: Node, on_line: OnLine, lines: list[str]) -> None:
    """An app that answers its check with an error is stopped again."""
    instance = the_ground.release("sick", WEB, health=Health(path="/503", timeout=600))
    with pytest.raises(DaeError, match="release/unhealthy"):
        node.start(instance.key, on_line)
    assert instance.key not in keys(node)
    assert "serving" in lines
    assert not the_ground.socket(instance).exists()


def test_a_running_instance_survives_a_bad_check(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A second start of what serves already is a check: its failure is told, and nothing is stopped."""
    instance = the_ground.release("survivor", WEB)
    node.start(instance.key, on_line)
    pid = pid_of(node, instance)
    the_ground.release("survivor", WEB, health=Health(path="/500"))
    with pytest.raises(DaeError, match="release/unhealthy"):
        node.start(instance.key, on_line)
    assert pid_of(node, instance) == pid


def test_a_mute_app_is_not_started(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """An app that never listens is stopped when its time is over."""
    instance = the_ground.release("mute", {"web": "exec sleep 600"}, health=Health(timeout=1))
    with pytest.raises(DaeError, match="release/silent"):
        node.start(instance.key, on_line)
    assert instance.key not in keys(node)
    assert instance.key not in node.desired.read()


def test_workers_are_started_without_a_check(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A worker that lives is started; one that ends at once has crashed."""
    the_ground.release("working", {"web": "x", "good": "exec sleep 600", "bad": "exit 1"})
    node.start("working.dev.v1.good.1", on_line)
    with pytest.raises(DaeError, match="release/crashed"):
        node.start("working.dev.v1.bad.1", on_line)
    assert keys(node) >= {"working.dev.v1.good.1"}


def pid_of(node: Node, instance: Instance) -> int:
    return next(int(row["pid"]) for row in node.instances() if row["key"] == instance.key)


def test_a_stop_is_bounded(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """What ignores SIGTERM is killed after the grace, with all of its group; socket, spec and record go."""
    code = "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nif not os.fork():\n    time.sleep(600)\n"
    instance = the_ground.release(
        "stubborn", {"web": "exec python -c 'import stubborn, server'"}, files={"stubborn.py": code}
    )
    node.start(instance.key, on_line)
    pid = pid_of(node, instance)
    node.stop([instance.key], 1)
    assert not procs.groups().get(pid)
    assert not the_ground.socket(instance).exists()
    assert not record_path(the_ground.home, instance.key).exists()
    assert instance.key not in node.desired.read()
    node.stop([instance.key], 1)  # gone: no error


def test_children_of_a_shell_get_the_grace_too(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """The shell dies of SIGTERM at once; the server that it started may finish."""
    code = (
        "import os, signal, threading\n"
        "def end():\n    open(os.environ['DAE_PERMDIR'] + '/finished', 'w').close()\n    os._exit(0)\n"
        "signal.signal(15, lambda *_: threading.Timer(0.5, end).start())\n"
        "import server\n"
    )
    instance = the_ground.release("shelled", {"web": "cd . ; python graceful.py ; true"}, files={"graceful.py": code})
    node.start(instance.key, on_line)
    node.stop([instance.key], 15)
    assert (the_ground.home.app_home("shelled") / "perm" / "finished").exists()


def test_reconciling(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """What is missing starts, what nobody wants stops, what is right is let be, what is broken is told."""
    stays, goes, comes = (the_ground.release(name, WEB) for name in ("stays", "goes", "comes"))
    for instance in (stays, goes):
        node.start(instance.key, on_line)
    pid, gone = pid_of(node, stays), pid_of(node, goes)
    result = node.reconcile([stays.key, comes.key, "missing.dev.v1.web.1"])
    assert (result["started"], result["stopped"]) == ([comes.key], [goes.key])
    assert result["failed"]["missing.dev.v1.web.1"]["error"] == "release/unknown"
    assert pid_of(node, stays) == pid
    assert not alive(gone)
    until(lambda: the_ground.socket(comes).exists(), "it serves")
    again = node.reconcile([stays.key, comes.key])
    assert (again["started"], again["stopped"], again["failed"]) == ([], [], {})
    assert node.desired.read() == {stays.key, comes.key}


def test_a_bad_key_changes_nothing(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """Names are checked before anything is done."""
    instance = the_ground.release("steady", WEB)
    node.start(instance.key, on_line)
    for key in ("steady.dev.v1.web", "../../x", "steady.dev.v1.web.1\n"):
        with pytest.raises(DaeError):
            node.reconcile([key])
        with pytest.raises(DaeError):
            node.stop([instance.key, key], 0)
    assert instance.key in keys(node)


def test_release_commands(the_ground: Ground, node: Node, on_line: OnLine, lines: list[str]) -> None:
    """They run as the app with the release's environment; their failure is an error; none is no error."""
    show = 'echo "$COLOUR $(id -un) $PWD"'
    the_ground.release("moving", {"web": "x", "release": show}, config={"COLOUR": "red"})
    node.release_command("moving", 1, on_line, lambda: False)
    who = the_ground.accounts.app("moving") or pwd.getpwuid(os.geteuid()).pw_name
    assert lines == [f"red {who} {the_ground.home.code('moving', 'c' * 40)}"]
    the_ground.release("moving", {"web": "x", "release": "echo no; exit 7"}, 2)
    with pytest.raises(DaeError, match="status 7") as caught:
        node.release_command("moving", 2, on_line, lambda: False)
    assert caught.value.code == "release/command-failed"
    the_ground.release("moving", {"web": "x"}, 3)
    node.release_command("moving", 3, on_line, lambda: False)


def test_a_release_command_has_its_time(the_ground: Ground, on_line: OnLine) -> None:
    """The platform's, or what the app gives it; then it and its children end."""
    the_ground.release("patient", {"web": "x", "release": "sleep 600 & sleep 600"})
    settings = dataclasses.replace(the_ground.settings, release_timeout=1)
    node = Node(settings, the_ground.home, the_ground.accounts, Supervisor(the_ground.home, settings))
    with pytest.raises(DaeError, match="stopped after 1 s") as caught:
        node.release_command("patient", 1, on_line, lambda: False)
    assert "release_timeout" in caught.value.hint


def test_a_release_command_is_cancelled(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """When nobody waits any more, it and its children end."""
    the_ground.release("endless", {"web": "x", "release": "echo $$; sleep 600 & sleep 600"})
    pids: list[str] = []
    with pytest.raises(DaeError, match="cancelled"):
        node.release_command("endless", 1, pids.append, lambda: bool(pids))
    until(lambda: not procs.groups().get(int(pids[0])), "all of it is gone")


def test_removing_and_renaming(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A renamed app keeps its data; a removed one leaves neither process nor file."""
    instance = the_ground.release("before", WEB)
    node.start(instance.key, on_line)
    pid = pid_of(node, instance)
    data = the_ground.home.app_home("before") / "perm" / "data"
    data.write_text("kept")
    node.rename_app("before", "after")
    node.rename_app("before", "after")
    the_ground.apps.add("after")
    assert not alive(pid)
    assert (the_ground.home.app_home("after") / "perm" / "data").read_text() == "kept"
    assert not the_ground.home.app_home("before").exists()
    other = the_ground.release("after", WEB, 2)
    node.start(other.key, on_line)
    pid = pid_of(node, other)
    node.remove_app("after")
    node.remove_app("after")
    assert not alive(pid)
    home = the_ground.home
    assert not any(path.exists() for path in (home.app_home("after"), home.app_run("after"), home.app_logs("after")))


def test_a_running_start_is_not_reconciled_away(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """An instance that another call is starting is neither stopped nor started by a reconciliation."""
    import threading

    instance = the_ground.release("slowly", {"web": "sleep 1; exec python server.py"})
    thread = threading.Thread(target=node.start, args=(instance.key, on_line))
    thread.start()
    until(lambda: instance.key in keys(node), "it is starting")
    pid = pid_of(node, instance)
    assert node.reconcile([])["stopped"] == []
    thread.join(30)
    assert pid_of(node, instance) == pid


def test_one_app_cannot_keep_others_from_running(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """A folder in its socket's place does not stop it from being stopped; a link for a folder, others from starting."""
    bad = the_ground.release("badly", WEB)
    good = the_ground.release("nicely", WEB)
    node.start(bad.key, on_line)
    place = the_ground.socket(bad)
    place.unlink()
    (place / "x").mkdir(parents=True)
    node.stop([bad.key], 1)
    assert not place.exists()
    perm = the_ground.home.app_home("badly") / "perm"
    perm.rmdir()
    perm.symlink_to("/tmp")
    done = node.reconcile([bad.key, good.key])
    assert good.key in done["started"]
    assert done["failed"][bad.key]["error"] == "runner/account"


WSGI = """\
import os, sys, json
def app(environ, start):
    start("200 OK", [])
    return [json.dumps([dict(os.environ), sys.orig_argv, os.getcwd(), os.getppid()]).encode()]
"""


def handled(ground: Ground, number: int, **more: Any) -> Instance:
    """Release ``number`` of an app that gunicorn serves."""
    handlers = (Handler("/.*", wsgi_app="app:app"),)
    return ground.release("warmed", {"web": ""}, number, files={"app.py": WSGI}, handlers=handlers, **more)


@contextmanager
def warmed(node: Node, key: str, like: int) -> Iterator[int]:
    """Somebody who waits for the release to come while the block runs; the pid of what waits with them."""
    gone = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(node.warm, key, like, gone.wait)
        try:
            until(lambda: asked.done() or waits(supervised(node, key)), "it is started")
            yield supervised(node, key)
        finally:
            gone.set()
            asked.result()


def waits(pid: int) -> bool:
    """Is it past its launcher?"""
    return pid != 0 and b"dae.runtime" in Path(f"/proc/{pid}/cmdline").read_bytes()


def supervised(node: Node, key: str) -> int:
    found = node._supervisor.instances().get(key)
    return found.pid if found else 0


def test_a_warm_start(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """What was started for the release to come becomes its instance, and is none before."""
    handled(the_ground, 1, config={"COLOUR": "blue"})
    key = "warmed.dev.v2.web.1"
    with warmed(node, key, like=1) as pid:
        assert key not in keys(node)
        node.reconcile(sorted(node.desired.read()))  # as another app's push does
        instance = handled(the_ground, 2, config={"COLOUR": "blue"})
        node.start(instance.key, on_line)
    environ, argv, cwd, parent = get(the_ground.socket(instance), "/")[1]
    assert (parent, environ["DAE_RELEASE"], environ["COLOUR"]) == (pid, "v2", "blue")
    assert "dae.runtime.warm" in argv
    assert cwd == str(the_ground.home.code("warmed", TREE))
    assert key in keys(node)
    os.kill(pid, signal.SIGKILL)  # from now on it is an instance like any other
    until(lambda: supervised(node, key) not in (0, pid), "it is started again")
    until(lambda: the_ground.socket(instance).exists() and answers(the_ground, instance), "it serves again")
    node.stop([key], 5)


def answers(ground: Ground, instance: Instance) -> bool:
    try:
        return get(ground.socket(instance), "/")[0] == 200
    except OSError:
        return False


def test_a_warm_start_for_nothing(the_ground: Ground, node: Node) -> None:
    """When no release comes, nothing is left of it."""
    handled(the_ground, 1)
    with warmed(node, "warmed.dev.v3.web.1", like=1) as pid:
        assert pid
    assert not supervised(node, "warmed.dev.v3.web.1")
    assert not alive(pid)
    assert not record_path(the_ground.home, "warmed.dev.v3.web.1").exists()


@pytest.mark.parametrize("how", ["killed", "another variable", "other limits", "another environment"])
def test_a_warm_start_that_does_not_serve(the_ground: Ground, node: Node, on_line: OnLine, how: str) -> None:
    """Whatever becomes of it, the instance starts as it would have without it."""
    handled(the_ground, 1, config={"COLOUR": "blue"})
    key = "warmed.dev.v4.web.1"
    with warmed(node, key, like=1) as pid:
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
            until(lambda: not supervised(node, key), "it has ended")
        elif how == "other limits":
            launch = node._waiting[key].launch
            other = dataclasses.replace(launch, limits={**launch.limits, "nofile": 5})
            node._waiting[key] = dataclasses.replace(node._waiting[key], launch=other)
        elif how == "another environment":
            exchange(the_ground.home.environment(ENVIRONMENT))
        instance = handled(the_ground, 4, config={"COLOUR": "red"} if how == "another variable" else {"COLOUR": "blue"})
        node.start(key, on_line)
        environ, argv, _cwd, parent = get(the_ground.socket(instance), "/")[1]
        assert "dae.runtime.warm" not in argv
        assert (environ["DAE_RELEASE"], environ["COLOUR"]) == ("v4", "red" if how == "another variable" else "blue")
        assert (parent == pid) is (how == "another variable")  # the process began afresh
    assert supervised(node, key)
    node.stop([key], 5)


def exchange(folder: Path) -> None:
    """Have a copy in a folder's place."""
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside, symlinks=True)
    folder.rename(folder.with_name("old"))
    aside.rename(folder)
    shutil.rmtree(folder.with_name("old"))


def test_nothing_to_warm(the_ground: Ground, node: Node, on_line: OnLine) -> None:
    """What is not served by gunicorn waits for its release; so does what runs already."""
    the_ground.release("plainly", WEB)
    with warmed(node, "plainly.dev.v2.web.1", like=1) as pid:
        assert not pid
    instance = handled(the_ground, 5)
    node.start(instance.key, on_line)
    before = supervised(node, instance.key)
    with warmed(node, instance.key, like=5):
        assert supervised(node, instance.key) == before
    assert supervised(node, instance.key) == before
    node.stop([instance.key], 5)
