"""Builds: what control believes of what a build's account says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import buildpacks
from buildpacks.interpreters import find_interpreter
from buildpacks.locks import canonical
from control.build import Source, _Build
from control.context import Context
from control.output import Output
from core.config import Settings
from core.nouns import Process, ProcessType
from core.paths import Home
from slugs.store import SlugStore

VICTIM = canonical(f"flask==3.0 --hash=sha256:{'a' * 64}\n")


class Account:
    """Stands for the agent: a package of the requirements, whose code runs in the build, writes what it likes."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.jobs: list[dict[str, Any]] = []

    def build(self, number: int, _on_line: Callable[[str], None]) -> dict[str, Any]:
        work = self.home.builds / str(number)
        job = json.loads((work / "job.json").read_text())
        self.jobs.append(job)
        honest = job["lock"] == VICTIM  # the package is not in that lock: its code does not run
        (work / "env" / "bin").mkdir(parents=True)
        (work / "env" / "made").write_text("honest" if honest else "forged")
        digest = buildpacks.environment_digest(VICTIM, job["interpreter"])
        return {"lock": VICTIM, "environment": digest, "installed": True}


def test_a_package_cannot_forge_the_environment_of_another_app(tmp_path: Path) -> None:
    """Whatever lock a build's account names: what stands under its digest was installed from it by a run of its own."""
    home = Home(tmp_path)
    for folder in (home.builds, home.locks):
        folder.mkdir()
    agent, slugs = Account(home), SlugStore(home)
    node = SimpleNamespace(agent=agent)
    context = SimpleNamespace(home=home, settings=Settings(home=tmp_path), slugs=slugs, node=node)
    recipe = buildpacks.Recipe(processes=(Process("web", ProcessType.WEB),), requirements="evil\n")
    build = _Build(cast(Context, context), Source("app", "d" * 40, "mary"), 7, Output(lambda _line: None))
    interpreter = find_interpreter("", shared=False)
    digest = build._environment(recipe, interpreter)
    assert digest == buildpacks.environment_digest(VICTIM, interpreter.id)
    assert (home.environment(digest) / "made").read_text() == "honest"
    assert [(job["steps"], job["lock"]) for job in agent.jobs] == [
        (["lock"], ""),
        (["lock", "install", "compile"], VICTIM),
    ]
    assert build._environment(recipe, interpreter) == digest
    assert len(agent.jobs) == 2
