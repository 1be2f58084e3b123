"""``Desk``: the one thread of a supervisor. It handles messages, each by itself, at once or when they are due."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, Generic, TypeVar

from haulier._engine.core.agenda import Agenda
from haulier._threads.bell import Bell
from haulier._threads.log import Log

__all__ = ["WATCH_S", "Desk"]

logger = Log("haulier.supervision")

WATCH_S: Final = 1.0
"""Seconds between two looks for unreported deaths. These are rare, and each look wakes the thread."""

M = TypeVar("M")


class Desk(Generic[M]):
    """Messages, an agenda, and a thread that lives while ``is_needed()``.

    - ``handle(message)`` handles a message. If it raises, the error is logged, and the next message follows.
    - ``look()`` returns a message about an unreported death, or None. It is called every ``WATCH_S`` seconds while
      ``is_watched()``.
    - ``lock`` is held while the thread is started or ends.
    """

    def __init__(
        self,
        lock: threading.RLock,
        handle: Callable[[M], None],
        look: Callable[[], M | None],
        is_watched: Callable[[], bool],
        is_needed: Callable[[], bool],
    ) -> None:
        self.lock = lock
        self.thread: threading.Thread | None = None
        self.forked = False
        """Whether this is the copy in a forked child, which does not have the thread."""
        self._handle, self._look, self._is_watched, self._is_needed = handle, look, is_watched, is_needed
        self._messages: deque[M] = deque()
        self._agenda: Agenda[M] = Agenda()
        self._bell = Bell()
        self._look_at = 0.0

    def tell(self, message: M) -> None:
        """Send ``message``. The thread handles it after earlier ones. Does nothing in a forked child."""
        if not self.forked:
            self._messages.append(message)
            self._bell.ring()
            self.ensure()

    def later(self, at: float, message: M) -> None:
        """Handle ``message`` at ``at`` (monotonic seconds). Call this on the desk's own thread only."""
        self._agenda.add(at, message)

    def ensure(self) -> None:
        """Start the thread if it is needed and does not run: it may have ended, or been killed."""
        with self.lock:
            if self._is_needed() and not self.forked and (self.thread is None or not self.thread.is_alive()):
                self.thread = threading.Thread(target=self._run, name="haulier-supervision", daemon=True)
                self.thread.start()

    def _run(self) -> None:
        # After an interrupted start a second thread may have been started. Only the current one continues.
        while self.thread is threading.current_thread():
            try:
                message = self._next()
                if message is None:
                    return
                self._handle(message)
            except BaseException:
                if sys.is_finalizing():
                    return
                logger.exception("the supervisor failed to handle a message")

    def _next(self) -> M | None:
        """Wait for the next message, or for the next due one. None: the thread is no longer needed."""
        while True:
            now = monotonic()
            due = self._agenda.pop_due(now)
            if due is not None:
                return due
            self._bell.armed = True
            if self._messages:
                return self._messages.popleft()
            if now >= self._look_at:
                self._look_at = now + WATCH_S
                seen = self._look()
                if seen is not None:
                    self._look_at = now  # there may be more
                    return seen
            with self.lock:
                if not self._is_needed() and not self._messages:
                    self.thread = None
                    return None
                at = min(self._agenda.next_at() or inf, self._look_at if self._is_watched() else inf)
            self._bell.wait(None if at == inf else at - monotonic())
