"""What the mirror takes of the machine's memory when the largest pages there are have gone through it."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_serving import JSON
from tests.pypi_mirror.upstream_model import UpstreamModel

#: How many files are on the pages of projects whose pages are among the largest: 1.7, 1.9 and 4.9 MB of JSON.
FILES = {"boto3": 4400, "numpy": 5000, "grpcio": 12_700}


def offer(upstream: UpstreamModel, name: str, files: int) -> None:
    digits = random.Random(name)
    for number in range(files):
        filename = f"{name}-{number // 40 + 2}.{number % 40}-cp311-cp311-manylinux_2_17_x86_64.whl"
        upstream.add_file(name, filename, b"", f"{digits.getrandbits(256):064x}", size=100_000 + number)


def test_large_pages(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """100 MB are enough for the largest pages, fetched, renewed and rendered: what they took is given back."""
    for name, files in FILES.items():
        offer(upstream, name, files)
    mirror = new_mirror(upstream.url, ttl=0)
    for turn in range(3):
        for name in FILES:
            upstream.pages[name]["meta"]["_last-serial"] = turn
            upstream.pages[name]["files"][0]["yanked"] = f"turn {turn}"
            poll(lambda: f"turn {turn}" in mirror.get(f"/pypi/simple/{name}/", JSON).text)  # noqa: B023
            assert mirror.get(f"/pypi/simple/{name}/").status == 200
    assert mirror.memory() < 100 << 20
