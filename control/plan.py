"""Plans: steps as data, which can be printed, run, and taken back up to their commit point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from control.output import Output
from core.errors import DaeError, no_room

log = logging.getLogger("dae.control")


def _nothing(_code: str) -> None:
    """Most steps have nothing to take back."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it says of itself, what it does, and how it is taken back (given the code of the error).

    What the two return is not looked at.
    """

    text: str
    do: Callable[[Output], object]
    undo: Callable[[str], object] = _nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """``before`` can be taken back; ``commit`` is one transaction; ``after`` only tidies up and may be done again.

    When the process is killed before the commit, recovery takes the rest back; after it, recovery completes it.
    """

    before: Sequence[Step]
    commit: Step
    after: Sequence[Step] = ()

    def texts(self) -> list[str]:
        """The plan for a person to read, a line per step."""
        return [step.text for step in (*self.before, self.commit, *self.after)]

    def run(self, output: Output) -> None:
        """Do it; when a step fails up to the commit, take the done ones back, last first, and raise that error."""
        done: list[Step] = []
        try:
            for step in self.before:
                output.check()
                done.append(step)
                step.do(output)
            output.check()
            self.commit.do(output)
        except BaseException as error:
            told = _told(error)
            for step in reversed(done):
                _take_back(step, told.code if told else "platform/internal", output)
            raise
        for step in self.after:
            try:
                step.do(output)
            except Exception as error:  # whatever it is: the new release serves, and that is the truth to report
                log.exception("after the commit: %s", step.text)
                output.warn(f"{step.text}: {_words(error)} (it is tried again in the background)")


def _take_back(step: Step, code: str, output: Output) -> None:
    try:
        step.undo(code)
    except Exception as error:  # the other steps are still to be taken back, and the first error is to be raised
        log.exception("taking back: %s", step.text)
        output.warn(f"taking back '{step.text}': {_words(error)} (it is tried again in the background)")


def _told(error: BaseException) -> DaeError | None:
    """The error to tell of this one; None: one that nobody foresaw."""
    return error if isinstance(error, DaeError) else no_room(error)


def _words(error: Exception) -> str:
    told = _told(error)
    return told.line() if told else "platform/internal: control's log has the details"
