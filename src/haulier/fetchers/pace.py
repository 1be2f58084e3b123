"""A limit of bytes per second, shared by several downloads."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic

__all__ = ["Pace"]

_BURST_S = 0.1
"""How much of the rate may arrive at once, in seconds. With less, a download would wait too often."""


class Pace:
    """A leaky bucket: ``spend(count)`` says how long to wait before more is taken."""

    def __init__(self, bytes_per_s: float, now: Callable[[], float] = monotonic) -> None:
        self._rate = bytes_per_s
        self._now = now
        self._lock = Lock()
        self._paid_until = 0.0

    @property
    def most_bytes(self) -> int:
        """The most bytes to read at once."""
        return max(1, int(self._rate * _BURST_S))

    def spend(self, count: int) -> float:
        """Count ``count`` bytes. Returns the seconds to wait before reading more."""
        with self._lock:
            now = self._now()
            self._paid_until = max(self._paid_until, now - _BURST_S) + count / self._rate
            return max(0.0, self._paid_until - now)
