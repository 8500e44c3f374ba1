"""A load of requests at a fixed rate: GET / and POST /echo in turn, over keep-alive connections.

Open loop: a request is due at its time whether or not the ones before it were answered, so that a pause of the server
is seen as what it is. A kept connection that the server closed while it was idle is opened anew before a request is
sent, as every HTTP client does (RFC 9112, section 9.5); one that is lost with a request in flight is a failure. Ends
after ``--seconds`` or when a line arrives on standard input. Loopback only.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import http.client  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import gevent.event  # noqa: E402
import gevent.queue  # noqa: E402
from urllib3.util.wait import wait_for_read  # noqa: E402

CONNECTIONS = 32


class Load:
    """Counts what it saw: ``answered`` (200 with the right body), ``failed`` (what went wrong -> how often)."""

    def __init__(self, port: int, host: str, rate: int) -> None:
        self.port, self.host, self.rate = port, host, rate
        self.answered = 0
        self.failed: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.releases: dict[str, float] = {}
        self._due: Any = gevent.queue.Queue()

    def run(self, seconds: float, stop: Any) -> None:
        workers = [gevent.spawn(self._work) for _ in range(CONNECTIONS)]
        start, sent = time.monotonic(), 0
        while time.monotonic() - start < seconds and not stop.is_set():
            while sent < (time.monotonic() - start) * self.rate:
                self._due.put((time.monotonic(), sent))
                sent += 1
            gevent.sleep(1 / self.rate)
        for _ in workers:
            self._due.put(None)
        gevent.joinall(workers, timeout=30)

    def _work(self) -> None:
        connection = self._connect()
        for due, number in iter(self._due.get, None):
            if connection.sock is not None and wait_for_read(connection.sock, timeout=0):
                connection.close()  # it is opened again by the request
            try:
                self._ask(connection, number)
                self.answered += 1
                self.latencies.append(time.monotonic() - due)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed[str(error) if isinstance(error, ValueError) else type(error).__name__] += 1
                connection.close()
                connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        body = f"request {number}".encode()
        post = number % 2 == 1
        connection.request(
            "POST" if post else "GET", "/echo" if post else "/", body if post else None, {"Host": self.host}
        )
        response = connection.getresponse()
        data = response.read()
        if response.status != 200 or (post and data != body):
            raise ValueError(f"status {response.status}")
        release = response.getheader("X-DAE-Release", "")
        self.releases.setdefault(release, time.monotonic())

    def report(self) -> dict[str, Any]:
        ordered = sorted(self.latencies) or [0.0]
        return {
            "answered": self.answered,
            "failed": dict(self.failed),
            "releases": len(self.releases),
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 1),
            "max_ms": round(ordered[-1] * 1000, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", default="-", help="file for the report; - is standard output")
    arguments = parser.parse_args()
    load = Load(arguments.port, arguments.host, arguments.rate)
    stop = gevent.event.Event()

    def wait_for_line() -> None:
        if gevent.get_hub().threadpool.apply(sys.stdin.readline):
            stop.set()

    if not sys.stdin.isatty():
        gevent.spawn(wait_for_line)
    load.run(arguments.seconds, stop)
    text = json.dumps(load.report())
    if arguments.json == "-":
        print(text)
    else:
        Path(arguments.json).write_text(text)


if __name__ == "__main__":
    main()
