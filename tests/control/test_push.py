"""Which update of a push deploys, and to which stage."""

from __future__ import annotations

import pytest

from control.push import NO_OBJECT, PushRequest, choose
from core.errors import DaeError
from core.nouns import Stage

OLD, NEW = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("branch", "stage"),
    [("master", Stage.DEV), ("main", Stage.DEV), ("beta", Stage.BETA), ("release", Stage.STABLE)],
)
def test_branches_and_stages(branch: str, stage: Stage) -> None:
    """Each of the four branches deploys to its stage; a tag beside it deploys nothing."""
    chosen = choose("blog", "ann", [("refs/tags/v1", OLD, NEW), (f"refs/heads/{branch}", OLD, NEW)])
    assert chosen is not None
    push, found = chosen
    assert (push.ref, push.new, push.who, found) == (f"refs/heads/{branch}", NEW, "ann", stage)


def test_tags_alone_deploy_nothing() -> None:
    """A push of tags is taken, and no update is chosen."""
    assert choose("blog", "ann", [("refs/tags/v1", OLD, NEW)]) is None


@pytest.mark.parametrize(
    ("updates", "code"),
    [
        ([("refs/heads/topic", OLD, NEW)], "push/wrong-branch"),
        ([("refs/heads/master/x", OLD, NEW)], "push/wrong-branch"),
        ([("refs/master", OLD, NEW)], "push/wrong-branch"),
        ([("master", OLD, NEW)], "push/wrong-branch"),
        ([("refs/heads/master", OLD, NEW), ("refs/heads/topic", OLD, NEW)], "push/several"),
        ([("refs/heads/master", OLD, NEW), ("refs/heads/beta", OLD, NEW)], "push/several"),
        ([("refs/heads/master", OLD, NO_OBJECT)], "push/delete"),
        ([("refs/heads/master", OLD, "HEAD")], "push/bad-ref"),
    ],
)
def test_what_does_not_deploy(updates: list[tuple[str, str, str]], code: str) -> None:
    """Any other branch, several at once, a deletion and an object that is no name are refused, each with its code."""
    with pytest.raises(DaeError) as raised:
        choose("blog", "ann", updates)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("names", "command"),
    [(("topic", "main"), "git push dae main"), (("one", "two"), "git push dae HEAD:master")],
)
def test_which_of_several(names: tuple[str, ...], command: str) -> None:
    """The command names the branch among them that deploys."""
    with pytest.raises(DaeError, match="push/several") as raised:
        choose("blog", "ann", [(f"refs/heads/{name}", OLD, NEW) for name in names])
    assert raised.value.hint.endswith(command)


@pytest.mark.parametrize("name", ["$(reboot)", "-x", "a;b", "a b", "\x1b[2J"])
def test_the_hint_is_safe_to_type(name: str) -> None:
    """The command that is shown holds no branch name that a shell or a terminal would read."""
    with pytest.raises(DaeError, match="push/wrong-branch") as raised:
        choose("blog", "ann", [(f"refs/heads/{name}", OLD, NEW)])
    assert raised.value.hint == "type: git push dae HEAD:master"
    assert raised.value.cause.isprintable()


REQUEST = {"id": "a" * 32, "app": "blog", "who": "ann", "updates": [{"ref": "r", "old": OLD, "new": NEW}]}


@pytest.mark.parametrize("change", [{"id": "../x"}, {"app": "../x"}, {"updates": None}, {"updates": [{}]}])
def test_requests_that_are_refused(change: dict[str, object]) -> None:
    """A request of the hook's door has an id, an app's name and updates, or it is none."""
    assert PushRequest.from_json(REQUEST).updates == (("r", OLD, NEW),)
    with pytest.raises(DaeError, match=r"input/invalid|app/bad-name"):
        PushRequest.from_json({**REQUEST, **change})
