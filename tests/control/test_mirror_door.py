"""The mirror, asked by control."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from control import mirror_door
from core.paths import Home


def test_a_mirror_that_does_not_answer_is_asked_once(tmp_path: Path) -> None:
    """A push of many packages does not wait for it again and again: what is known of vulnerabilities is advice."""
    home, asked = Home(tmp_path), list[bytes]()
    home.socket("mirror").parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(home.socket("mirror")))
        door.listen()

        def hang_up() -> None:
            while True:
                try:
                    connection = door.accept()[0]
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        assert list(mirror_door.warnings(home, "", [(f"p{n}", "1.0") for n in range(100)])) == []
        door.shutdown(socket.SHUT_RDWR)
        thread.join(60)
    assert len(asked) == 1
    assert asked[0].startswith(b"GET /mirror/known?of=p0%3D%3D1.0&")
