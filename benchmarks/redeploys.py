#!/usr/bin/env python3
"""Ten redeploys under a load of 200 requests/s through the router: what fails, and how long each takes.

The load is open-loop, GET and POST in turn over kept connections (benchmarks/_load.py). Runs alone from a fresh clone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _bench
from benchmarks._bench import OwnPlatform, Row, median, row

RATE = 200
APP = """\
from flask import Flask, request

app = Flask(__name__)
app.route("/")(lambda: "version {version}")
app.route("/echo", endpoint="echo", methods=["POST"])(lambda: request.get_data())
"""
HOST = "load.dev.localhost"


def push(platform: OwnPlatform, folder: Path, version: int) -> float:
    """Seconds from the push to the first page of the new release."""
    (folder / "app.py").write_text(APP.replace("{version}", str(version)))
    platform.git("add", "-A", cwd=folder)
    platform.git("commit", "--quiet", "-m", f"version {version}", cwd=folder)
    start = time.perf_counter()
    platform.git("push", "--quiet", "dae", "master", cwd=folder)
    platform.wait_served(HOST, f"version {version}".encode())
    return time.perf_counter() - start


def measure(platform: OwnPlatform, times: int) -> list[Row]:
    folder = platform.folder / "load"
    folder.mkdir()
    platform.git("init", "--quiet", "--initial-branch=master", cwd=folder)
    (folder / "app.yaml").write_text("handlers:\n- url: /.*\n  wsgi_app: app:app\n")
    (folder / "pip-req.txt").write_text("flask\n")
    platform.dae("create", "load", cwd=folder)
    push(platform, folder, 0)
    argv = [str(_bench.PYTHON), "-m", "benchmarks._load", "--port", str(platform.port), "--host", HOST]
    load = subprocess.Popen(
        [*argv, "--rate", str(RATE), "--seconds", "600"],
        cwd=_bench.REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        seconds = [push(platform, folder, number) for number in range(1, times + 1)]
    finally:
        report = json.loads(load.communicate("stop\n", timeout=60)[0])
    failed = sum(report["failed"].values())
    return [
        row(f"failed of {report['answered'] + failed} requests in {times} redeploys", failed, "", most=0),
        row("redeploy under load, pushed -> served, shortest", min(seconds), "s"),
        row("redeploy under load, pushed -> served, median", median(seconds), "s"),
        row("redeploy under load, pushed -> served, longest", max(seconds), "s"),
        row("a request's time, median", report["p50_ms"], "ms"),
        row("a request's time, 99th percentile", report["p99_ms"], "ms"),
        row("a request's time, longest", report["max_ms"], "ms"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="also write the rows there")
    parser.add_argument("--quick", action="store_true", help="three redeploys")
    arguments = parser.parse_args()
    with OwnPlatform() as platform:
        rows = measure(platform, 3 if arguments.quick else 10)
    _bench.print_table(f"redeploys under {RATE} requests/s", rows)
    if arguments.json:
        _bench.write_json(arguments.json, rows)


if __name__ == "__main__":
    _bench.ensure_environment()
    main()
