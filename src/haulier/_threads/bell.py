"""How a waiting actor is woken: by a ring, or by the clock."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX

__all__ = ["Bell"]


class Bell:
    """Wakes one waiting thread. Several rings may count as one, and a wait may end without a ring.

    The waiter arms the bell, then looks for work, then waits. A thread that brings work rings only an armed bell. So no
    ring is lost, and a ring costs nothing if no thread waits. The ``SimpleQueue`` inside makes a ring one step in C,
    which is safe in a finalizer.
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
        """Wait for a ring, at most ``seconds`` (None: no limit)."""
        if seconds is not None:
            seconds = min(max(seconds, 0.0), TIMEOUT_MAX)
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            pass
        self.armed = False
