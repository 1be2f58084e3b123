"""The one thread of a supervisor: what it is told it carries out, each message by itself, now or when it is due."""

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
"""Between two looks for what nobody told: it is so rare that it may take a second, and a look is a wake-up."""

M = TypeVar("M")


class Desk(Generic[M]):
    """Messages, an agenda, and a thread that is there while ``is_needed()``.

    ``handle(message)`` carries out a message; whatever it raises, the next one follows. ``look()`` says what nobody
    told: a message, or None; it is called now and then while ``is_watched()``. ``lock`` is held where the thread comes
    and goes.
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
        """This is a copy in a forked child: the thread is not here."""
        self._handle, self._look, self._is_watched, self._is_needed = handle, look, is_watched, is_needed
        self._messages: deque[M] = deque()
        self._agenda: Agenda[M] = Agenda()
        self._bell = Bell()
        self._look_at = 0.0

    def tell(self, message: M) -> None:
        """Have ``message`` carried out."""
        if not self.forked:
            self._messages.append(message)
            self._bell.ring()
            self.ensure()

    def later(self, at: float, message: M) -> None:
        """Have it carried out at ``at`` (monotonic seconds); on the desk's own thread."""
        self._agenda.add(at, message)

    def ensure(self) -> None:
        """See that the thread lives, if it is needed: it may have been killed, too."""
        with self.lock:
            if self._is_needed() and not self.forked and (self.thread is None or not self.thread.is_alive()):
                self.thread = threading.Thread(target=self._run, name="haulier-supervision", daemon=True)
                self.thread.start()

    def _run(self) -> None:
        # A start that was interrupted may have been followed by another one: there is only one thread at a time.
        while self.thread is threading.current_thread():
            try:
                message = self._next()
                if message is None:
                    return
                self._handle(message)
            except BaseException:
                if sys.is_finalizing():
                    return
                logger.exception("a step of supervision failed")

    def _next(self) -> M | None:
        """Wait for a message, or for what is due next. None: the thread is not needed any more."""
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
