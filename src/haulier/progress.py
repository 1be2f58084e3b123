"""Speed and time remaining of one transfer: plain arithmetic, the clock comes in from outside."""

from __future__ import annotations

from typing import Final

__all__ = ["SAMPLE_S", "Meter"]

SAMPLE_S: Final = 0.25
"""Seconds between two samples of the speed: shorter ones show the network's bursts, not its rate."""

_WEIGHT: Final = 0.3
"""Of a new sample in the moving average: about two seconds of history at four samples a second."""


class Meter:
    """An exponentially weighted moving average of bytes per second."""

    __slots__ = ("_at", "_bytes", "speed")

    def __init__(self, transferred: int, now: float) -> None:
        self._at = now
        self._bytes = transferred
        self.speed: float = 0.0

    def sample(self, transferred: int, now: float) -> float:
        """Note that ``transferred`` bytes are here at ``now`` (monotonic seconds); the speed in bytes per second."""
        elapsed = now - self._at
        if elapsed <= 0:
            return self.speed
        latest = max(transferred - self._bytes, 0) / elapsed
        self.speed = latest if self.speed == 0.0 else self.speed + _WEIGHT * (latest - self.speed)
        self._at, self._bytes = now, transferred
        return self.speed

    def remaining(self, transferred: int, size: int) -> float | None:
        """Seconds until ``size`` is reached at the present speed; None while that cannot be told."""
        if self.speed <= 0 or size <= transferred:
            return None
        return (size - transferred) / self.speed
