"""When a server is too slow to be waited for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from haulier.fetchers.faults import FetchError
from haulier.policies import check_seconds

__all__ = ["Slowness", "TooSlow", "checked_min_speed"]


class TooSlow(FetchError):
    """The server sent less than ``min_speed``, or the attempt took longer than ``max_time``.

    Each such attempt counts, also if it got further: a server that dribbles always gets further.
    """


class Slowness:
    """Measures one attempt. Call ``begin``, then ``received`` for all that comes, and ``check`` often.

    - ``min_speed``: bytes per second, and over how many seconds they are averaged; None for no limit.
    - ``max_time``: seconds that the attempt may take; None for no limit.
    """

    def __init__(
        self, min_speed: tuple[float, float] | None, max_time: float | None, now: Callable[[], float] = monotonic
    ) -> None:
        self._min_speed = min_speed
        self._max_time = max_time
        self._now = now
        self._ends_at: float | None = None
        self._window_at: float | None = None
        """When the current window of ``min_speed`` began, moved by the time that we rested ourselves."""
        self._bytes = 0
        """Bytes in the current window."""

    def begin(self) -> None:
        """Start the clock of ``max_time``."""
        self._ends_at = None if self._max_time is None else self._now() + self._max_time
        self._window_at = None

    def body_begins(self) -> None:
        """Start the first window of ``min_speed``."""
        self._window_at, self._bytes = self._now(), 0

    def body_ends(self) -> None:
        """Measure no speed until more bytes are received."""
        self._window_at = None

    def received(self, count: int) -> None:
        """Count bytes of a body. The first ones begin it."""
        if self._window_at is None:
            self.body_begins()
        self._bytes += count

    def rested(self, seconds: float) -> None:
        """Take out a pause that is not the server's fault, but that of ``limit_rate``."""
        if self._window_at is not None:
            self._window_at += seconds

    def check(self) -> None:
        """Raise ``TooSlow`` if the attempt should not go on. Cheap: call it often."""
        if self._ends_at is None and self._min_speed is None:
            return
        now = self._now()
        if self._ends_at is not None and now >= self._ends_at:
            raise TooSlow(f"took longer than max_time, {self._max_time:g} s")
        if self._min_speed is None or self._window_at is None:
            return
        bytes_per_s, over_s = self._min_speed
        took_s = now - self._window_at
        if took_s < over_s:
            return
        if self._bytes < bytes_per_s * took_s:
            speed = f"{self._bytes / took_s:,.0f} B/s over {took_s:.0f} s"
            raise TooSlow(f"too slow: {speed}, and min_speed is {bytes_per_s:,.0f} B/s")
        self._window_at, self._bytes = now, 0


def checked_min_speed(min_speed: object, limit_rate: float | None) -> tuple[float, float] | None:
    """Check ``min_speed`` of a fetcher. Raises ``TypeError`` or ``ValueError``."""
    if min_speed is None:
        return None
    if not isinstance(min_speed, tuple) or len(min_speed) != 2:
        raise TypeError(f"min_speed must be (bytes per second, seconds), not {min_speed!r}")
    bytes_per_s, over_s = (check_seconds("min_speed", each, above_zero=True) for each in min_speed)
    if limit_rate is not None and bytes_per_s > limit_rate:
        raise ValueError(f"min_speed must not be above limit_rate, {limit_rate:,.0f} bytes per second")
    return bytes_per_s, over_s
