"""An nginx with copies of what the platform serves, as plain files: what no server of an index can be quicker than."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _bench
from benchmarks._bench import OwnPlatform
from benchmarks._hammer import hammer
from benchmarks._index import JSON_TYPE

HTML, JSON = {"Accept": "text/html"}, {"Accept": JSON_TYPE}
GZIP = {"Accept-Encoding": "gzip"}
FORMS = {"HTML": HTML, "HTML gzip": HTML | GZIP, "JSON": JSON, "JSON gzip": JSON | GZIP}
HERE = "127.0.0.1"


NGINX = """\
USER
worker_processes 2;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log warn;
events { worker_connections 4096; }
http {
    default_type application/octet-stream;
    client_body_temp_path FOLDER/t; proxy_temp_path FOLDER/t; fastcgi_temp_path FOLDER/t;
    uwsgi_temp_path FOLDER/t; scgi_temp_path FOLDER/t;
    sendfile on; tcp_nopush on; keepalive_timeout 75s; server_tokens off; gzip_static on;
    log_format dae escape=json '{"time":"$time_iso8601","from":"$remote_addr","host":"$host",'
        '"method":"$request_method","path":"$request_uri","status":$status,"bytes":$body_bytes_sent,'
        '"seconds":$request_time,"upstream":"","app":"","stage":"","release":"","id":"$request_id"}';
    access_log FOLDER/access.log dae buffer=32k flush=1s;
    map $http_accept $page { default index.html; "~json" index.json; }
    types { text/html html; application/vnd.pypi.simple.v1+json json; }
    server {
        listen 127.0.0.1:PORT;
        root FOLDER/www;
        add_header Vary "Accept, Accept-Encoding";
        location ~ "^/pypi/simple/[a-z0-9-]+/$" { rewrite ^ $uri$page break; }
    }
}
"""


def ask(
    port: int, path: str, headers: Mapping[str, str] | None = None, seconds: float = 60
) -> tuple[int, bytes, float]:
    """Status, body, and seconds until the first byte of it."""
    connection = http.client.HTTPConnection(HERE, port, timeout=seconds)
    try:
        start = time.perf_counter()
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        first = answer.read(1)
        took = time.perf_counter() - start
        return answer.status, first + answer.read(), took
    finally:
        connection.close()


@contextmanager
def static_copy(platform: OwnPlatform, names: list[str], files: list[str]) -> Iterator[int]:
    """An nginx that serves what the platform serves for these pages and files, as plain files; its port."""
    folder = platform.folder / "static"
    for name in names:
        page = folder / "www/pypi/simple" / name
        page.mkdir(parents=True)
        for label, headers in FORMS.items():
            status, body, _ = ask(platform.port, f"/pypi/simple/{name}/", headers)
            if status != 200:
                raise SystemExit(f"the page of {name} answered {status}: {body[:200]!r}")
            suffix = ".gz" if "gzip" in label else ""
            (page / f"index.{label.split()[0].lower()}{suffix}").write_bytes(body)
    for path in files:
        target = folder / "www/pypi" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(ask(platform.port, f"/pypi/{path}")[1])
    port = _bench.free_port()
    text = NGINX.replace("FOLDER", str(folder)).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(text.replace("USER", "user root;" if os.geteuid() == 0 else ""))
    argv = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]
    environ = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    # A session of its own, as the platform has: on a busy machine the kernel shares cores out among sessions.
    process = subprocess.Popen(argv, env=environ, stderr=(folder / "stderr").open("wb"), start_new_session=True)
    try:
        wait(lambda: ask(port, f"/pypi/simple/{names[0]}/")[0] == 200)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait(look: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, http.client.HTTPException):
            if look():
                return
        if time.monotonic() > deadline:
            raise SystemExit("it did not come to pass in time")
        time.sleep(0.05)


def worked(master: int) -> float:
    """Seconds of CPU time that an nginx's workers have had."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == master:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Side:
    """One of the two nginx, and what was seen of it: requests a second, p99, microseconds of CPU time a request."""

    port: int
    master: int
    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def load(self, path: str, seconds: float, headers: dict[str, str]) -> None:
        before = worked(self.master)
        seen = hammer(self.port, path, seconds, headers)
        if seen.failed:
            raise SystemExit(f"{seen.failed} answers for {path} with {headers} were no 200")
        self.rates.append(seen.rate)
        self.p99s.append(seen.p99)
        self.costs.append((worked(self.master) - before) / (seen.rate * seconds) * 1e6)
