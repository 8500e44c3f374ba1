"""The grammar of requirements files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks import RUNTIME, Recipe, environment_digest, lock_key
from buildpacks.keys import with_runtime
from buildpacks.requirements import parse
from core.errors import DaeError

SHA = "sha256:" + "a" * 64
PY = "cpython-3.11.2-x86_64-linux-gnu"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("\n# only a comment\n   \n", []),
        ("flask", ["flask"]),
        ("Flask == 3.0.1  # pinned\r\n", ["Flask==3.0.1"]),
        ("flask>=3,<4,!=3.0.2", ["flask!=3.0.2,<4,>=3"]),
        ("celery[redis, sqs]~=5.3", ["celery[redis,sqs]~=5.3"]),
        ("tomli; python_version < '3.11'", ['tomli; python_version < "3.11"']),
        ("flask \\\n  ==3.0.1", ["flask==3.0.1"]),
        (f"flask==3.0.1 \\\n    --hash={SHA} \\\n    --hash={SHA}\nredis", ["flask==3.0.1", "redis"]),
        ("zope.interface", ["zope.interface"]),
        ("a\\", ["a"]),
    ],
)
def test_accepted(text: str, wanted: list[str]) -> None:
    """Names, extras, specifiers, markers, comments, continuations and hashes are understood."""
    assert [line.text for line in parse(text, "pip-req.txt")] == wanted


def test_what_a_line_holds() -> None:
    """A line knows its normalised name, its hashes, and where it began."""
    (_, line) = parse(f"a\nZope.Interface==5 \\\n --hash={SHA}\n", "pip-req.txt")
    assert (line.name, line.hashes, line.number) == ("zope-interface", (SHA,), 2)


@pytest.mark.parametrize(
    "line",
    [
        "-e .", "-e git+https://example.invalid/x#egg=x", "--editable=.", "-r other.txt", "-c limits.txt",
        "--index-url http://example.invalid/simple", "-i http://example.invalid", "--extra-index-url=http://x.invalid",
        "--find-links /tmp", "--no-index", "--pre", "--trusted-host x", "--no-binary :all:",
        "https://example.invalid/x-1.0.exe",
        "git+ssh://git@example.invalid/x.git", "x @ git+https://example.invalid/x.git@main",
        "x @ file:///etc/passwd", "./local", "../up", "/etc/passwd", "~/x", "file:x", "dir/x",
        "x-1.0.whl", "x-1.0.tar.gz",
        "x==1 --global-option=--evil", "x --config-settings=a=b", "C:\\wheels\\x.whl",
    ],
)  # fmt: skip
def test_not_accepted(line: str) -> None:
    """Options, addresses, version control and paths are refused, with the number of the line."""
    with pytest.raises(DaeError) as caught:
        parse(f"# first\n\n{line}\n", "pip-req.txt")
    assert caught.value.code == "build/unsupported-requirement"
    assert "pip-req.txt line 3" in caught.value.cause


@pytest.mark.parametrize(
    "line",
    [
        "flask==", "flask=3", "flask>3 <4", "==3", "flask[", "flask; python_version", "flask; os == 'x'", "fl ask",
        "flask==3.0;", "${SECRET}", "flask==1 --hash=md5:abc", "flask --hash=sha256:short", "f" * 3000, "flask\x00",
        "flask; " + "(" * 1500 + "python_version>'3'",
    ],
)  # fmt: skip
def test_malformed(line: str) -> None:
    """What is not a requirement is refused, with the number of the line and its text."""
    with pytest.raises(DaeError) as caught:
        parse(f"requests\n{line}\n", "requirements.txt")
    assert caught.value.code == "build/bad-requirements"
    assert "requirements.txt line 2" in caught.value.cause


@given(
    st.text(alphabet=st.sampled_from(list("flask[]=<>~!;,.*'\"-\\# \t\r\n/@:()0123\x00\ud800é$")), max_size=60)
    | st.text()
)
def test_never_another_error(text: str) -> None:
    """Whatever the text, it is parsed or refused with one of the two codes."""
    try:
        parse(text, "requirements.txt")
    except DaeError as error:
        assert error.code in ("build/bad-requirements", "build/unsupported-requirement")


def names(text: str, interpreter: str = PY) -> list[str]:
    return list(with_runtime(parse(text, "r"), interpreter))


def test_every_environment_gets_the_runtime() -> None:
    """What serves an app is added, but for what the app itself names, in whatever spelling."""
    assert names("") == list(RUNTIME)
    others = [requirement for requirement in RUNTIME if requirement not in ("gunicorn>=22", "dae")]
    assert names("GUnicorn==20\nDAE") == ["GUnicorn==20", "DAE", *others]


def test_a_name_whose_marker_is_false_names_nothing() -> None:
    """An app that names gunicorn for another Python still gets it."""
    assert names("gunicorn==19; python_version < '3'")[1:] == list(RUNTIME)
    others = [requirement for requirement in RUNTIME if requirement != "gunicorn>=22"]
    assert names("gunicorn==20; python_version == '3.11'")[1:] == others


def test_a_constraint_on_the_runtime_is_obeyed() -> None:
    """An app that limits what it does not name gets it within that limit, whatever the platform would take."""
    lines, limits = parse("flask", "r"), parse("gunicorn==20\ngevent<1; python_version < '3'", "c")
    assert with_runtime(lines, PY, limits) == ("flask", "gunicorn", *RUNTIME[1:])


def test_lock_keys() -> None:
    """A lock's key depends on what is required, interpreter, engine and view; not on comments or the file's name."""

    def key(text: str, interpreter: str = PY, engine: str = "uv", file: str = "pip-req.txt") -> str:
        return lock_key(Recipe((), requirements=text, requirements_file=file), interpreter, engine)

    assert key("flask\n") == key("# why\r\n  flask # web\n\n", file="requirements.txt")
    others = [
        key("flask"),
        key("flask>1"),
        key("flask", PY + "x"),
        key("flask", engine="pip"),
        key(f"flask --hash={SHA}"),
        lock_key(Recipe((), requirements="flask", constraints="flask<3"), PY, "uv"),
        lock_key(Recipe((), requirements="flask", options=("--pre",)), PY, "uv"),
        lock_key(Recipe((), requirements="flask"), PY, "uv", ""),
        lock_key(Recipe((), requirements="flask"), PY, "uv", "a==1 --hash=sha256:0"),
        lock_key(Recipe((), requirements="flask"), PY, "uv", view="beta"),
    ]
    assert len(set(others)) == 10
    assert all(len(other) == 64 for other in others)


def test_environment_digests() -> None:
    """An environment is named by its lock and its interpreter."""
    assert environment_digest("a", PY) == environment_digest("a", PY)
    assert len({environment_digest("a", PY), environment_digest("b", PY), environment_digest("a", "x")}) == 3
