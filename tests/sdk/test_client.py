"""What the command shows of the platform's answers, and how it fails."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from dae.cli.client import connect_host
from dae.cli.output import clean
from dae.local import lockfile
from tests.sdk.conftest import DAE, Person
from tests.sdk.platform import BLOG, LIVE, Platform, ndjson
from tests.sdk.processes import free_port

DONE = {"ok": {"app": "blog", "release": "v4", "stage": "beta", "url": "http://blog.beta.localhost/"}}
RELEASE = {**LIVE, "app": "blog", "stage": "dev", "action": "rollback", "source": "v1", "state": "live", "error": ""}


def test_nobody_answers(person: Person) -> None:
    """A refused connection says what to type, on stderr, with status 1."""
    person.environ.update(DAE_URL=f"http://localhost:{free_port()}", DAE_TOKEN="t")
    done = person.dae("apps", status=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f" !     platform/not-running: nothing answers at {person.environ['DAE_URL']}\n")
    assert "make up" in done.stderr and "dae up" in done.stderr


@pytest.mark.parametrize(
    "answer, code",
    [
        ((403, {"error": "auth/forbidden", "cause": "no", "hint": "ask"}), "auth/forbidden: no\n       ask"),
        ((500, b"<html>"), "platform/bad-answer"),
        ((502, b"<html>"), "platform/not-running"),
        ((302, b""), "platform/bad-answer"),
        ((200, b"<html>"), "platform/bad-answer"),
    ],
)
def test_an_error_of_the_platform_is_one_of_ours(ann: Person, platform: Platform, answer: object, code: str) -> None:
    """Code, cause and hint arrive as they are; what is no answer of a platform is said to be none."""
    platform.answers["GET", "apps"] = answer
    assert f" !     {code}" in ann.dae("apps", status=1).stderr


def test_listings_are_tables_or_json(ann: Person, platform: Platform) -> None:
    """A table for people, the API's JSON for programs; both on stdout."""
    platform.answers["GET", "apps"] = (200, [BLOG])
    assert ann.dae("apps").stdout == (
        "APP   OWNER  DEV  BETA  STABLE  URL\nblog  ann    v3   -     -       http://blog.localhost/\n"
    )
    assert json.loads(ann.dae("apps", "--json").stdout) == [BLOG]
    platform.answers["GET", "apps/blog/releases"] = (200, [RELEASE, {**RELEASE, "stage": "beta"}])
    shown = ann.dae("releases", "-a", "blog", "-s", "dev").stdout.splitlines()
    assert len(shown) == 2
    assert shown[1].split() == [
        "v3",
        "blog",
        "dev",
        "live",
        "rollback",
        "of",
        "v1",
        "c" * 12,
        "ann",
        "2026-01-02",
        "03:04:05Z",
    ]


def test_each_listing_knows_the_apis_shape(ann: Person, platform: Platform) -> None:
    """Every reading verb shows an answer of the API without stumbling."""
    build = {"id": 7, "app": "blog", "commit": "c" * 40, "who": "ann", "state": "failed", "error": "build/failed"}
    build.update(created="2026-01-02T03:04:05", finished=None, slug="", tests="")
    instance = {"instance": "blog.dev.v3.web.1", "app": "blog", "stage": "dev", "release": "v3", "process": "web"}
    instance.update(pid="12", state="running", since="2026-01-02T03:04:05")
    event = {"id": 1, "kind": "app-created", "app": "blog", "stage": "", "who": "ann", "data": {"a": 1}, "created": ""}
    delivery = {
        "id": 1,
        "event": 1,
        "state": "done",
        "attempts": 1,
        "status": 200,
        "error": "",
        "due": "",
        "finished": "",
    }
    shapes: list[tuple[str, object, tuple[str, ...], str]] = [
        ("apps/blog/builds", [build], ("builds", "-a", "blog"), "build/failed"),
        (
            "apps/blog/builds/7",
            {**build, "log": "-----> one\ntwo\n"},
            ("builds", "-a", "blog", "7"),
            "-----> one\ntwo\n",
        ),
        ("apps/blog/ps", [instance], ("ps", "-a", "blog"), "blog.dev.v3.web.1"),
        ("apps/blog", BLOG, ("info", "-a", "blog"), "http://blog.dev.localhost/"),
        ("users", [{"user": "ann", "admin": True}], ("users",), "ann   yes"),
        ("events", [event], ("events",), '{"a": 1}'),
        ("hooks", [{"id": 1, "app": "", "url": "http://h", "created": ""}], ("hooks",), "1   (all)  http://h"),
        ("hooks/1/deliveries", [delivery], ("hooks", "deliveries", "1"), "done"),
    ]
    for path, answer, words, expected in shapes:
        platform.answers["GET", path] = (200, answer)
        assert expected in ann.dae(*words).stdout
        assert ann.dae(*words, "--json").stdout == json.dumps(answer, indent=2) + "\n"


# Where the platform is installed, as here, its own verb of that name comes first.
CLIENT_STATUS = "from dae import cli; cli.OVERRIDDEN = frozenset(); cli.main()"


def test_status_fails_when_a_part_is_down(ann: Person, platform: Platform) -> None:
    """Exit status 1, so that a script can ask."""
    agent = {"part": "agent", "ok": False, "detail": "silent"}
    platform.answers["GET", "status"] = (200, {"parts": [agent], "ok": False})
    done = ann.run([sys.executable, "-c", CLIENT_STATUS, "status"])
    assert (done.returncode, "agent  down   silent" in done.stdout) == (1, True)
    platform.answers["GET", "status"] = (200, {"parts": [{**agent, "ok": True}], "ok": True})
    assert ann.run([sys.executable, "-c", CLIENT_STATUS, "status"]).returncode == 0


def test_work_is_shown_while_it_is_done(ann: Person, platform: Platform) -> None:
    """Each line arrives as the platform writes it, on stderr, before the work has ended."""
    platform.answers["POST", "apps/blog/promote"] = ndjson(
        {"line": "-----> Promoting"}, None, {"line": "=====> done"}, DONE
    )
    argv = [str(DAE), "promote", "-a", "blog"]
    with subprocess.Popen(argv, env=ann.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stdout
        assert process.stderr.readline() == "-----> Promoting\n"
        assert process.poll() is None
        platform.go_on.set()
        assert process.stderr.read() == "=====> done\n"
        assert process.stdout.read() == ""
    assert process.returncode == 0
    assert platform.last().body == {"from": "dev", "untested": False, "dry_run": False}


@pytest.mark.parametrize("last", [{"error": "release/crashed", "cause": "it ended", "hint": "dae logs"}, None])
def test_work_that_fails_is_a_failure(ann: Person, platform: Platform, last: object) -> None:
    """An error at the end, or an end without one, is status 1."""
    messages = [{"line": "-----> Restarting"}, *([last] if last else [])]
    platform.answers["POST", "apps/blog/restart"] = ndjson(*messages)
    done = ann.dae("restart", "-a", "blog", "-s", "beta", status=1)
    assert (" !     release/crashed: it ended\n       dae logs\n" if last else "platform/bad-answer") in done.stderr
    assert platform.last().body == {"stage": "beta", "dry_run": False}


def test_a_plan_is_data(ann: Person, platform: Platform) -> None:
    """--dry-run asks for the plan and prints it; --json prints what the platform answered."""
    platform.answers["POST", "apps/blog/rollback"] = ndjson({"ok": {"plan": ["record v4", "route"]}})
    assert ann.dae("rollback", "-a", "blog", "--dry-run", "v2").stdout == "1. record v4\n2. route\n"
    assert platform.last().body == {"stage": "dev", "to": 2, "dry_run": True}
    assert json.loads(ann.dae("rollback", "-a", "blog", "--dry-run", "--json").stdout) == {
        "plan": ["record v4", "route"]
    }
    assert platform.last().body["to"] is None


def test_config_values_are_shown_on_demand_only(ann: Person, platform: Platform) -> None:
    """The list names variables; --show and get tell values; get prints the value and nothing else."""
    platform.answers["GET", "apps/blog/config"] = (200, {"KEY": "se\ncret"})
    assert "cret" not in "".join(ann.dae("config", "-a", "blog", *more).stdout for more in ([], ["--json"]))
    assert "se cret" in ann.dae("config", "-a", "blog", "--show").stdout
    assert ann.dae("config", "-a", "blog", "-s", "beta", "get", "KEY").stdout == "se\ncret\n"
    assert "stage=beta" in platform.last().path
    assert ann.dae("config", "get", "NONE", "-a", "blog", status=1).stderr.startswith(" !     config/bad-key")


def test_config_is_set_from_words_and_stdin(ann: Person, platform: Platform) -> None:
    """K=V as typed, K=- from standard input, for secrets. The app may be named before or after."""
    platform.answers["POST", "apps/blog/config"] = ndjson({"ok": {}})
    ann.dae("config", "-a", "blog", "set", "A=1=2", "B=-", "C=", stdin="line1\nline2\n")
    assert platform.last().body == {
        "stage": "dev",
        "set": {"A": "1=2", "B": "line1\nline2", "C": ""},
        "unset": [],
        "dry_run": False,
    }
    ann.dae("config", "unset", "A", "-a", "blog", "-s", "stable", "--dry-run")
    assert platform.last().body == {"stage": "stable", "set": {}, "unset": ["A"], "dry_run": True}
    for words in (["A"], ["=1"], ["A=1", "A=2"], ["A=-", "B=-"]):
        ann.dae("config", "set", *words, "-a", "blog", status=2)


def test_destroying_wants_the_name(ann: Person, platform: Platform) -> None:
    """Without --confirm and without a terminal nothing is asked of the platform; a wrong name does nothing."""
    platform.answers["DELETE", "apps/blog"] = ndjson({"line": "=====> blog is destroyed"}, {"ok": {"app": "blog"}})
    assert "--confirm blog" in ann.dae("destroy", "blog", status=1).stderr
    assert "app/confirm" in ann.dae("destroy", "blog", "--confirm", "blo", status=1).stderr
    assert platform.last().method == "GET"
    ann.dae("destroy", "blog", "--confirm", "blog")
    assert (platform.last().method, platform.last().body) == ("DELETE", {"confirm": "blog", "dry_run": False})


@pytest.mark.parametrize("typed, status", [("blog", 0), ("blgo", 1)])
def test_a_person_types_the_name(ann: Person, platform: Platform, typed: str, status: int) -> None:
    """On a terminal the command asks for the name, and takes it for the confirmation."""
    platform.answers["DELETE", "apps/blog"] = ndjson({"ok": {"app": "blog"}})
    keyboard, terminal = pty.openpty()
    os.write(keyboard, typed.encode() + b"\n")
    argv = [str(DAE), "destroy", "blog"]
    done = subprocess.run(
        argv, env=ann.environ, stdin=terminal, capture_output=True, text=True, timeout=30, check=False
    )
    os.close(keyboard)
    os.close(terminal)
    assert (done.returncode, "Type the app's name" in done.stderr) == (status, True)
    assert (platform.last().method == "DELETE") is (status == 0)


def test_logs_are_followed(ann: Person, platform: Platform) -> None:
    """Lines are shown as they come; what would drive the reader's terminal is taken out."""
    platform.answers["GET", "apps/blog/logs"] = [b"one\n", None, b"t\x1b[31mwo\x1b]0;x\x07\n"]
    argv = [str(DAE), "logs", "-f", "-a", "blog", "-p", "web"]
    with subprocess.Popen(argv, env=ann.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "one\n"
        platform.go_on.set()
        assert process.stdout.read() == "two?]0;x?\n"
        assert process.stderr.read() == "-----> blog, dev, v3: logs of web\n"
    assert platform.last().path == "/api/v1/apps/blog/logs?stage=dev&process=web&lines=100&follow=1"


def test_names_cannot_leave_their_place_in_the_address(ann: Person, platform: Platform) -> None:
    """What cannot be an app's name is refused here: it would be part of an address."""
    asked = len(platform.asked)
    done = ann.dae("info", "-a", "../users?x#y", status=1)
    assert done.stderr == " !     app/bad-name: '../users?x#y' cannot be an app's name\n       see: dae apps\n"
    assert len(platform.asked) == asked


def test_an_app_named_without_the_option_is_told_how(ann: Person) -> None:
    """``dae info blog`` is wrong usage, and the last line says how an app is named."""
    assert ann.dae("info", "blog", status=2).stderr.endswith("An app is named with -a: dae info -a APP\n")


def test_logs_without_a_line_say_so(ann: Person, platform: Platform) -> None:
    """Silence would look like a failure; standard output stays empty."""
    platform.answers["GET", "apps/blog/logs"] = []
    done = ann.dae("logs", "-a", "blog")
    assert (done.stdout, done.stderr.splitlines()[1:]) == (
        "",
        ["       no line has been written; see: dae ps -a blog -s dev"],
    )
    done = ann.dae("logs", "-a", "blog", "-s", "beta")
    assert done.stderr.endswith("nothing is live in beta\n")


def test_users_and_hooks_print_their_secret_alone(ann: Person, platform: Platform) -> None:
    """The token and the secret are the only thing on stdout: TOKEN=$(dae users add NAME)."""
    platform.answers["POST", "users"] = (201, {"user": "bob", "token": "dae_x"})
    assert ann.dae("users", "add", "bob").stdout == "dae_x\n"
    platform.answers["POST", "hooks"] = (201, {"id": 1, "app": "blog", "url": "http://h", "secret": "s"})
    assert ann.dae("hooks", "add", "http://h", "-a", "blog").stdout == "s\n"
    platform.answers["DELETE", "hooks/1"] = (200, {"id": 1})
    ann.dae("hooks", "remove", "1")


@pytest.mark.parametrize(
    "words", [["nothing"], ["ps", "-s", "prod"], ["rollback", "x3"], ["rollback", "0"], ["install"]]
)
def test_wrong_usage_is_status_2(ann: Person, words: list[str]) -> None:
    """An unknown verb, a stage that is none, a release that is none, a missing argument."""
    ann.dae(*words, status=2)


@pytest.mark.parametrize(
    "host, address",
    [("localhost", "127.0.0.1"), ("dae.localhost", "127.0.0.1"), ("notlocalhost", "notlocalhost"), ("x.org", "x.org")],
)
def test_localhost_is_this_machine(host: str, address: str) -> None:
    """glibc does not know *.localhost, so we do."""
    assert connect_host(host) == address


def test_text_of_others_is_cleaned() -> None:
    """Colours go, control characters become question marks, tabs and letters stay."""
    assert clean("a\tü\x1b[1;31mb\x1b[0m\x1b[2Jc\x00\x9b\r") == "a\tüb?[2Jc??"


def test_a_large_lock(ann: Person, platform: Platform) -> None:
    """The largest lock that a push takes arrives, and is sent again; of what is too large the largest file is named."""
    folder = ann.folder
    line = "six==1 \\\n    --hash=sha256:" + "a" * 64 + "\n"
    lock = (line * (lockfile.SIZE_CAP // len(line))).ljust(lockfile.SIZE_CAP, "\n")
    answer = ndjson({"ok": {"lock": lock, "packages": 1, "changes": []}})
    platform.answers["POST", "apps/blog/lock"] = answer
    (folder / "requirements.txt").write_text("six\n")
    for _ in range(2):
        ann.dae("lock", "-a", "blog")
        assert (folder / "dae.lock").read_text() == lock
    assert platform.last().body["files"]["dae.lock"] == lock
    (folder / "requirements.txt").write_text("six\n" + "#\n" * (lockfile.SIZE_CAP // 2 - 2))
    told = ann.dae("lock", "-a", "blog", status=1).stderr
    assert (
        "local/file: the files that describe this app are larger than 8 MiB in all; the largest is requirements.txt"
        in told
    )
    (folder / "dae.lock").write_text(lock + "x")
    assert "local/file: dae.lock is larger than 4096 KiB" in ann.dae("lock", "-a", "blog", status=1).stderr
