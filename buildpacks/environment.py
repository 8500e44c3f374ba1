"""A virtual environment without packages, free of every path that it was made under."""

from __future__ import annotations

import sys
from pathlib import Path

from buildpacks.interpreters import Interpreter
from core import argv
from core.errors import DaeError
from core.files import remove_tree


def create(env: Path, interpreter: Interpreter, work: Path) -> None:
    """Make the virtual environment ``env`` without pip or anything else in it; raises ``build/failed``.

    ``work`` is a folder for virtualenv's own files.
    """
    outcome = argv.run(
        [
            *(sys.executable, "-I", "-m", "virtualenv", "--quiet", "--no-seed", "--activators", ""),
            *("--no-periodic-update", "--app-data", work, "--python", interpreter.python, env),
        ],
        environ={"HOME": str(work), "VIRTUALENV_CONFIG_FILE": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"},
        own_session=False,
    )
    if not outcome.ok:
        raise DaeError("build/failed", f"virtualenv failed: {' '.join(outcome.output.split())[-300:]}", "")
    config = env / "pyvenv.cfg"  # its 'command' names the folder the environment was made in
    kept = [line for line in config.read_text().splitlines(keepends=True) if not line.startswith("command")]
    config.write_text("".join(kept))
    for name in (".gitignore", "CACHEDIR.TAG"):
        (env / name).unlink(missing_ok=True)
    remove_tree(work)
