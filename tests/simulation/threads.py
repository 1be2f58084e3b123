"""Simulated threads: generators that yield wherever a real one could lose the processor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeAlias

from haulier.testing import VirtualClock

__all__ = ["FREE", "LOCK", "SeamDeque", "SeamDict", "Stage", "Steps", "Thread", "Wait"]


@dataclass(frozen=True)
class Wait:
    """What a simulated thread waits for: ``ready`` (None: only its turn), or the moment ``at`` (monotonic).

    ``free``: the step that follows does without the lock.
    """

    free: bool = True
    ready: Callable[[], bool] | None = None
    at: float = inf


FREE: Final = Wait()
LOCK: Final = Wait(free=False)
Steps: TypeAlias = Generator[Wait, None, Any]


class Thread:
    """A generator, and what it waits for."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.name = name
        self._steps = steps
        self.wait: Wait | None = next(steps, None)
        """None once it has ended."""

    def step(self, death: BaseException | None = None) -> None:
        """Go on to the next wait; or have ``death`` raised where it waits now."""
        try:
            self.wait = next(self._steps) if death is None else self._steps.throw(death)
        except StopIteration:
            self.wait = None
        except BaseException as error:
            if error is not death:
                raise
            self.wait = None

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Stage:
    """Threads that take a step when told, one clock and one lock.

    A step under the lock is atomic against the others that need it. What is done without may also happen in its middle,
    at each touch of a container that is shared without the lock: see ``interruptions``.
    """

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.threads: list[Thread] = []
        self.interruptions: deque[int] = deque()
        """At each touch under the lock these are taken until one is 0: n lets the n-th lock-free thread step first."""
        self.broken = False
        """Whether a step raised: nothing that happens after is of interest."""
        self._locked = self._stepping_in = False

    def runnable(self) -> list[Thread]:
        """The threads that could take a step now."""
        now = self.clock.monotonic()
        return [t for t in self.threads if t.wait and (t.wait.ready is None or t.wait.ready() or t.wait.at <= now)]

    def next_due(self) -> float:
        """The monotonic second at which somebody has something to do again; ``inf`` for never."""
        return min((t.wait.at for t in self.threads if t.wait), default=inf)

    def look(self) -> None:
        """Called after each step."""

    def step(self, choice: int = 0) -> bool:
        """Let the ``choice``-th runnable thread (counted round and round) take a step; False where there is none."""
        runnable = self.runnable()
        if runnable:
            self.advance(runnable[choice % len(runnable)])
        return bool(runnable)

    def rest(self) -> None:
        """Fair turns for everybody until nobody has anything to do before time passes."""
        for _ in range(10_000):
            runnable = self.runnable()
            if not runnable:
                return
            for thread in runnable:
                if thread in self.runnable():
                    self.advance(thread)
        raise AssertionError(f"they never come to rest: {self.runnable()}")

    def spawn(self, name: str, steps: Steps) -> Thread:
        """Add a thread."""
        self.threads.append(Thread(name, steps))
        return self.threads[-1]

    def advance(self, thread: Thread, death: BaseException | None = None) -> None:
        """Let ``thread`` take a step, whether it could or not where ``death`` strikes it; then look."""
        self._advance(thread, death)
        self.look()

    def _advance(self, thread: Thread, death: BaseException | None = None) -> None:
        self.broken = True
        thread.step(death)
        self.broken = False
        if thread.wait is None:
            self.threads.remove(thread)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The lock, for a part of one step."""
        assert not self._locked, "a step that needs the lock must wait for LOCK"
        self._locked = True
        try:
            yield
        finally:
            self._locked = False

    def seam(self) -> None:
        """Whoever does without the lock may step in here."""
        if not self._locked or self._stepping_in:
            return
        while self.interruptions and (choice := self.interruptions.popleft()):
            free = [thread for thread in self.runnable() if thread.wait and thread.wait.free]
            if free:
                self._stepping_in = True
                try:
                    self._advance(free[(choice - 1) % len(free)])
                    self.broken = True  # until the step that was interrupted is over, too
                finally:
                    self._stepping_in = False


class SeamDeque(deque[str]):
    """A deque that others may get at before each of its operations. ``arrived`` hears of what is appended."""

    def __init__(self, seam: Callable[[], None], arrived: Callable[[str], None]) -> None:
        super().__init__()
        self._seam, self._arrived = seam, arrived

    def __len__(self) -> int:
        self._seam()
        return super().__len__()

    def append(self, x: str, /) -> None:
        """As in ``deque``."""
        self._seam()
        self._arrived(x)
        super().append(x)

    def appendleft(self, x: str, /) -> None:
        """As in ``deque``."""
        self._seam()
        super().appendleft(x)

    def extendleft(self, iterable: Iterable[str], /) -> None:
        """As in ``deque``."""
        self._seam()
        super().extendleft(iterable)

    def __iter__(self) -> Iterator[str]:
        self._seam()
        return super().__iter__()

    def clear(self) -> None:
        """As in ``deque``."""
        self._seam()
        super().clear()

    def popleft(self) -> str:
        """As in ``deque``."""
        self._seam()
        return super().popleft()


class SeamDict(dict[str, Any]):
    """The same for a dict."""

    def __init__(self, seam: Callable[[], None]) -> None:
        super().__init__()
        self._seam = seam

    def __setitem__(self, key: str, value: Any, /) -> None:
        self._seam()
        super().__setitem__(key, value)

    def __contains__(self, key: object, /) -> bool:
        self._seam()
        return super().__contains__(key)

    def __len__(self) -> int:
        self._seam()
        return super().__len__()

    def pop(self, key: str, default: Any = None, /) -> Any:
        """As in ``dict``."""
        self._seam()
        return super().pop(key, default)
