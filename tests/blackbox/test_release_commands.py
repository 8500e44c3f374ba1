"""The release command: before the switch, with its words in the push, bounded, and no switch without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, watched
from tests.blackbox.test_steps import HANDLERS, PLAIN


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.create(platform, tmp_path_factory.mktemp("migrating") / "app", "migrating", PLAIN)
    assert made.push().returncode == 0
    return made


@pytest.mark.parametrize(
    ("command", "more", "told"),
    [
        ("echo the reason; exit 4", "", ["the reason", "ended with status 4"]),
        ("kill -9 $$", "", ["killed by signal 9"]),
        ("echo waiting; sleep 600", "release_timeout: 1\n", ["waiting", "stopped after 1 s", "release_timeout:"]),
        ("no-such-command-of-ours", "", ["status 127"]),
    ],
)
def test_a_failing_command(project: Project, command: str, more: str, told: list[str]) -> None:
    """The push is refused with the command's words; what was live serves all the while."""
    served, before = project.get()[1]["X-DAE-Release"], project.remote_head()
    project.write({"Procfile": f"release: {command}\n", "app.yaml": HANDLERS + more})
    project.commit("bad")
    with watched(project) as seen:
        done = project.push()
    assert done.returncode == 1
    assert "release/command-failed" in done.stderr
    for words in told:
        assert words in done.stderr
    assert set(seen.statuses) == {"200"}
    assert seen.releases == [served]
    assert project.remote_head() == before
    project.git("reset", "--quiet", "--hard", before)


def test_a_good_command(project: Project) -> None:
    """It sees the config of its stage and the new code, and runs before anything of the new release answers."""
    project.write(
        {
            "Procfile": 'release: echo "migrating in $DAE_STAGE"; cp made.txt $DAE_PERMDIR/made.txt\n',
            "app.py": PLAIN["app.py"].replace("HERE /", "pathlib.Path(__import__('os').environ['DAE_PERMDIR']) /"),
            "made.txt": "migrated",
            "app.yaml": HANDLERS + "release_timeout: 60\n",
        }
    )
    project.commit("good")
    done = project.push()
    assert done.returncode == 0, done.stderr
    assert "       migrating in dev" in done.stderr
    assert project.get()[2] == b"migrated"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (
            {"app.py": "import a_module_of_nobody\n"},
            ["wsgi_app: app:app", "No module named 'a_module_of_nobody'", "'a_module_of_nobody' to pip-req.txt"],
        ),
        (
            {
                "side.py": "def app(e, s):\n    pass\nraise ValueError('only the second')\n",
                "app.yaml": "handlers:\n- url: /side\n  wsgi_app: side:app\n- url: /.*\n  wsgi_app: app:app\n",
            },
            ["wsgi_app: side:app", "ValueError: only the second", 'side.py", line 3'],
        ),
        ({"app.yaml": HANDLERS.replace("app:app", "ap:app")}, ["wsgi_app: ap:app", "the commit has no ap.py"]),
        ({"app.yaml": HANDLERS.replace("app:app", "app:ap")}, ["wsgi_app: app:ap", "has no 'ap'"]),
        ({"app.py": "import os\nos.environ['DATABASE_URL']\n"}, ["dae config set DATABASE_URL=VALUE"]),
        ({"app.py": "def app(:\n"}, ["SyntaxError"]),
        ({"app.py": "raise SystemExit('no way')\n"}, ["wsgi_app: app:app", "no way"]),
        (
            {"app.yaml": "workers: 1\n", "Procfile": "web: gunicorn other:app\n", "other.py": "import nobodys\n"},
            ["No module named 'nobodys'", "'nobodys' to pip-req.txt"],
        ),
    ],
)
def test_an_app_that_cannot_be_imported(project: Project, files: dict[str, str], told: list[str]) -> None:
    """Each handler is imported before the switch; the last line says which one is not importable, why, what to do."""
    served, before = project.get()[1]["X-DAE-Release"], project.remote_head()
    project.write({"pip-req.txt": "", "Procfile": "", **files})
    if not files.get("Procfile"):
        (project.folder / "Procfile").unlink()
    project.commit("bad")
    done = project.push()
    assert done.returncode == 1
    assert "release/crashed" in done.stderr, done.stderr
    for words in told:
        assert words in done.stderr, done.stderr
    assert project.get()[1]["X-DAE-Release"] == served
    project.git("reset", "--quiet", "--hard", before)
    assert Path(project.folder / "app.py").exists()
