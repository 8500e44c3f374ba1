"""Under load a redeploy is not noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.blackbox.project import Platform, Project

REPOSITORY = Path(__file__).parents[2]


def test_ten_redeploys_lose_no_request(platform: Platform, tmp_path: Path) -> None:
    """200 requests/s of GET and POST through the router during ten redeploys: each is answered with 200."""
    project = Project.create(platform, tmp_path / "load", "load")
    project.pushed("v0")
    load = subprocess.Popen(
        [sys.executable, "-m", "benchmarks._load", "--port", str(platform.port), "--host", "load.dev.localhost",
         "--rate", "200", "--seconds", "300", "--json", "-"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        for number in range(1, 11):
            project.pushed(f"v{number}")
    finally:
        out, _ = load.communicate("stop\n", timeout=60)
    report = json.loads(out)
    assert report["failed"] == {}, report
    assert report["answered"] > 500, report
    assert project.get()[2] == b"v10"
