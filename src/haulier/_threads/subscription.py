"""``Subscription``: calls a subscriber on a thread of its own, so that a slow one delays no other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from haulier._threads.bell import Bell
from haulier._threads.lock import SafeLock
from haulier._threads.log import Log
from haulier.events import Event, Missed

__all__ = ["Subscription"]

logger = Log("haulier.events")


class Subscription:
    """Queues up to ``capacity`` events for one callback.

    Use it in a ``with`` statement, or call ``close()``. An exception of the callback is logged; later events still
    reach it.
    """

    def __init__(self, callback: Callable[[Event], Any], capacity: int, ended: Callable[[Subscription], None]) -> None:
        self._callback = callback
        self._capacity = capacity
        self._ended = ended
        self._events: deque[Event] = deque()
        self._lost = 0
        self._lock = SafeLock()
        self._bell = Bell()
        self._closed = False
        self.thread = threading.Thread(target=self._run, name="haulier-subscriber", daemon=True)
        self.thread.start()

    def offer(self, event: Event) -> None:
        """Queue an event, or count it as missed if the queue is full."""
        with self._lock:
            if len(self._events) >= self._capacity:
                self._lost += 1
                return
            if self._lost:
                self._events.append(Missed(self._lost))
                self._lost = 0
            self._events.append(event)
        self._bell.ring()

    def close(self, timeout: float | None = 5.0) -> None:
        """Deliver the events so far, waiting up to ``timeout`` seconds, and then no more. May be called twice."""
        if not self._closed:
            self._ended(self)
            self._closed = True
            self._bell.armed = True
            self._bell.ring()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._bell.armed = True
            with self._lock:
                if self._events:
                    event = self._events.popleft()
                elif self._lost:
                    event, self._lost = Missed(self._lost), 0
                elif self._closed:
                    return
                else:
                    event = None
            if event is None:
                self._bell.wait(None)
                continue
            try:
                self._callback(event)
            except BaseException:  # even SystemExit ends only this call
                logger.exception("a subscriber failed on %s", type(event).__name__)
