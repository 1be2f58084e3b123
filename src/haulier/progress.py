"""Speed and time remaining of one transfer. This is plain arithmetic; the caller passes the time in."""

from __future__ import annotations

from typing import Final

__all__ = ["SAMPLE_S", "Meter"]

SAMPLE_S: Final = 0.25
"""Seconds between two samples of the speed. Shorter ones show the network's bursts, not its rate."""

_WEIGHT: Final = 0.3
"""The weight of a new sample in the moving average: about two seconds of history at four samples a second."""


class Meter:
    """An exponentially weighted moving average of bytes per second."""

    __slots__ = ("_at", "_bytes", "speed")

    def __init__(self, transferred: int, now: float) -> None:
        self._at = now
        self._bytes = transferred
        self.speed: float = 0.0

    def sample(self, transferred: int, now: float) -> float:
        """Add a sample: ``transferred`` bytes at ``now`` (monotonic seconds). Returns the speed in bytes per second."""
        elapsed = now - self._at
        if elapsed <= 0:
            return self.speed
        latest = max(transferred - self._bytes, 0) / elapsed
        self.speed = latest if self.speed == 0.0 else self.speed + _WEIGHT * (latest - self.speed)
        self._at, self._bytes = now, transferred
        return self.speed

    def remaining(self, transferred: int, size: int) -> float | None:
        """Return the seconds until ``size`` bytes are reached at the present speed; None if the speed is unknown."""
        if self.speed <= 0 or size <= transferred:
            return None
        return (size - transferred) / self.speed
