"""What a commit is, told from its files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpacks import Recipe, detect, misspelt
from buildpacks.runtimes import Wanted
from core.errors import DaeError
from core.nouns import Handler, Health, Process, ProcessType

WSGI = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
STATIC = "handlers:\n- url: /static/(.*)\n  static_files: static/\\1\n"


def commit(tmp_path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def refused(tmp_path: Path, files: Mapping[str, str]) -> DaeError:
    with pytest.raises(DaeError) as caught:
        detect(commit(tmp_path, files))
    assert caught.value.hint
    return caught.value


def test_handlers_make_a_web_process(tmp_path: Path) -> None:
    """An app.yaml with handlers is served by a web process without a command of its own."""
    text = "runtime: python\nworkers: 2\ninstaller: pip\nhealth:\n  path: /ok\n  timeout: 9\n" + WSGI
    assert detect(commit(tmp_path, {"app.yaml": text, "pip-req.txt": "flask\n"})) == Recipe(
        processes=(Process("web", ProcessType.WEB, ""),),
        handlers=(Handler("/.*", wsgi_app="app:app"),),
        health=Health("/ok", 9, strict=True),
        workers=2,
        requirements="flask\n",
        installer="pip",
        python=Wanted("python", "app.yaml"),
        requirements_file="pip-req.txt",
    )


def test_a_procfile_makes_its_processes(tmp_path: Path) -> None:
    """'web' serves, 'release' runs before the switch, every other name is a worker; health asks / and is lenient."""
    recipe = detect(commit(tmp_path, {"Procfile": "web: gunicorn a:b\nrelease: ./migrate\nqueue: ./work\n"}))
    assert recipe.processes == (
        Process("web", ProcessType.WEB, "gunicorn a:b"),
        Process("release", ProcessType.RELEASE, "./migrate"),
        Process("queue", ProcessType.WORKER, "./work"),
    )
    assert recipe.health == Health("/", 30, strict=False)


def test_handlers_and_a_procfile_go_together(tmp_path: Path) -> None:
    """A wsgi_app handler serves beside a Procfile's workers; static handlers stand beside a Procfile's web."""
    recipe = detect(commit(tmp_path, {"app.yaml": WSGI, "Procfile": "queue: ./work"}))
    assert [(p.name, p.command) for p in recipe.processes] == [("web", ""), ("queue", "./work")]
    recipe = detect(commit(tmp_path, {"app.yaml": STATIC, "Procfile": "web: ./serve"}))
    assert recipe.processes == (Process("web", ProcessType.WEB, "./serve"),)
    assert recipe.handlers == (Handler("/static/(.*)", static_files="static/\\1"),)


def test_two_answers_to_the_web_are_refused(tmp_path: Path) -> None:
    """A 'web' process and a wsgi_app handler cannot both answer."""
    assert refused(tmp_path, {"app.yaml": WSGI, "Procfile": "web: ./serve"}).code == "build/bad-procfile"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no file"),
        ({"README.md": "", "app.py": ""}, "README.md, app.py"),
        ({"app.yaml": "application: x"}, "app.yaml: there is no handler"),
        ({"Procfile": "# nothing\n"}, "Procfile: there is no handler"),
        ({"Procfile": "release: ./migrate"}, "no process but 'release'"),
    ],
)
def test_nothing_to_run(tmp_path: Path, files: dict[str, str], told: str) -> None:
    """A commit that says nothing of what to run is refused, with what it has and what to commit."""
    error = refused(tmp_path, files)
    assert error.code == "build/no-entry"
    assert told in error.cause
    assert "web: gunicorn" in error.hint


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("procfile", "Procfile"),
        ("Procfile.txt", "Procfile"),
        ("PROCFILE", "Procfile"),
        ("app.yml", "app.yaml"),
        ("App.yaml", "app.yaml"),
        ("runtime.text", "runtime.txt"),
        ("Runtime.txt", "runtime.txt"),
        ("python-version", ".python-version"),
        (".python_version", ".python-version"),
        ("bin/post-compile", "bin/post_compile"),
        ("bin/postcompile", "bin/post_compile"),
        ("bin/pre-compile.sh", "bin/pre_compile"),
        ("proc file", "Procfile"),
    ],
)
def test_misspelt(tmp_path: Path, name: str, meant: str) -> None:
    """A file that nothing reads is named with what it should be called; beside the right one it is left in peace."""
    (note,) = misspelt.notes(commit(tmp_path, {name: "", "app.py": "", "bin/run": "", "runtimes.py": ""}))
    assert f"there is {name}, which nothing reads" in note
    assert note.endswith(f"git mv {shlex.quote(name)} {meant}")
    with pytest.raises(DaeError) as caught:
        detect(tmp_path)
    assert (f"git mv {shlex.quote(name)} {meant}" in caught.value.hint) is (meant in ("Procfile", "app.yaml"))
    assert misspelt.notes(commit(tmp_path, {meant: ""})) == ()


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"app.yaml": "handlers: [\n"}, "build/bad-app-yaml"),
        ({"Procfile": "web gunicorn"}, "build/bad-procfile"),
        ({"Procfile": "web: x", "requirements.txt": "flask==\n"}, "build/bad-requirements"),
        ({"Procfile": "web: x", "requirements.txt": "-e ./x\n"}, "build/unsupported-requirement"),
        ({"Procfile": "web: x", "requirements.txt": "", "pip-req.txt": ""}, "build/bad-requirements"),
    ],
)
def test_malformed_files(tmp_path: Path, files: dict[str, str], code: str) -> None:
    """Each file's grammar has its own code."""
    assert refused(tmp_path, files).code == code


@pytest.mark.parametrize("name", ["app.yaml", "Procfile", "pip-req.txt", "requirements.txt"])
def test_hostile_files(tmp_path: Path, name: str) -> None:
    """A link, a folder, a pipe, a huge file, bytes that are no text: refused, and never followed or awaited."""
    secret = tmp_path / "secret"
    secret.write_text("web: steal")
    source = tmp_path / "commit"
    source.mkdir()
    (source / "Procfile").write_text("web: x")
    path = source / name
    makers = (
        lambda: path.symlink_to(secret),
        lambda: path.symlink_to("nowhere"),
        lambda: path.mkdir(),
        lambda: os.mkfifo(path),
        lambda: path.write_bytes(b"# " + b"x" * 300_000),
        lambda: path.write_bytes(b"web: \xff\n"),
    )
    for make in makers:
        path.unlink(missing_ok=True)
        make()
        with pytest.raises(DaeError) as caught:
            detect(source)
        assert caught.value.code.startswith("build/bad-")
        assert name in caught.value.cause
        assert "steal" not in str(caught.value)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()


def test_a_byte_order_mark_is_not_content(tmp_path: Path) -> None:
    """Files that an editor began with a byte order mark are read like others."""
    files = {"Procfile": "\ufeffweb: x\r\n", "requirements.txt": "\ufeffflask\r\n"}
    assert detect(commit(tmp_path, files)).requirements == "flask\n"


PACKAGE = '{"name": "x", "devDependencies": {"vite": "^5"}}'


def test_locks_of_other_managers_of_javascript(tmp_path: Path) -> None:
    """They are refused where npm would pass them over; beside npm's own, without packages or with assets off not."""
    files = {"app.yaml": WSGI, "package.json": PACKAGE, "pnpm-lock.yaml": "x", "bun.lock": ""}
    error = refused(tmp_path, files)
    assert error.code == "build/unsupported-manifest"
    assert error.cause.startswith("pnpm-lock.yaml and bun.lock, which npm does not read")
    assert "npm install --package-lock-only" in error.hint
    assert "'npx --yes pnpm install --frozen-lockfile' into bin/pre_compile and 'assets: off'" in error.hint
    for more in ({"package-lock.json": ""}, {"package.json": '{"name": "x"}'}, {"app.yaml": "assets: off\n" + WSGI}):
        assert detect(commit(tmp_path, {**files, **more})).notes == ()
        (tmp_path / "package-lock.json").unlink(missing_ok=True)


def test_packages_of_javascript_without_a_lock(tmp_path: Path) -> None:
    """That each build gets others is told; what npm cannot read is left to npm."""
    told = detect(commit(tmp_path, {"app.yaml": WSGI, "package.json": PACKAGE})).notes
    assert len(told) == 1
    assert "type 'npm install --package-lock-only'" in told[0]
    for text in ("{", "[" * 100_000, "[]", '{"dependencies": {}}'):
        assert detect(commit(tmp_path, {"package.json": text})).notes == ()


def test_virtual_environments_in_a_commit(tmp_path: Path) -> None:
    """They are told, whatever they are called, with what to type; other folders are not."""
    for name in (".venv/pyvenv.cfg", "my env/pyvenv.cfg", "src/app.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    told = misspelt.environments(tmp_path)
    assert len(told) == 2
    assert "git rm -r --quiet --cached .venv, and write .venv/ into .gitignore" in told[0]
    assert "--cached 'my env', and" in told[1]
