"""What `dae lock` sends, and what pip gets of a lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from dae.cli.errors import CliError
from dae.local import lockfile


def written(folder: Path, texts: dict[str, str]) -> Path:
    """The folder with these files."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_only_what_describes_the_app(tmp_path: Path) -> None:
    """Sent are the files that a build reads of a commit: known ones, and those that requirements files include."""
    texts = {
        "pip-req.txt": "-r more/base.txt\n--constraint=more/limits.txt\n-r ../secret.txt\n-r none.txt\n-r ~/x\n",
        "more/base.txt": "-c limits.txt\nflask\n",
        "more/limits.txt": "flask<4\n",
        "app.yaml": "workers: 2\n",
        "pyproject.toml": "[project]\n",
        ".python-version": "3.11\n",
        "dae.lock": "",
    }
    folder = written(tmp_path / "app", texts)
    (tmp_path / "secret.txt").write_text("secret")
    written(folder, {"passwords.txt": "secret", "config.toml": "secret", "requirements/dev.txt": "secret"})
    assert lockfile.described(folder) == texts


def test_neither_code_nor_secrets_leave(tmp_path: Path) -> None:
    """However a file is called: code and secrets stay; of what counts by its name, nothing but the name is sent."""
    never = {"pipeline.py", "requests_client.py", "request.log", "req.pem", "pip.conf", "pip-req.txt.orig"}
    named = {"app.py", "requirments.txt", "index.html", "setup.py", "package.json", "uv.lock", "Pipfile"}
    folder = written(tmp_path, {"pip-req.txt": "six\n", **dict.fromkeys(never | named, "secret")})
    assert lockfile.described(folder) == {"pip-req.txt": "six\n", **dict.fromkeys(named, "")}


def test_setup_files(tmp_path: Path) -> None:
    """setup.py and setup.cfg are sent where requirements stand in them: without another file, or when one says so."""
    folder = written(tmp_path, {"setup.py": "setup()\n"})
    assert lockfile.described(folder)["setup.py"] == "setup()\n"
    written(folder, {"requirements.txt": "six\n"})
    assert lockfile.described(folder)["setup.py"] == ""
    for line in (".", "-e .[web]", "--editable=./", "--pre -e '.'"):
        written(folder, {"requirements.txt": f"six\n{line}\n"})
        assert lockfile.described(folder)["setup.py"] == "setup()\n"


def test_bystanders(tmp_path: Path) -> None:
    """What no build reads does not matter: binary, large, oddly named, or a link."""
    folder = written(tmp_path, {"pip-req.txt": "six\n", "größe.py": "", "requirements größe.txt": ""})
    for name in ("pipes.bin", "requests.py", "setup.py", "uv.lock", "requirments.txt"):
        (folder / name).write_bytes(b"\xff" * (lockfile.SIZE_CAP + 1))
    (folder / "reqs.txt").symlink_to("/etc/passwd")
    (folder / "index.html").symlink_to("/etc/passwd")
    found = lockfile.described(folder)
    assert {name for name, text in found.items() if text} == {"pip-req.txt"}


@pytest.mark.parametrize(
    "line",
    [
        "\ufeff-r base",
        '-r "base"',
        "--pre -r base",
        "-rbase",
        "-r=base",
        "--requirement base",
        "-c \\\nbase",
        "  -r ./x/../base  # the base",
    ],
)
def test_how_includes_are_spelt(tmp_path: Path, line: str) -> None:
    """An include is found however the platform takes it, and whatever the files are called."""
    folder = written(tmp_path, {"pip-req.txt": line, "base": "-r 'größe 1.more'", "größe 1.more": "six"})
    assert set(lockfile.described(folder)) == {"pip-req.txt", "base", "größe 1.more"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pip-req.txt", "pip-req.txt is a symbolic link"),
        ("dae.lock", "dae.lock is a symbolic link"),
        ("base.txt", "base.txt is a symbolic link"),
        ("more", "more/limits.txt is behind a symbolic link"),
    ],
)
def test_links(tmp_path: Path, name: str, said: str) -> None:
    """A link where a file should be is refused by its own name, as a push refuses it."""
    folder = written(
        tmp_path, {"pip-req.txt": "-r base.txt\n-c more/limits.txt\n", "base.txt": "six\n", "dae.lock": ""}
    )
    written(folder, {"more/limits.txt": ""})
    (folder / name).rename(folder / "elsewhere")
    (folder / name).symlink_to("elsewhere")
    with pytest.raises(CliError, match=said) as caught:
        lockfile.described(folder)
    assert (caught.value.code, caught.value.hint) == ("local/file", "commit the file itself")


def test_files_that_include_one_another(tmp_path: Path) -> None:
    """A circle ends; too many files and files that are no text are errors."""
    folder = written(tmp_path, {"pip-req.txt": "-r a.txt\n", "a.txt": "-r pip-req.txt\n"})
    assert set(lockfile.described(folder)) == {"pip-req.txt", "a.txt"}
    written(folder, {f"{number}.txt": "six\n" for number in range(lockfile.COUNT_CAP)})
    written(folder, {"a.txt": "".join(f"-r {number}.txt\n" for number in range(lockfile.COUNT_CAP))})
    with pytest.raises(CliError, match="files describe this app"):
        lockfile.described(folder)
    (folder / "a.txt").write_bytes(b"six\n\xff\xfe")
    with pytest.raises(CliError, match=r"a\.txt line 2: it is not UTF-8 text"):
        lockfile.described(folder)
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    with pytest.raises(CliError, match=r"a\.txt is not a regular file"):
        lockfile.described(folder)


def test_constraints() -> None:
    """pip gets names and versions: hashes would have it refuse whatever is not in the lock."""
    lock = (
        "# Written\n#   six\n# For cpython 3.11 linux x86_64\n"
        "six==1.16.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        "own @ https://host.example/own.whl#version=1 \\\n    --hash=sha256:22\ntoolz==1.0+x --hash=sha256:33\n"
    )
    assert lockfile.constraints(lock) == "six==1.16.0\ntoolz==1.0+x\n"
