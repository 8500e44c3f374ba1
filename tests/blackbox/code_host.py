"""A host of code on loopback: git repositories over smart HTTP (git's own server), files, redirects, and worse."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

PERSON = {f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *args: str) -> str:
    environ = {**os.environ, **PERSON, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *args], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """A client that goes away is part of the tests."""


class CodeHost:
    """Serves the bare repositories in ``folder``, ``files`` (path -> bytes), ``redirects`` (path -> address).

    A path below ``/hang/`` never gets an answer. ``asked``: each request with its Authorization.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def commit(self, name: str, files: dict[str, str], links: dict[str, str] | None = None) -> str:
        """Put a commit of these files into the repository ``/team/NAME.git``; returns its name."""
        work, bare = self.folder / f"{name}.work", self.folder / "team" / f"{name}.git"
        if not work.exists():
            work.mkdir(parents=True)
            git(work, "init", "--quiet", "--initial-branch=main")
            git(work, "init", "--quiet", "--bare", str(bare))
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        for path, goal in (links or {}).items():
            (work / path).symlink_to(goal)
        git(work, "add", "-A")
        git(work, "commit", "--quiet", "--allow-empty", "-m", "more")
        git(work, "push", "--quiet", str(bare), "main")
        return git(work, "rev-parse", "HEAD")

    def _backend(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            "REQUEST_METHOD": handler.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], env=environ, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        handler.send_response(int(headers.pop("Status", "200").split()[0]))
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _handler(host) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 - 'self' is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                host.asked.append((path, self.headers.get("Authorization", "")))
                if path.startswith("/hang/"):
                    host._closing.wait(120)
                elif target := next((t for p, t in host.redirects.items() if path.startswith(p)), None):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif ".git/" in path:
                    host._backend(self)
                else:
                    found = host.files.get(path)
                    self.send_response(404 if found is None else 200)
                    self.send_header("Content-Length", str(len(found or b"")))
                    self.end_headers()
                    self.wfile.write(found or b"")

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *args: object) -> None:
                pass

        return Handler
