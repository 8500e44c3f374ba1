"""What control knows of the index's policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from control.context import Context
from control.index_view import index_url, keeps, require_let_through, view_of, warn_of_refused
from control.output import Output
from control.platform.doctor import index_policy
from core.config import Settings
from core.errors import DaeError
from core.nouns import Stage
from core.paths import Home
from pypi_mirror.rulebook import Rulebook
from tests.control.exported import export


def test_the_address_of_a_view(tmp_path: Path) -> None:
    """A stage without a view asks the default index; a policy that cannot be read names no views."""
    settings, home = Settings(tmp_path, port=8099), Home(tmp_path)
    context = cast(Context, SimpleNamespace(settings=settings, home=home))
    assert view_of(context, "beta") == ""
    home.mirror.mkdir()
    (home.mirror / "policy.toml").write_text("[view.beta]\n")
    assert [view_of(context, stage) for stage in ("beta", "stable", "")] == ["beta", "", ""]
    assert index_url(context, "beta") == "http://127.0.0.1:8099/pypi/view/beta/simple/"
    assert index_url(context, "") == settings.index_url
    (home.mirror / "policy.toml").write_text("[view")
    assert view_of(context, "beta") == ""


def test_a_mirror_that_cannot_be_asked(tmp_path: Path) -> None:
    """What may go to a stage with a view cannot be told then: only back one may go. Others ask nobody."""
    made = export(tmp_path)
    slug, home, lines = made.bundle.slug, made.home, list[str]()
    context = cast(Context, SimpleNamespace(settings=Settings(home.root), home=home))
    require_let_through(context, Stage.STABLE, slug)
    home.mirror.mkdir(exist_ok=True)
    (home.mirror / "policy.toml").write_text("[view.stable]\n")
    require_let_through(context, Stage.BETA, slug)
    with pytest.raises(DaeError, match="mirror/unavailable: stable takes only what its view of the index lets through"):
        require_let_through(context, Stage.STABLE, slug)
    warn_of_refused(context, Stage.STABLE, slug, Output(lines.append))
    assert "going back is possible all the same: stable takes only" in lines[0]
    with pytest.raises(DaeError, match="slug/damaged: the manifest of the environment"):
        require_let_through(context, Stage.STABLE, replace(slug, environment="e" * 64))
    assert keeps(context, "stable", made.bundle.lock, slug.interpreter), (
        "its lock stays: it is the release that is refused"
    )


def test_the_doctor_reads_the_policy(tmp_path: Path) -> None:
    """It says which file cannot be read, where, and what is in force meanwhile; and it changes nothing."""
    settings, home = Settings(tmp_path), Home(tmp_path)
    assert [found.level for found in index_policy(settings, home)] == ["ok"]
    (tmp_path / "mirror-policy.toml").write_text("cooldown_days = 'week'\n")
    (tmp_path / "mirror-advisories").mkdir()
    (tmp_path / "mirror-advisories" / "a.json").write_text("{}")
    found = list(index_policy(settings, home))
    assert [one.level for one in found] == ["fail", "fail"]
    assert "cooldown_days is not a number of days; the index serves nothing" in found[0].text
    assert "a.json has no id" in found[1].text
    assert not home.mirror.exists()


def test_the_doctor_misses_the_policy(tmp_path: Path) -> None:
    """A policy that went away is told of, and what holds instead: the last good one, or nothing if that is damaged."""
    settings, home = Settings(tmp_path), Home(tmp_path)
    home.mirror.mkdir()
    (tmp_path / "mirror-policy.toml").write_text("cooldown_days = 7\n")
    Rulebook(home, settings).load()
    (tmp_path / "mirror-policy.toml").unlink()
    (found,) = index_policy(settings, home)
    assert (found.level, "is gone" in found.text) == ("fail", True)
    assert found.text.endswith("; the last good one is in force")
    (home.mirror / "policy.toml").write_text("cooldown_days = 0\n")
    (found,) = index_policy(settings, home)
    assert "the copy of the policy in force: it is damaged" in found.text
    assert found.text.endswith("; the index serves nothing")
