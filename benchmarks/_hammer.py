"""As many requests as a server takes on 32 kept connections: wrk where it is installed, else a loop of our own.

Loopback only, bounded in time. As a program: ``_hammer.py PORT PATH SECONDS NAME:VALUE...`` prints what it saw.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

CONNECTIONS = 32
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Seen:
    """Requests a second, the 99th percentile in milliseconds, and how many were no 200."""

    rate: float
    p99: float
    failed: int


def hammer(port: int, path: str, seconds: float, headers: Mapping[str, str]) -> Seen:
    """GET the path again and again."""
    if shutil.which("wrk"):
        return _wrk(port, path, seconds, headers)
    pairs = [f"{name}:{value}" for name, value in headers.items()]
    argv = [sys.executable, __file__, str(port), path, str(seconds), *pairs]
    return Seen(**json.loads(subprocess.run(argv, capture_output=True, check=True, text=True).stdout))


def _wrk(port: int, path: str, seconds: float, headers: Mapping[str, str]) -> Seen:
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--latency"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    text = subprocess.run([*argv, f"http://127.0.0.1:{port}{path}"], capture_output=True, check=True, text=True).stdout
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", text)
    failed = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return Seen(float(rate[1]) if rate else 0.0, float(p99[1]) * _UNITS[p99[2]] if p99 else 0.0, failed)


def _main(port: int, path: str, seconds: float, headers: list[str]) -> None:
    import gevent
    from gevent import socket

    lines = "".join(f"{name}: {value}\r\n" for name, _, value in (pair.partition(":") for pair in headers))
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()
    end = time.monotonic() + seconds
    times: list[float] = []
    failed = 0

    def work() -> None:
        nonlocal failed
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
            connection.makefile("rb") as answer,
        ):
            while (start := time.monotonic()) < end:
                connection.sendall(request)
                failed += b" 200 " not in answer.readline()
                length = 0
                while (line := answer.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answer.read(length)
                times.append(time.monotonic() - start)

    gevent.joinall([gevent.spawn(work) for _ in range(CONNECTIONS)], timeout=seconds + 30)
    times.sort()
    p99 = times[int(len(times) * 0.99)] * 1000 if times else 0.0
    print(json.dumps({"rate": len(times) / seconds, "p99": p99, "failed": failed}))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:])
