"""How a waiting actor is woken: by a ring, or by the clock."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX

__all__ = ["Bell"]


class Bell:
    """A ring is kept until somebody waits; rings in a row may count as one, and a wait may end without one.

    The waiter arms the bell, looks for work, then waits; whoever brings work rings only an armed bell. So nothing is
    paid for a ring that nobody waits for, and no ring is lost. A ``SimpleQueue`` is one step in C, and may be
    put to from a finalizer.
    """

    def __init__(self) -> None:
        self.armed = False
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the waiter, if there is one."""
        if self.armed:
            self.armed = False
            self._rings.put(None)

    def wait(self, seconds: float | None) -> None:
        """Wait for a ring, at most ``seconds`` (None: as long as it takes)."""
        if seconds is not None:
            seconds = min(max(seconds, 0.0), TIMEOUT_MAX)
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            pass
        self.armed = False
