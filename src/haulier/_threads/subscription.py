"""Subscribers: each hears the events on a thread of its own, so that a slow one delays nobody."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from haulier._threads.bell import Bell
from haulier._threads.log import Log
from haulier.events import Event, Missed

__all__ = ["Subscription"]

logger = Log("haulier.events")


class Subscription:
    """Events on their way to one callback, at most ``capacity`` of them.

    A context manager; ``close()`` ends it. A callback that raises is logged and goes on being called.
    """

    def __init__(self, callback: Callable[[Event], Any], capacity: int, ended: Callable[[Subscription], None]) -> None:
        self._callback = callback
        self._capacity = capacity
        self._ended = ended
        self._events: deque[Event] = deque()
        self._lost = 0
        self._lock = threading.RLock()
        self._bell = Bell()
        self._closed = False
        self.thread = threading.Thread(target=self._run, name="haulier-subscriber", daemon=True)
        self.thread.start()

    def offer(self, event: Event) -> None:
        """Queue an event; where the subscriber is too far behind, count it as missed."""
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
        """Hear the events that happened so far (for at most ``timeout`` seconds), then no more. Twice is fine."""
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
            except BaseException:  # SystemExit, too, ends nothing but this call
                logger.exception("a subscriber failed on %s", type(event).__name__)
