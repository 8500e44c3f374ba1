"""The index behind the mirror goes away: what was served once is served on, what was not is 503 and never 404."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import RunningPlatform, bring_up
from tests.pypi_mirror.upstream_model import UpstreamModel


@pytest.fixture
def upstream() -> Iterator[UpstreamModel]:
    model = UpstreamModel()
    model.add("shapes", requires="colours")
    model.add("colours")
    model.add("never-asked-for")
    yield model
    model.close()


def install(tool: str, platform: RunningPlatform, target: Path, project: str) -> subprocess.CompletedProcess[str]:
    """Install a project as somebody outside does, from the platform's index and nothing else."""
    words = {
        "pip": [sys.executable, "-m", "pip", "--isolated", "install", "--no-cache-dir", "--retries", "0"],
        "uv": [str(Path(sys.executable).with_name("uv")), "pip", "install", "--no-config", "--no-cache"],
    }[tool]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(target.parent), "PIP_CONFIG_FILE": "/dev/null"}
    return subprocess.run(
        [*words, "--target", str(target), "--index-url", f"{platform.url}/pypi/simple/", project],
        env={**environ, "UV_HTTP_RETRIES": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_upstream_away(new_platform: Callable[[], RunningPlatform], upstream: UpstreamModel, tmp_path: Path) -> None:
    """pip and uv go on with what they had, also after a restart of the platform; the rest is 503 with Retry-After."""
    platform = new_platform()
    platform.environ["DAE_UPSTREAM"] = upstream.url
    platform.environ["DAE_INDEX_TTL"] = "0"
    bring_up(platform)
    for tool in ("pip", "uv"):
        done = install(tool, platform, tmp_path / f"{tool}-before", "shapes")
        assert done.returncode == 0, done.stderr
    upstream.refuse()
    for moment in ("away", "restarted"):
        if moment == "restarted":
            assert platform.dae("down").returncode == 0
            bring_up(platform)
        for tool in ("pip", "uv"):
            done = install(tool, platform, tmp_path / f"{tool}-{moment}", "shapes")
            assert done.returncode == 0, done.stderr
            assert (tmp_path / f"{tool}-{moment}" / "colours" / "__init__.py").exists()
            assert install(tool, platform, tmp_path / f"{tool}-not", "never-asked-for").returncode != 0
        status, headers, body = platform.get("localhost", "/pypi/simple/never-asked-for/")
        assert (status, headers["Retry-After"] != "") == (503, True)
        assert body.startswith(b"mirror/unavailable")
    upstream.start()

    def there() -> bool:
        return platform.get("localhost", "/pypi/simple/never-asked-for/")[0] == 200

    from tests.blackbox.project import eventually

    eventually(there)
