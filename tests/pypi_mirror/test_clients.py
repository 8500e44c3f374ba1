"""Real pip and real uv install from the mirror, cut off from this machine's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.upstream_model import UpstreamModel

UV = Path(sys.executable).with_name("uv")


def run(tmp_path: Path, *argv: str | Path) -> str:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
    }
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def offer(upstream: UpstreamModel, top: str, below: str) -> None:
    upstream.add(below, "1.0")
    upstream.add(below, "2.0", python=">=3.99")
    upstream.pages[below]["files"][1]["requires-python"] = ">=3.99"
    upstream.add(top, "1.0", requires=f"{below}>=1")


def test_pip(tmp_path: Path, shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """pip resolves, minds requires-python, downloads and installs; a second run asks upstream for nothing."""
    offer(shared_upstream, "piptop", "pipbelow")
    pip = [sys.executable, "-I", "-m", "pip", "--isolated", "--no-cache-dir"]
    run(tmp_path, *pip, "download", "-d", "got", "-i", shared_mirror.index, "PipTop")
    expected = ["pipbelow-1.0-py3-none-any.whl", "piptop-1.0-py3-none-any.whl"]
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == expected
    asked = shared_upstream.counts.total()
    run(tmp_path, *pip, "install", "--target", "put", "-i", shared_mirror.index, "piptop")
    assert (tmp_path / "put" / "pipbelow" / "__init__.py").read_text().startswith("VERSION = '1.0'")
    assert shared_upstream.counts.total() == asked


def test_uv(tmp_path: Path, shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """uv locks with hashes and installs by that lock, cold and then warm; warm asks upstream for nothing."""
    offer(shared_upstream, "uvtop", "uvbelow")
    run(tmp_path, UV, "venv", "--python", sys.executable, "venv")
    (tmp_path / "in.txt").write_text("uvtop\n")
    index = ["--index-url", shared_mirror.index]
    lock = run(tmp_path, UV, "pip", "compile", *index, "--generate-hashes", "in.txt", "-o", "lock.txt")
    assert "uvbelow==1.0" in lock
    python = tmp_path / "venv" / "bin" / "python"
    sync: list[str | Path] = [
        UV,
        "pip",
        "sync",
        "--no-cache",
        *index,
        "--require-hashes",
        "--python",
        python,
        "lock.txt",
    ]
    run(tmp_path, *sync)
    assert run(tmp_path, python, "-c", "import uvtop, uvbelow; print(uvbelow.VERSION)") == "1.0\n"
    asked = shared_upstream.counts.total()
    run(tmp_path, UV, "pip", "install", "--no-cache", *index, "--target", "put", "uvtop")
    assert shared_upstream.counts.total() == asked
