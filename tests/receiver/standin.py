"""A small control that speaks the internal push API: it checks out what is pushed, from quarantine, and obeys the
commit's file ``scenario``. What it made of each push is on disk, so that its successor knows it.

Run: python -m tests.receiver.standin HOME
"""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from core.errors import DaeError
from core.paths import Home
from receiver.repository import Repository

KEY = "internal key of the tests"
NO_OBJECT = "0" * 40


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    home: Home


class Handler(BaseHTTPRequestHandler):
    server: Server

    def address_string(self) -> str:
        return "hook"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        record = self.record(self.path.rpartition("/")[2])
        if self.headers["X-DAE-Internal"] != KEY or not record.exists():
            return self.answer(404, {"error": "input/unknown-path", "cause": "unknown", "hint": ""})
        return self.answer(200, json.loads(record.read_text()))

    def do_POST(self) -> None:
        if self.headers["X-DAE-Internal"] != KEY or self.path != "/internal/push":
            return self.answer(401, {"error": "auth/required", "cause": "no key", "hint": ""})
        self.push = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.note("running")
        try:
            self.deploy()
            self.note("live", line="=====> live")
            with contextlib.suppress(BrokenPipeError):
                self.send({"ok": {}})
            return None
        except DaeError as error:
            self.note("failed", **error.to_json())
            return self.send(error.to_json())
        except BrokenPipeError:
            return self.note("failed", **DaeError("push/cancelled", "the client is gone").to_json())

    def deploy(self) -> None:
        home, app = self.server.home, self.push["app"]
        (update,) = self.push["updates"]
        if (Repository(home, app).ref(update["ref"]) or NO_OBJECT) != update["old"]:
            raise DaeError("push/stale", f"{update['ref']} moved", "fetch, then push again")
        out = home.root / "out" / update["new"]
        if not out.exists():
            quarantine = Path(self.push["quarantine"])
            Repository(home, app).checkout(update["new"], out, max_bytes=1 << 28, max_files=1000, quarantine=quarantine)
        name, _, argument = (out / "scenario").read_text().partition(" ")
        self.say(f"-----> {name} for {self.push['who']}")
        getattr(self, f"scenario_{name}")(argument)
        (home.root / "live" / app).write_text(update["new"])
        with contextlib.suppress(BrokenPipeError):  # the switch is done: from here on nobody can take it back
            self.say(f"=====> {app} is live")

    def scenario_ok(self, argument: str) -> None:
        pass

    def scenario_refuse(self, argument: str) -> None:
        self.say("       \x1b[31mlooking\x07 for it")
        raise DaeError("build/unresolvable", "nothing satisfies nosuch==1", "change pip-req.txt")

    def scenario_gate(self, argument: str) -> None:
        """Beat until the test opens the gate; notice when the hook hangs up."""
        gates = self.server.home.root / "gates"
        (gates / f"{argument}.reached").touch()
        while not (gates / argument).exists():
            self.say("       beat")
            time.sleep(0.05)

    def scenario_deaf(self, argument: str) -> None:
        """Say nothing until the test opens the gate; note when the hook hangs up, and go on all the same."""
        gates = self.server.home.root / "gates"
        (gates / f"{argument}.reached").touch()
        while not (gates / argument).exists():
            if select.select([self.connection], [], [], 0.02)[0]:
                (gates / f"{argument}.left").touch()

    def scenario_die(self, argument: str) -> None:
        """Be killed in the middle; what the successor knows is the argument's."""
        if argument == "unknown":
            self.record(self.push["id"]).unlink()
        elif argument == "live":
            (update,) = self.push["updates"]
            (self.server.home.root / "live" / self.push["app"]).write_text(update["new"])
            self.note("live", line="=====> live after all")
        elif argument == "failed":
            self.note("failed", **DaeError("release/crashed", "it crashed", "see the log").to_json())
        os._exit(9)

    def record(self, push: str) -> Path:
        return self.server.home.root / "pushes" / push

    def note(self, state: str, **more: str) -> None:
        aside = self.record(self.push["id"] + ".new")
        aside.write_text(json.dumps({"state": state, **more}))
        aside.rename(self.record(self.push["id"]))

    def say(self, line: str) -> None:
        self.send({"line": line})

    def send(self, data: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(data).encode() + b"\n")

    def answer(self, status: int, data: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.send(data)


def main(home: Home) -> None:
    for folder in ("gates", "live", "out", "pushes"):
        (home.root / folder).mkdir(exist_ok=True)
    path = home.socket("control")
    path.unlink(missing_ok=True)
    server = Server(str(path), Handler)
    server.socket.listen(socket.SOMAXCONN)
    server.home = home
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])))
