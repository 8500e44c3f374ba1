#!/usr/bin/env python3
"""The package index against nginx with static copies of the same bytes, and against upstream without it.

All of it in one run, on one machine: a real platform whose upstream is a model that counts, an nginx of the benchmark's
own with copies of what the platform serves, and devpi and proxpi where they can be installed. Runs alone from a fresh
clone, for at most six minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _bench
from benchmarks._bench import OwnPlatform, Row, median
from benchmarks._hammer import hammer
from benchmarks._index import FILES, TREE, Index
from benchmarks._rivals import PACKAGES, rival
from benchmarks._static import FORMS, HERE, JSON, Side, ask, static_copy

STARTED = time.monotonic()


def against(metric: str, value: float, unit: str, reference: float, least: float | None, *, most: bool = False) -> Row:
    """A row whose ratio to the reference is to be at least ``least``, or at most."""
    ratio = value / reference if reference else 0.0
    sign = "<=" if most else ">="
    ok = None if least is None else (ratio <= least if most else ratio >= least)
    target = "" if least is None else f"{sign} {least:g}x"
    return Row(metric, round(value, 3), unit, round(reference, 3), round(ratio, 3), target, ok)


def bound(metric: str, value: float, unit: str, most: float) -> Row:
    return Row(metric, round(value, 3), unit, None, None, f"<= {most:g}", value <= most)


def warm(platform: OwnPlatform, static: int, wheels: dict[str, str], seconds: float, rounds: int) -> Iterator[Row]:
    """Requests a second of both, in turn, so that what else the machine does meets both."""
    cases = [(f"{name} {form}", f"/pypi/simple/{name}/", headers, 0.9)
             for name in ("flask", "boto3") for form, headers in FORMS.items()]  # fmt: skip
    cases += [(".metadata", f"/pypi/{wheels['small']}.metadata", {}, 0.9)]
    cases += [
        ("0.1 MB wheel", f"/pypi/{wheels['small']}", {}, 0.9),
        ("17 MB wheel", f"/pypi/{wheels['large']}", {}, 0.95),
    ]
    if rounds == 1:
        cases = [case for case in cases if case[0] in ("flask JSON gzip", "boto3 JSON gzip", "0.1 MB wheel")]
    masters = [int(path.read_text()) for path in
               (platform.home / "run/agent/nginx.pid", platform.folder / "static/nginx.pid")]  # fmt: skip
    slowest = ("", 0.0, 0.0)
    for label, path, headers, least in cases:
        ours, theirs = Side(platform.port, masters[0]), Side(static, masters[1])
        for _ in range(rounds):
            theirs.load(path, seconds, headers)
            ours.load(path, seconds, headers)
        yield against(f"warm, 32 connections: {label}", median(ours.rates), "1/s", median(theirs.rates), least)
        cost = median(ours.costs), median(theirs.costs)
        yield against("    nginx's CPU time for each of them", cost[0], "us", cost[1], round(1 / least, 2), most=True)
        if label.startswith("flask") and median(ours.p99s) > slowest[1]:
            slowest = (label, median(ours.p99s), median(theirs.p99s))
    label, mine, reference = slowest
    yield Row(
        f"p99 of the slowest of them, {label}", mine, "ms", reference, round(mine / reference, 2), "<= 4", mine <= 4
    )


class Clients:
    """uv and pip without caches or settings of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "clients"
        self._folder.mkdir()

    def run(self, *argv: str) -> float:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "PIP_CONFIG_FILE": os.devnull}
        start = time.perf_counter()
        done = subprocess.run(
            argv, env=environ, cwd=self._folder, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)} failed:\n{done.stderr}")
        return time.perf_counter() - start

    def uv(self, index: str, name: str) -> float:
        """Seconds to lock what the project needs."""
        (self._folder / "in.txt").write_text(name + "\n")
        argv = ["pip", "compile", "-q", "--no-config", "--no-cache", "--python", str(_bench.PYTHON)]
        return self.run(str(_bench.PYTHON.with_name("uv")), *argv, "--index-url", index, "in.txt")

    def pip(self, index: str, name: str) -> float:
        """Seconds to download the project and what it needs."""
        target = self._folder / "got"
        shutil.rmtree(target, ignore_errors=True)
        argv = ["-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "-q", "--no-cache-dir"]
        return self.run(str(_bench.PYTHON), *argv, "-d", str(target), "-i", index, name)


def clients(platform: OwnPlatform, static: int, index: Index, times: int) -> Iterator[Row]:
    runs = Clients(platform.folder)
    ours, theirs = (f"http://{HERE}:{port}/pypi/simple/" for port in (platform.port, static))
    for label, run, most in (("uv pip compile", runs.uv, 1.1), ("pip download", runs.pip, 1.05)):
        run(ours, "app"), run(theirs, "app")
        pairs = [(run(ours, "app"), run(theirs, "app")) for _ in range(times)]
        values = [median([pair[side] for pair in pairs]) for side in (0, 1)]
        yield against(f"warm {label}, 7 projects", values[0], "s", values[1], most, most=True)
    asked = index.counts.total()
    runs.pip(ours, "app")
    yield bound("requests to upstream, warm", index.counts.total() - asked, "", 0)
    index.delay = 0.03
    colds: list[tuple[float, float]] = []
    for number in range(max(2, times // 2)):
        index.tree(f"cold{number}x")
        before = index.counts.total()
        cold = runs.pip(ours, f"cold{number}x")
        asked = index.counts.total() - before
        colds.append((cold, runs.pip(index.url, f"cold{number}x")))
    values = [median([pair[side] for pair in colds]) for side in (0, 1)]
    index.delay = 0
    yield against("cold pip download, upstream 30 ms away, against direct", values[0], "s", values[1], 1.15, most=True)
    yield bound("requests to upstream, cold", asked, "", 21)


def crowd(platform: OwnPlatform, index: Index) -> Iterator[Row]:
    """50 ask at once for a wheel that is not here, of an upstream that sends 8 MB/s."""
    path = index.wheel("crowded", 17_000_000)
    index.rate = 8_000_000
    ask(platform.port, "/pypi/simple/crowded/")
    with ThreadPoolExecutor(50) as pool:
        start = time.perf_counter()
        answers = list(pool.map(lambda _: ask(platform.port, f"/pypi/{path}"), range(50)))
        took = time.perf_counter() - start
    index.rate = 0
    if {status for status, *_ in answers} != {200}:
        raise SystemExit("some of the 50 did not get the wheel")
    label = "50 clients, one cold 17 MB wheel at 8 MB/s:"
    yield bound(f"{label} fetches", index.counts["/up/crowded-1.0-py3-none-any.whl"], "", 1)
    yield bound(f"{label} the last one's first byte", max(first for *_, first in answers), "s", 0.1)
    yield Row(f"{label} all have it", round(took, 2), "s", round(17 / 8, 2), round(took / (17 / 8), 2))
    forged = index.wheel("forged", 300_000, forged=True)
    ask(platform.port, "/pypi/simple/forged/")
    status, *_ = ask(platform.port, f"/pypi/{forged}")
    stored = len(list((platform.home / "mirror" / "files").rglob("forged-*.whl")))
    yield bound("a wheel with a wrong hash: answers of 200, and files stored", (status == 200) + stored, "", 0)


def memory(platform: OwnPlatform) -> Iterator[Row]:
    """Megabytes of the mirror's processes after the largest pages."""
    for name in ("boto3", "numpy", "grpcio"):
        for form in FORMS.values():
            ask(platform.port, f"/pypi/simple/{name}/", form)
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environ = (process / "environ").read_bytes().split(b"\0")
            if f"DAE_HOME={platform.home}".encode() in environ and b"pypi_mirror" in (process / "cmdline").read_bytes():
                total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    yield bound("memory of the mirror, boto3 + numpy + grpcio hot", total / 2**20, "MB", 100)


def outages(platform: OwnPlatform, index: Index, wheel: str) -> Iterator[Row]:
    """Upstream goes away, the platform is started anew, and every page has expired."""
    platform.dae("down")
    platform.env["DAE_INDEX_TTL"] = "1"
    platform.dae("up")
    ask(platform.port, "/pypi/simple/flask/")
    for number, mood in enumerate(("refused", "hang", "503")):
        index.mood = "ok"
        ask(platform.port, "/pypi/simple/flask/", JSON)
        time.sleep(1.2)  # until the page has expired
        if mood == "refused":
            index.refuse()
        else:
            index.mood = mood
        answers = [ask(platform.port, "/pypi/simple/flask/", JSON) for _ in range(10)]
        answers.append(ask(platform.port, f"/pypi/{wheel}"))
        ok = {status for status, *_ in answers} == {200}
        worst = max(first for *_, first in answers) * 1000
        label = f"outage ({mood}):"
        yield Row(
            f"{label} cached page and file, the slowest",
            round(worst, 1),
            "ms",
            None,
            None,
            "<= 50, 200",
            ok and worst <= 50,
        )
        status, _, first = ask(platform.port, f"/pypi/simple/never-seen-{number}/")
        yield Row(
            f"{label} unknown page is {status} after",
            round(first, 2),
            "s",
            None,
            None,
            "<= 3, 503",
            status == 503 and first <= 3,
        )
        if mood == "refused":
            index.listen()
        index.mood = "ok"
        time.sleep(5.2)  # until upstream is asked again


def rivals(platform: OwnPlatform, index: Index, static: int, seconds: float) -> Iterator[Row]:
    """The other servers, on the same pages, and with the same clients."""
    runs = Clients(platform.folder / "static")
    ours = f"http://{HERE}:{platform.port}/pypi/simple/"
    for name in PACKAGES:
        try:
            with rival(name, platform.folder, index.url) as server:
                path = f"{server.path}flask/"
                ask(server.port, path, JSON)
                seen = hammer(server.port, path, seconds, JSON)
                reference = hammer(static, "/pypi/simple/flask/", seconds, JSON)
                yield against(f"{name}: warm flask JSON", seen.rate, "1/s", reference.rate, None)
                runs.uv(server.url, "app")
                pairs = [(runs.uv(server.url, "app"), runs.uv(ours, "app")) for _ in range(3)]
                values = [median([pair[side] for pair in pairs]) for side in (0, 1)]
                yield against(f"{name}: warm uv pip compile, against ours", values[0], "s", values[1], None)
        except (RuntimeError, SystemExit, OSError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)


def measure(platform: OwnPlatform, index: Index, quick: bool) -> Iterator[Row]:
    small, large = index.wheel("flask", 100_000), index.wheel("large", 17_000_000)
    for name, files in FILES.items():
        index.page(name, files)
    index.tree("app")
    for path in (small, large):
        ask(platform.port, f"/pypi/simple/{path.rpartition('/')[2].partition('-')[0]}/")
        ask(platform.port, f"/pypi/{path}")
    Clients(platform.folder).pip(f"http://{HERE}:{platform.port}/pypi/simple/", "app")
    shutil.rmtree(platform.folder / "clients")
    tree = [f"app{part}" for part in TREE]
    kept = platform.home / "mirror"
    copied = [str(path.relative_to(kept)) for path in (kept / "files").rglob("*")
              if path.is_file() and path.name.startswith(("app", "flask", "large"))]  # fmt: skip
    with static_copy(platform, ["flask", "boto3", "large", *tree], copied) as static:
        yield from warm(platform, static, {"small": small, "large": large}, 1, 1 if quick else 3)
        yield from clients(platform, static, index, 2 if quick else 7)
        yield from crowd(platform, index)
        yield from memory(platform)
        if not quick and in_time("other servers", 200):
            yield from rivals(platform, index, static, 1)
        if not quick and in_time("outages", 280):
            yield from outages(platform, index, small)


def in_time(what: str, seconds: float) -> bool:
    """Whether there is time for more: on a busy machine the run leaves out what is last rather than be long."""
    late = time.monotonic() - STARTED > seconds
    if late:
        print(f"{what}: left out, this machine is too busy", file=sys.stderr)
    return not late


def main() -> None:
    _bench.ensure_environment()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, and neither other servers nor outages")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    index, rows = Index(), list[Row]()
    os.environ.update(DAE_UPSTREAM=index.url, DAE_INDEX_TTL="3600", NO_PROXY=HERE)
    try:
        with OwnPlatform() as platform:
            for item in measure(platform, index, arguments.quick):
                print(f"{time.monotonic() - STARTED:4.0f} s  {item.metric}: {item.value}", file=sys.stderr)
                rows.append(item)
    finally:
        index.close()
    _bench.print_table("The package index", rows)
    if arguments.json:
        _bench.write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
