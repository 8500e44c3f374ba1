"""Plans: done in order, taken back in reverse up to the commit, only tidied up behind it."""

from __future__ import annotations

import pytest

from control.output import Output
from control.plan import Plan, Step
from core.errors import DaeError


class Recorder:
    """Steps that note what happened, some of which fail."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.seen: list[str] = []
        self.lines: list[str] = []
        self.output = Output(self.lines.append)

    def step(self, name: str) -> Step:
        def note(text: str) -> None:
            self.seen.append(text)
            if text in self.failing:
                raise DaeError("release/crashed", f"{text} failed")

        return Step(name, lambda _output: note(name), lambda code: note(f"undo {name} {code}"))

    def plan(self) -> Plan:
        return Plan([self.step("a"), self.step("b")], self.step("commit"), [self.step("c"), self.step("d")])


def test_a_plan_can_be_read() -> None:
    """Its texts are its steps in order, and reading them does nothing."""
    recorder = Recorder()
    assert recorder.plan().texts() == ["a", "b", "commit", "c", "d"]
    assert recorder.seen == []


def test_all_goes_well() -> None:
    """Every step is done once, in order, and nothing is taken back."""
    recorder = Recorder()
    recorder.plan().run(recorder.output)
    assert recorder.seen == ["a", "b", "commit", "c", "d"]


@pytest.mark.parametrize(("failing", "done"), [("a", ["a"]), ("b", ["a", "b"]), ("commit", ["a", "b", "commit"])])
def test_up_to_the_commit_a_failure_takes_all_back(failing: str, done: list[str]) -> None:
    """What was begun is taken back, last first, and told the error's code; the error is the plan's."""
    recorder = Recorder(failing)
    with pytest.raises(DaeError, match=f"release/crashed: {failing} failed"):
        recorder.plan().run(recorder.output)
    undone = [f"undo {name} release/crashed" for name in reversed(done) if name != "commit"]
    assert recorder.seen == [*done, *undone]


def test_an_undo_that_fails_does_not_keep_the_others() -> None:
    """It becomes a warning, and the first error stays the one that is told."""
    recorder = Recorder("commit", "undo b release/crashed")
    with pytest.raises(DaeError, match="commit failed"):
        recorder.plan().run(recorder.output)
    assert recorder.seen[-1] == "undo a release/crashed"
    assert [line for line in recorder.lines if "taking back 'b'" in line]


def test_behind_the_commit_nothing_fails_the_plan() -> None:
    """A step that only tidies up becomes a warning, and the next one is done."""
    recorder = Recorder("c")
    recorder.plan().run(recorder.output)
    assert recorder.seen == ["a", "b", "commit", "c", "d"]
    assert [line for line in recorder.lines if line.startswith(" !     c: release/crashed")]


def test_a_plan_that_nobody_waits_for() -> None:
    """The output is asked before each step up to the commit; when it raises, what was done is taken back."""
    recorder = Recorder()

    def check() -> None:
        if recorder.seen == ["a", "b"]:
            raise DaeError("push/cancelled", "gone")

    with pytest.raises(DaeError, match="push/cancelled"):
        recorder.plan().run(recorder.output.guarded(check))
    assert recorder.seen == ["a", "b", "undo b push/cancelled", "undo a push/cancelled"]
