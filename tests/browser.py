"""A real browser for tests: Chromium by the WebDriver protocol (W3C), which is JSON over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # by which the protocol knows an element


class RefusedError(Exception):
    """The browser could not do what it was asked."""


class Browser:
    """One window. ``find`` waits for what a CSS selector names."""

    def __init__(self, port: int, profile: str) -> None:
        self._port = port
        self._session = ""
        options = {"args": [*ARGUMENTS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        logs = {"browser": "ALL", "performance": "ALL"}
        wish = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self._session = self._ask("POST", "", {"capabilities": wish})["sessionId"]

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    @property
    def address(self) -> str:
        return str(self._ask("GET", "/url"))

    def find(self, selector: str) -> str:
        deadline = time.monotonic() + SECONDS
        while not (found := self._ask("POST", "/elements", {"using": "css selector", "value": selector})):
            assert time.monotonic() < deadline, f"there is no {selector}"
            time.sleep(0.05)
        return str(found[0][_ELEMENT])

    def text(self, selector: str) -> str:
        return str(self._ask("GET", f"/element/{self.find(selector)}/text"))

    def follow(self, selector: str) -> None:
        """Click what leads to another page, and wait until that is there: the old one's elements answer for a while."""
        self.run("window.left = true")
        self._ask("POST", f"/element/{self.find(selector)}/click", {})
        deadline = time.monotonic() + SECONDS
        while not self._arrived():
            assert time.monotonic() < deadline, f"{selector} leads nowhere"
            time.sleep(0.05)

    def _arrived(self) -> bool:
        try:
            return bool(self.run("return !window.left && document.readyState == 'complete'"))
        except RefusedError:  # in between there is no document
            return False

    def type(self, selector: str, text: str) -> None:
        self._ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def run(self, script: str) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def narrow(self, width: int, height: int = 800) -> None:
        """Have the page as wide as a telephone: a window of Chromium is never that narrow."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def dark(self) -> None:
        """Prefer dark colours from now on."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})

    def console(self) -> list[str]:
        """What was said there since the last look."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        """The addresses that were asked for since the last look."""
        entries = self._ask("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            whole = f"/session/{self._session}{path}".rstrip("/")
            data = None if body is None else json.dumps(body)
            connection.request(method, whole, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
            if response.status != 200:
                raise RefusedError(value)
            return value
        finally:
            connection.close()


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own; skips where none is installed (``make test`` as root installs one)."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("no browser is here; as root, type: apt-get install -y chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="db") as profile:
        process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        with process:
            try:
                assert process.stdout
                found = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in process.stdout)))
                window = Browser(int(found[1]), profile)
                yield window
                window.close()
            finally:
                process.terminate()
