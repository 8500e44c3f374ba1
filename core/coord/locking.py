"""The lock of the embedded coordination: an ephemeral key, taken by compare-and-set, awaited by a watch."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from core.coord.interface import LOCKS, Holder, Session, checked
from core.errors import DaeError

if TYPE_CHECKING:
    from core.coord.embedded import EmbeddedCoord


class EmbeddedLock:
    """See the interface. One object serves one holder; it may be taken again after it was released."""

    def __init__(self, coord: EmbeddedCoord, name: str, session: Session, timeout: float | None, who: str) -> None:
        self._coord, self._session = coord, session
        self._timeout, self._who = timeout, who
        self.name = checked(name)
        self.fence = 0

    @property
    def lost(self) -> bool:
        return self.fence == 0 or self._session.lost

    def acquire(self, timeout: float | None = None) -> bool:
        if self.fence:
            raise RuntimeError(f"{self.name} is held by this very object")
        wait = self._timeout if timeout is None else timeout
        deadline = None if wait is None else self._coord.now() + wait
        watch = self._coord.watch(f"{LOCKS}/{self.name}")
        while True:
            self.fence = self._coord.take(self.name, self._session, self._who)
            left = 1.0 if deadline is None else deadline - self._coord.now()
            if self.fence or left <= 0:
                return self.fence > 0
            watch.poll(min(left, 1.0))

    def check(self) -> None:
        if self.lost:
            raise DaeError("coord/lost", f"{self.name} is not held any more", "try again")

    def release(self) -> None:
        fence, self.fence = self.fence, 0
        if fence:
            self._coord.release(self.name, fence)

    def holder(self) -> Holder | None:
        return self._coord.holder(self.name)

    def __enter__(self) -> Self:
        if not self.acquire():
            held = self.holder()
            by = f" by {held}" if held and held.who else ""
            raise DaeError("coord/timeout", f"{self.name} is held{by}", "wait until that is done, and try again")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
