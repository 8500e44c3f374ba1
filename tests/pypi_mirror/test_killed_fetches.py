"""The mirror is killed before each single thing that it does on the disk while a page and a wheel come here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.pypi_mirror.upstream_model import UpstreamModel

#: Forks a mirror for each step, which ends itself there; then one that upstream is away from, and one that it is not.
CODE = """
import gzip, hashlib, json, os, sys, traceback
from pathlib import Path
from core.paths import Home
from pypi_mirror.mirror import Mirror
from pypi_mirror.pages import Format
from pypi_mirror.stock import recover
from pypi_mirror.store import Store
from pypi_mirror.upstream import Upstream
from pypi_mirror.upstreams import Upstreams

folder, url, sha256, filename = sys.argv[1:]
NOWHERE = "http://127.0.0.1:1/"

def mirror(root, url):
    store = Store(Home(root))
    recover(store)
    return Mirror(store, Upstreams([Upstream(url)]), 600)

def fetch(root, url):
    made = mirror(root, url)
    with made.page("tool", Format.HTML, False) as page:
        assert filename in page.read().decode()
    came = made.file(sha256, filename, whole=True)
    assert hashlib.sha256(came.read_bytes()).hexdigest() == sha256
    assert made.file(sha256, filename + ".metadata", whole=True).read_bytes().startswith(b"Metadata-Version")

def watched(root, left):
    def hook(event, given):
        nonlocal left
        writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in ("os.rename", "os.mkdir", "os.remove", "os.utime", "os.chmod")):
            if str(root) in str(given[0]):
                left -= 1
                if left < 0:
                    os._exit(9)
    sys.addaudithook(hook)
    fetch(root, url)

def visible(root):
    "What nginx would serve is whole."
    for path in (root / "mirror" / "files").rglob("*"):
        if path.is_file() and path.suffix == ".whl":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name
    served = root / "mirror/pages/default/tool"
    if served.is_dir():
        assert filename in (served / "index.html").read_text()
        assert json.loads(gzip.decompress((served / "index.json.gz").read_bytes()))["files"]

def away(root):
    visible(root)
    if (root / "mirror/projects/tool.json").exists():
        with mirror(root, NOWHERE).page("tool", Format.JSON, True) as page:
            assert json.loads(gzip.decompress(page.read()))["files"]
    if (root / "mirror/files" / sha256[:2] / sha256 / filename).exists():
        assert mirror(root, NOWHERE).file(sha256, filename)

def child(work, *given):
    pid = os.fork()
    if not pid:
        try:
            work(*given)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for step in range(300):
    root = Path(folder, str(step))
    root.mkdir()
    ended = child(watched, root, step)
    assert ended in (0, 9), (step, ended)
    assert child(away, root) == 0, step
    assert child(fetch, root, url) == 0, step
    assert child(visible, root) == 0, step
    if ended == 0:
        break
print(step)
"""


def test_killed_at_each_step(tmp_path: Path, upstream: UpstreamModel) -> None:
    """What nginx would serve is whole, what is here is served without upstream, and the next fetch succeeds."""
    filename, sha256 = upstream.add("tool")
    done = subprocess.run(
        [sys.executable, "-I", "-c", CODE, tmp_path, upstream.url, sha256, filename],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
