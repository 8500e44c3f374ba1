"""From settings to nginx's configuration: file names and texts, nothing else. nginx 1.22 or later.

It does not depend on which apps there are: hosts are links on disk (``router.links``), which nginx resolves by itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from core.config import Settings
from core.paths import Home
from router.quoting import address, check_home, word
from router.templates import APPS, COMMON, INDEX, MAIN, MIME_TYPES, PAGE, PLATFORM


def render(settings: Settings, home: Home, generation: str, *, root: bool | None = None) -> dict[str, str]:
    """The files of one generation, by name; ``nginx.conf`` includes the others from its own folder.

    ``root``: does nginx's master run as root (default: does this process)? Raises ``router/invalid`` for values that
    may not stand there, ``settings/invalid`` for the home.
    """
    check_home(home)
    root = os.geteuid() == 0 if root is None else root
    listen = address(settings.listen, settings.port)
    return {
        "nginx.conf": _main(settings, home, generation, root),
        "mime.types": MIME_TYPES,
        "common.conf": COMMON,
        "platform.conf": _platform(settings, home),
        "index.conf": _fill(INDEX, {"FILES": home.mirror / "files"}),
        "page.conf": _fill(PAGE, {"PAGES": home.mirror / "pages"}),
        "apps.conf": _fill(APPS.replace("@LISTEN@", listen), {"LIVE": home.live}),
    }


def _main(settings: Settings, home: Home, generation: str, root: bool) -> str:
    values = {
        "GENERATION": generation,
        "USER": settings.www_account,
        "PID": home.agent_state / "nginx.pid",
        "TMP": home.router / "tmp",
        "LOGS": home.logs,
    }
    text = MAIN if root else "".join(line for line in MAIN.splitlines(True) if not line.startswith("user "))
    return _fill(text, values)


def _platform(settings: Settings, home: Home) -> str:
    names = ["localhost", "127.0.0.1", settings.host]
    if settings.listen not in ("0.0.0.0", "::") and ":" not in settings.listen:  # noqa: S104 - compared only
        names.append(settings.listen)
    values = {
        "CONTROL": home.socket("control"),
        "RECEIVER": home.socket("receiver"),
        "MIRROR": home.socket("mirror"),
        "INDEX": home.socket("index"),
        "LOGS": home.logs,
    }
    text = PLATFORM.replace("@LISTEN@", address(settings.listen, settings.port))
    return _fill(text.replace("@NAMES@", " ".join(word(name) for name in dict.fromkeys(names))), values)


def _fill(text: str, values: Mapping[str, object]) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", word(value))
    return text
