"""A clock that tests move by hand: a week of delays takes milliseconds."""

from __future__ import annotations

__all__ = ["VirtualClock"]


class VirtualClock:
    """Two clocks in step, as ``time.monotonic`` and ``time.time`` are while the wall clock is not set."""

    __slots__ = ("_now", "_on")

    def __init__(self, now: float = 1_000.0, on: float = 1_700_000_000.0) -> None:
        self._now, self._on = now, on

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return self._now

    def time(self) -> float:
        """UTC seconds since the epoch."""
        return self._on

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ``ValueError`` for less than 0."""
        if not seconds >= 0:
            raise ValueError(f"a monotonic clock does not go back: {seconds!r}")
        self._now += seconds
        self._on += seconds

    def advance_to(self, at: float) -> None:
        """Let time pass until ``at`` (monotonic); does nothing if that is in the past."""
        self.advance(max(0.0, at - self._now))

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now:g} s>"
