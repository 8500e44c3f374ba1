"""A mirror with users, and forms to send to it."""

from __future__ import annotations

import base64
import http.client
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from control import accounts, index_tokens
from control.accounts import Identity
from core.nouns import now
from core.paths import Home
from core.store import AppRow, Store
from tests.pypi_mirror.mirror_process import DEADLINE, Answer, MirrorProcess

BOUNDARY = "b0undary"


class Ground:
    """A home whose database has ``root`` (an administrator), ``ann`` and ``bob`` (an app each), ``eve`` (none)."""

    def __init__(self, home: Path, start: Callable[[], MirrorProcess]) -> None:
        self.home = Home(home)
        self.home.database.parent.mkdir(parents=True, exist_ok=True)
        self.store = Store.at(self.home.database)
        self.store.migrate()
        self.tokens = {name: accounts.add_user(self.store, name, admin=name == "root") for name in USERS}
        with self.store.write() as session:
            for owner in ("ann", "bob"):
                session.add(AppRow(name=f"app-{owner}", owner=owner, next_release=1, created=now()))
        self.mirror = start()

    def project_token(self, user: str, project: str, *actions: str) -> str:
        made = index_tokens.create(self.store, Identity(user, user == "root"), project, actions)
        return str(made["token"])

    def upload(self, path: Path | tuple[str, bytes], who: str = "ann", **fields: str) -> Answer:
        """Upload a file as a user, or with the token that ``who`` is."""
        name, content = (path.name, path.read_bytes()) if isinstance(path, Path) else path
        fields = {":action": "file_upload", "protocol_version": "1", **fields}
        return self.post(form(fields, name, content), basic("__token__", self.tokens.get(who, who)))

    def post(self, body: bytes, headers: Mapping[str, str], path: str = "/pypi/") -> Answer:
        return post(self.mirror.port, body, headers, path)

    def temporary(self) -> list[Path]:
        """The files that are being written."""
        return list((self.home.mirror / "tmp").iterdir())


def post(port: int, body: bytes, headers: Mapping[str, str], path: str = "/pypi/") -> Answer:
    """Send a form to a server on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        connection.request("POST", path, body, {"Content-Type": kind, **headers})
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


USERS = ("root", "ann", "bob", "eve")


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def form(fields: Mapping[str, str], filename: str, content: bytes) -> bytes:
    """A form as clients send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    return ("".join(parts) + head).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def sdist_bytes(name: str, version: str = "1.0", *extra: tarfile.TarInfo, info: str = "") -> bytes:
    """An sdist with PKG-INFO, and whatever else is put into it."""
    text = (info or f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n").encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
        for other in extra:
            archive.addfile(other, io.BytesIO(bytes(other.size)))
    return stream.getvalue()
