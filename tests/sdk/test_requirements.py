"""dae install edits the requirements file: text in, text out."""

from __future__ import annotations

from pathlib import Path

import pytest

from dae.cli.errors import CliError
from dae.local.requirements import add, name_of, path_in


@pytest.mark.parametrize(
    "before, words, after",
    [
        ("", ["flask"], "flask\n"),
        ("a", ["flask"], "a\nflask\n"),
        ("# ours\nflask==3.0\n", ["flask"], "# ours\nflask==3.0\n"),
        ("flask\nb\n", ["flask==3.1.0"], "flask==3.1.0\nb\n"),
        ("Flask-SQLAlchemy>=3  # orm\n", ["flask_sqlalchemy"], "Flask-SQLAlchemy>=3  # orm\n"),
        ("flask-login\n", ["flask"], "flask-login\nflask\n"),
        ("flask\n", ["flask[async]"], "flask[async]\n"),
        ("", ["a", "b>=1,<2", "A"], "a\nb>=1,<2\n"),
        ("-r other.txt\nhttps://x/y.whl\n", ["a"], "-r other.txt\nhttps://x/y.whl\na\n"),
        ("a\r\nb\r\n", ["c"], "a\nb\nc\n"),
    ],
)
def test_each_project_stands_once(before: str, words: list[str], after: str) -> None:
    """A bare name changes nothing that is there; one that says more replaces it; the rest stays as it is."""
    assert add(before, tuple(words)) == after


@pytest.mark.parametrize(
    "text", ["Flask", "flask ", "flask == 3.0", "flask[a,b]~=3.0", "flask>=3,!=3.1; python_version<'3.12'"]
)
def test_requirements_of_the_standard_are_taken(text: str) -> None:
    """PEP 508 without addresses: name, extras, versions, marker."""
    assert name_of(text) == "flask"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-r x",
        "--index-url=http://x",
        "./here",
        "http://x/y.whl",
        "git+https://x",
        "a b",
        "a\n-r x",
        "a @ http://x",
        "é",
        "a;b\nc",
    ],
)
def test_what_is_no_requirement_is_refused(text: str) -> None:
    """Options, paths, addresses and second lines do not slip into the file."""
    with pytest.raises(CliError, match="local/bad-requirement"):
        name_of(text)


def test_the_file_that_the_app_has_is_used(tmp_path: Path) -> None:
    """pip-req.txt when there is none; the one that is there; two are an error, as in a build."""
    assert path_in(tmp_path).name == "pip-req.txt"
    (tmp_path / "requirements.txt").touch()
    assert path_in(tmp_path).name == "requirements.txt"
    (tmp_path / "pip-req.txt").touch()
    with pytest.raises(CliError, match="build/bad-requirements"):
        path_in(tmp_path)
