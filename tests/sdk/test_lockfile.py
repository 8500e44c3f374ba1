"""What `dae lock` sends, and what pip gets of a lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from dae.cli.errors import CliError
from dae.local import lockfile


def test_only_what_describes_the_app(tmp_path: Path) -> None:
    """Sent are known files, likely misspellings and what requirements files include; nothing else, no links out."""
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    folder = tmp_path / "app"
    (folder / "more").mkdir(parents=True)
    texts = {
        "pip-req.txt": "-r more/base.txt\n--constraint=more/limits.txt\n-r ../secret.txt\n-rlink.txt\n-r none.txt\n",
        "more/base.txt": "-c limits.txt\nflask\n",
        "more/limits.txt": "flask<4\n",
        "requirments.txt": "six\n",
        "app.yaml": "workers: 2\n",
        "pyproject.toml": "[project]\n",
        ".python-version": "3.11\n",
        "dae.lock": "",
        "passwords.txt": "secret",
        "config.toml": "secret",
        "app.py": "secret",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "link.txt").symlink_to(outside)
    (folder / "requirements").mkdir()
    found = lockfile.described(folder)
    assert set(found) == set(texts) - {"passwords.txt", "config.toml", "app.py"}
    assert found["more/base.txt"] == texts["more/base.txt"]


def test_files_that_include_one_another(tmp_path: Path) -> None:
    """A circle ends; too many files and files that are no text are errors."""
    (tmp_path / "pip-req.txt").write_text("-r a.txt\n")
    (tmp_path / "a.txt").write_text("-r pip-req.txt\n")
    assert set(lockfile.described(tmp_path)) == {"pip-req.txt", "a.txt"}
    (tmp_path / "a.txt").write_text("".join(f"-r {number}.txt\n" for number in range(lockfile.COUNT_CAP)))
    for number in range(lockfile.COUNT_CAP):
        (tmp_path / f"{number}.txt").write_text("six\n")
    with pytest.raises(CliError, match="files describe this app"):
        lockfile.described(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match="cannot be read"):
        lockfile.described(tmp_path)
    (tmp_path / "a.txt").write_bytes(b" " * (lockfile.SIZE_CAP + 1))
    with pytest.raises(CliError, match="larger than"):
        lockfile.described(tmp_path)


def test_constraints() -> None:
    """pip gets names and versions: hashes would have it refuse whatever is not in the lock."""
    lock = (
        "# Written\n#   six\n# For cpython 3.11 linux x86_64\n"
        "six==1.16.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        "own @ https://host.example/own.whl#version=1 \\\n    --hash=sha256:22\ntoolz==1.0+x --hash=sha256:33\n"
    )
    assert lockfile.constraints(lock) == "six==1.16.0\ntoolz==1.0+x\n"
