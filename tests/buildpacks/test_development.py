"""What tests need beside what the app requires."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpacks import lockfile
from buildpacks.development import beside, file_of
from buildpacks.policy import Policy
from core.errors import DaeError

HASH = "sha256:" + "a" * 64
LOCK = f"flask==3.0.0 \\\n    --hash={HASH} \\\n    --hash=sha256:{'b' * 64}\nsix==1.16.0 \\\n    --hash={HASH}\n"


@pytest.mark.parametrize(
    ("there", "named", "wanted"),
    [
        ((), "", ""),
        (("dev-req.txt",), "", "dev-req.txt"),
        (("requirements-dev.txt",), "", "requirements-dev.txt"),
        (("dev-req.txt", "requirements-dev.txt"), "", "dev-req.txt"),
        (("dev-req.txt", "more.txt"), "more.txt", "more.txt"),
    ],
)
def test_which_file(tmp_path: Path, there: tuple[str, ...], named: str, wanted: str) -> None:
    """The one that app.yaml names, else the first usual one that is there, else none."""
    for name in there:
        (tmp_path / name).write_text("")
    assert file_of(tmp_path, named) == wanted


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """Tests without what they need would fail for another reason than the one that is told."""
    with pytest.raises(DaeError, match="which is not in the commit"):
        file_of(tmp_path, "dev.txt")


def test_together(tmp_path: Path) -> None:
    """The slug's own versions are required with their hashes, and what the tests need beside them."""
    (tmp_path / "requirements.txt").write_text("flask\n")
    (tmp_path / "pip-req.txt").write_text("flask\n")  # a compile step made one: what is installed decides, not it
    (tmp_path / "dev-req.txt").write_text("-r requirements.txt\n-c limits.txt\npytest>=8  # a comment\n")
    (tmp_path / "limits.txt").write_text("pluggy<2\n")
    pins = lockfile.read(LOCK + f"dae==0.1 --hash={HASH}\n")  # the platform's own, whichever it is by now
    found = beside(pins, tmp_path, "dev-req.txt", Policy(), "pip")
    assert found.requirements.splitlines() == [
        f"flask==3.0.0 --hash={HASH} --hash=sha256:{'b' * 64}",
        f"six==1.16.0 --hash={HASH}",
        "flask",
        "pytest>=8",
    ]
    assert (found.constraints, found.lock, found.requirements_file) == ("pluggy<2\n", None, "dev-req.txt")
    assert found.installer == "pip"


def test_what_is_refused(tmp_path: Path) -> None:
    """Lines that a requirements file may not have are refused here as well, with their place."""
    (tmp_path / "dev-req.txt").write_text("pytest\n../evil.whl\n")
    with pytest.raises(DaeError, match=r"dev-req\.txt line 2"):
        beside(lockfile.read(LOCK), tmp_path, "dev-req.txt", Policy())
