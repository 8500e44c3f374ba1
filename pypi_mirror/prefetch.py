"""The metadata of wheels that resolvers are likely to ask about, fetched before they do, in the background."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection

from packaging.tags import platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from core.errors import DaeError
from pypi_mirror.model import File, Project

VERSIONS = 2  # the newest ones: what most requirements end at
WHEELS = 3  # of each version; resolvers ask about one
WAITING = 256  # projects; more are let go
WORKERS = 2
DELAY = 1.0  # who got a page without metadata asks for the wheel itself; that is not to be fetched twice

log = logging.getLogger("dae.mirror")


def candidates(project: Project, platforms: Collection[str]) -> list[File]:
    """The wheels that fit one of ``platforms``, of the newest versions that are neither pre-releases nor yanked."""
    found: dict[str, list[File]] = {}
    for file in project.files:
        if file.is_wheel and file.yanked is False and file.filename.count("-") >= 4:
            found.setdefault(file.filename.split("-")[1], []).append(file)
    chosen: list[File] = []
    left = VERSIONS
    for version in sorted(found, key=_finished, reverse=True):  # names are read whole only as far as need be
        fitting = [file for file in found[version] if _fits(file.filename, platforms)]
        chosen += fitting[-WHEELS:]
        left -= bool(fitting)
        if not left or _finished(version) == _NONE:
            break
    return chosen


_NONE = Version("0.dev0")


def _finished(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion:
        return _NONE
    return _NONE if version.is_prerelease else version


def _fits(filename: str, platforms: Collection[str]) -> bool:
    try:
        _name, version, _build, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion):
        return False
    return not version.is_prerelease and any(tag.platform == "any" or tag.platform in platforms for tag in tags)


class Prefetch:
    """Goes through projects whose pages have come, one soon after the other. What goes wrong is left for who asks."""

    def __init__(self, get: Callable[[str], None]) -> None:
        """``get``: have the metadata of this project's candidates here."""
        self._get = get
        self._waiting: queue.Queue[tuple[float, str]] = queue.Queue(WAITING)
        for _ in range(WORKERS):
            threading.Thread(target=self._run, daemon=True).start()

    def after(self, name: str) -> None:
        """The project's page has just come."""
        try:
            self._waiting.put_nowait((time.monotonic() + DELAY, name))
        except queue.Full:
            log.info("too many pages at once: metadata of %s is not fetched before it is asked for", name)

    def _run(self) -> None:
        while True:
            due, name = self._waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._get(name)
            except DaeError as error:
                log.info("metadata of %s was not fetched: %s", name, error.cause)
            except Exception:
                log.exception("metadata of %s could not be fetched", name)


def own_platforms() -> frozenset[str]:
    """What this machine's Pythons install."""
    return frozenset(platform_tags())
