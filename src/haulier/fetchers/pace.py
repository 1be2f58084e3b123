"""A limit of bytes per second, shared by all who take from it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic

__all__ = ["Pace"]

_BURST_S = 0.1
"""So much of the rate may come at once: shorter, and the waits would be too many."""


class Pace:
    """A leaky bucket: ``spend(count)`` says how long to wait before more is taken."""

    def __init__(self, bytes_per_s: float, now: Callable[[], float] = monotonic) -> None:
        self._rate = bytes_per_s
        self._now = now
        self._lock = Lock()
        self._paid_until = 0.0

    @property
    def most_bytes(self) -> int:
        """How much to take at once, at most."""
        return max(1, int(self._rate * _BURST_S))

    def spend(self, count: int) -> float:
        """Count ``count`` bytes; the seconds to wait from now on."""
        with self._lock:
            now = self._now()
            self._paid_until = max(self._paid_until, now - _BURST_S) + count / self._rate
            return max(0.0, self._paid_until - now)
