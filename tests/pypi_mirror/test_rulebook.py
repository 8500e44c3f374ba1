"""What holds when the operator's files cannot be read any more: never less than before, also after a restart."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from pypi_mirror import approvals
from pypi_mirror.model import File
from pypi_mirror.rulebook import Rulebook

DENY = "[[rule]]\naction = 'deny'\nname = 'shop'\n[[rule]]\naction = 'deny'\nname = 'other'\n"


def document(key: str = "PYSEC-1", name: str = "holey") -> str:
    span = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]}
    return json.dumps({"id": key, "affected": [{"package": {"ecosystem": "PyPI", "name": name}, "ranges": [span]}]})


class Desk:
    """The operator's files, and the mirror's process as far as it reads them."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.policy, self.folder = root / "mirror-policy.toml", root / "mirror-advisories"
        self.settings = Settings(root, **settings)  # type: ignore[arg-type]
        Home(root).mirror.mkdir(exist_ok=True)
        self.kept = Home(root).mirror / "policy.toml"
        self.restart()

    def restart(self) -> None:
        self.book = Rulebook(Home(self.root), self.settings)
        self.load()

    def load(self) -> None:
        self.book.load()
        if self.book.is_good:
            self.book.remember_applied(self.book.whole_mark)

    def rule(self, name: str) -> str:
        """What refuses version 1.0 of that project."""
        return self.book.judge("default", name, File(f"{name}-1.0.tar.gz", "0" * 64, "http://x/"), None).rule

    def look(self) -> list[str]:
        """What the doctor, who is another process, finds."""
        return Rulebook(Home(self.root), self.settings).look()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def bad_text(path: Path) -> None:
    path.write_text("[[rule]]\naction = 'denny'\n")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [Path.unlink, bad_text, no_text, a_folder])
def test_a_policy_that_goes_bad(desk: Desk, damage: Callable[[Path], None]) -> None:
    """The last good one holds, also after restarts; mirror and doctor name the file; an empty one ends it."""
    desk.policy.write_text(DENY)
    desk.load()
    assert desk.rule("shop") == "rule 1"
    damage(desk.policy)
    for _ in range(3):
        desk.load()
        assert desk.rule("shop") == "rule 1"
        assert [problem for problem in desk.book.problems if "mirror-policy.toml" in problem]
        assert not [problem for problem in desk.book.problems if "Errno" in problem]
        assert [problem for problem in desk.look() if "mirror-policy.toml" in problem]
        desk.restart()
    if desk.policy.is_dir():
        desk.policy.rmdir()
    desk.policy.write_text("")
    desk.load()
    assert desk.rule("shop") == ""
    assert desk.book.problems == ()
    desk.policy.unlink()
    desk.restart()
    assert desk.rule("shop") == "", "an empty one may go: it let everything through"
    assert desk.book.problems == ()


def half(path: Path) -> None:
    path.write_text(path.read_text()[:-40])


def empty(path: Path) -> None:
    path.write_text("")


def unsealed(path: Path) -> None:
    path.write_text(path.read_text().partition("\n")[2])


@pytest.mark.parametrize("damage", [half, empty, bad_text, no_text, a_folder, unsealed, Path.unlink])
@pytest.mark.parametrize("gone", [True, False])
def test_a_kept_policy_that_is_damaged(desk: Desk, damage: Callable[[Path], None], gone: bool) -> None:
    """After a restart nothing is let through, with the reason: half of a policy is a policy, too, and so is none."""
    desk.policy.write_text(DENY)
    desk.load()
    if gone:
        desk.policy.unlink()
    else:
        bad_text(desk.policy)
    desk.load()
    damage(desk.kept)
    desk.restart()
    assert not desk.book.is_good
    with pytest.raises(DaeError) as caught:
        desk.rule("shop")
    assert caught.value.code == "mirror/bad-policy"
    assert "mirror-policy.toml" in caught.value.cause
    assert str(desk.policy.parent) not in caught.value.line()
    assert [problem for problem in desk.look() if "the copy of the policy" in problem]
    if desk.kept.is_dir():
        desk.kept.rmdir()
    desk.policy.write_text(DENY)
    desk.load()
    assert desk.rule("shop") == "rule 1"
    desk.policy.unlink()
    desk.restart()
    assert desk.rule("shop") == "rule 1", "it is kept again"


def test_a_kept_policy_heals(desk: Desk) -> None:
    """While the mirror runs it writes it anew, of what is in force."""
    desk.policy.write_text(DENY)
    desk.load()
    half(desk.kept)
    desk.policy.unlink()
    desk.load()
    desk.restart()
    assert desk.rule("other") == "rule 2"


def test_a_policy_somewhere_else(tmp_path: Path) -> None:
    """A file that the settings name and that never was there lets nothing through by a slip of the pen."""
    desk = Desk(tmp_path, mirror_policy=str(tmp_path / "of-ours.toml"))
    with pytest.raises(DaeError, match=r"of-ours\.toml"):
        desk.rule("shop")
    assert "is not there" in desk.book.problems[0]
    (tmp_path / "of-ours.toml").write_text("")
    desk.load()
    assert desk.rule("shop") == ""


def rotten(folder: Path) -> None:
    (folder / "a.json").write_text(document()[:-9])


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("what was here?")


def dangling(folder: Path) -> None:
    (folder / "a.json").unlink()
    (folder / "a.json").symlink_to("nowhere")


@pytest.mark.parametrize("damage", [rotten, a_file, dangling, shutil.rmtree])
def test_documents_that_go_bad(desk: Desk, damage: Callable[[Path], None]) -> None:
    """What they said holds, also after restarts, and what is wrong is told; what is taken away counts no more."""
    desk.folder.mkdir()
    (desk.folder / "a.json").write_text(document())
    desk.load()
    assert desk.rule("holey") == "vulnerability"
    damage(desk.folder)
    for _ in range(3):
        desk.load()
        assert desk.rule("holey") == "vulnerability"
        assert desk.book.problems
        assert not [problem for problem in desk.book.problems if "Errno" in problem]
        assert desk.look() == list(desk.book.problems)
        desk.restart()
    if desk.folder.is_file():
        desk.folder.unlink()
    desk.folder.mkdir(exist_ok=True)
    for path in desk.folder.iterdir():
        path.unlink()
    desk.load()
    assert desk.rule("holey") == ""
    assert desk.book.problems == ()


def test_documents_that_were_never_good(desk: Desk) -> None:
    """Right after a start they are a problem; those beside them count."""
    desk.folder.mkdir()
    (desk.folder / "a.json").write_text("{")
    (desk.folder / "b.json").write_text(document())
    (desk.folder / "c.zip").write_bytes(b"PK")
    desk.restart()
    assert desk.rule("holey") == "vulnerability"
    assert desk.book.problems == ("a.json is not JSON", "c.zip: it is damaged")
    assert desk.look() == list(desk.book.problems)


def test_an_archive_of_documents(desk: Desk) -> None:
    """One that cannot be read is told of, and counts as it was; the others count as they are now."""
    desk.folder.mkdir()
    for first in (document("A", "holey"), "{"):
        with zipfile.ZipFile(desk.folder / "all.zip", "w") as archive:
            archive.writestr("a.json", first)
            archive.writestr("b.json", document("B", "leaky" if first == "{" else "porous"))
        desk.load()
    assert [desk.rule(name) for name in ("holey", "leaky", "porous")] == ["vulnerability", "vulnerability", ""]
    assert desk.book.problems == ("all.zip: a.json is not JSON",)


def test_documents_somewhere_else(tmp_path: Path) -> None:
    """That nothing is where the settings say is a problem; one file is as good as a folder."""
    desk = Desk(tmp_path, mirror_advisories=str(tmp_path / "ours.json"))
    assert desk.book.problems == (f"{tmp_path / 'ours.json'} is not there",)
    (tmp_path / "ours.json").write_text(document())
    desk.load()
    assert desk.rule("holey") == "vulnerability"
    (tmp_path / "ours.json").unlink()
    for _ in range(2):
        desk.load()
        assert desk.rule("holey") == "vulnerability"
        assert "is gone" in desk.book.problems[0]
        desk.restart()


def test_what_was_known_is_damaged(desk: Desk) -> None:
    """When neither the documents nor what was kept of them can be read, that is said."""
    desk.folder.mkdir()
    (desk.folder / "a.json").write_text(document())
    desk.load()
    (Home(desk.root).mirror / "advisories.json").write_text('{"x": [1]}')
    shutil.rmtree(desk.folder)
    desk.restart()
    assert "what was known of vulnerabilities before cannot be read either" in desk.book.problems


def test_approvals_of_before(desk: Desk) -> None:
    """Those that were written down without a name hold; a file that is damaged approves nothing new, and is told of."""
    file = Home(desk.root).mirror / "approved.json"
    file.write_text('{"shop": ["1.0"]}')
    desk.policy.write_text("quarantine = ['*']\n")
    desk.load()
    assert (desk.rule("shop"), desk.rule("other")) == ("", "quarantine")
    approvals.approve(Home(desk.root).mirror, "other", "*", "ann")
    assert approvals.read_approvals(Home(desk.root).mirror)["shop"] == {"1.0": approvals.Approval()}
    desk.load()
    assert (desk.rule("shop"), desk.rule("other")) == ("", "")
    for text in ("{", "[]", '{"shop": 1}', '{"shop": {"1.0": {}}}'):
        file.write_text(text)
        desk.load()
        assert (desk.rule("shop"), desk.book.problems) == ("", ("approved.json: it is damaged",))
        with pytest.raises(DaeError):
            approvals.approve(Home(desk.root).mirror, "other", "*", "ann")
    desk.restart()
    assert (desk.rule("shop"), desk.look()) == ("quarantine", ["approved.json: it is damaged"])
