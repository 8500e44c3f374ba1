"""A small real package index on loopback: wheels and source distributions made here, served over plain http."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Sequence


def wheel(
    name: str, version: str, *, requires: Sequence[str] = (), script: str = "", body: str = ""
) -> tuple[str, bytes]:
    """A pure wheel of one module (file name, bytes); ``script`` is a console script that calls its ``main``."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    code = body or f"import sys\nVERSION = {version!r}\ndef main():\n    print({name!r}, VERSION, sys.prefix)\n"
    files = {
        f"{module}.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {module}:main\n"
    record = "".join(f"{path},sha256={_record_hash(text)},{len(text.encode())}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{module}-{version}-py3-none-any.whl", buffer.getvalue()


def _record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def source_distribution(name: str, version: str, files: dict[str, str]) -> tuple[str, bytes]:
    """A source distribution (file name, bytes) of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", buffer.getvalue()


def _entry(project: str, name: str, data: bytes) -> dict[str, object]:
    url = f"/files/{project}/{name}"
    return {"filename": name, "url": url, "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}


class Index:
    """Serves ``files`` (project -> file name -> bytes); with ``down`` set every answer is a 503."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.down = False
        self.json = False  # pages in JSON (PEP 691)
        self.tags = True  # pages have an ETag, and are not sent to who has them
        self.asked: list[str] = []
        self.sent = 0  # bytes of pages and files
        self.why: dict[str, bytes] = {}  # what it says of the files that it hides, by project
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple/"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def add(self, project: str, file: tuple[str, bytes]) -> None:
        self.files.setdefault(project, {})[file[0]] = file[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> bytes | None:
        words = path.strip("/").split("/")
        if words[0] == "simple" and len(words) == 2 and words[1] in self.files:
            if self.json:
                return json.dumps(
                    {"files": [_entry(words[1], *file) for file in self.files[words[1]].items()]}
                ).encode()
            links = [
                f'<a href="/files/{words[1]}/{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>\n'
                for name, data in self.files[words[1]].items()
            ]
            return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        if words[0] == "files" and len(words) == 3:
            return self.files.get(words[1], {}).get(words[2])
        return None

    def _handler(index) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805 - 'self' is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                index.asked.append(f"{self.command} {self.path}")
                path, _, query = self.path.partition("?")
                reasons = index.why.get(path.strip("/").rpartition("/")[2]) if query == "why=1" else None
                body = None if index.down else reasons or index.answer(path)
                etag = f'"{hashlib.sha256(body or b"").hexdigest()[:16]}"' if index.tags and "/simple" in path else ""
                same = body is not None and bool(etag) and self.headers.get("If-None-Match") == etag
                body = b"" if same else body
                self.send_response(503 if index.down else 404 if body is None else 304 if same else 200)
                if etag:
                    self.send_header("ETag", etag)
                page = "application/vnd.pypi.simple.v1+json" if index.json else "text/html"
                page = "text/plain" if reasons else page
                self.send_header("Content-Type", page if "/simple" in self.path else "application/octet-stream")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    index.sent += len(body or b"")
                    self.wfile.write(body or b"")

            do_HEAD = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *args: object) -> None:
                pass

        return Handler


#: A source distribution whose own back end makes a wheel with nothing but the standard library.
PLAIN = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n",
    "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n",
    "backend.py": """
import pathlib, zipfile

INFO = "plain-1.0.dist-info"
FILES = {
    "plain.py": "VERSION = '1.0'\\n",
    INFO + "/METADATA": "Metadata-Version: 2.1\\nName: plain\\nVersion: 1.0\\n",
    INFO + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as archive:
        for path, text in FILES.items():
            archive.writestr(path, text)
        archive.writestr(INFO + "/RECORD", "".join(f"{path},,\\n" for path in FILES) + INFO + "/RECORD,,\\n")
    return name
""",
}


def populated() -> Index:
    """An index with stand-ins for what every environment gets, and a few packages that depend on one another."""
    index = Index()
    for name, version in (
        ("gunicorn", "22.0.0"),
        ("gunicorn", "21.2.0"),
        ("gevent", "24.10.1"),
        ("packaging", "24.0"),
        ("dae", "0.1.0"),
    ):
        index.add(name, wheel(name, version, script="dae" if name == "dae" else ""))
    index.add("shapes", wheel("shapes", "1.0", requires=["colours>=1"], script="shapes"))
    index.add(
        "shapes", wheel("shapes", "2.0", requires=["colours>=2", "ancient; python_version < '3'"], script="shapes")
    )
    index.add("colours", wheel("colours", "1.5"))
    index.add("colours", wheel("colours", "2.5", body="def fail():\n    raise ValueError('red')\n"))
    index.add("colours", ("colours-2.5-cp27-none-win32.whl", b"for another system"))
    index.add("needs-old", wheel("needs-old", "1.0", requires=["colours<2"]))
    broken = {"PKG-INFO": "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n"}
    backend = "def build_wheel(*a, **k):\n    raise SystemExit('broken on purpose')\n"
    backend += "prepare_metadata_for_build_wheel = build_wheel\n"
    broken["pyproject.toml"] = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    broken["backend.py"] = backend
    index.add("broken", source_distribution("broken", "1.0", broken))
    index.add("plain", source_distribution("plain", "1.0", PLAIN))
    return index
