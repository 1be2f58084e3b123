"""When may the next download of a source start? Delay, jitter, suspension, pause: all on the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Literal, TypeAlias

from haulier.policies import SourcePolicy

__all__ = ["Gate", "Hold"]

Hold: TypeAlias = Literal["unregistered", "store"]
"""What waits was found on disk, and its source is yet to be registered; the store cannot write."""


class Gate:
    """The one place that knows a source's spacing. It outlives the actors that wait at it.

    ``draw(low, high)`` gives a factor between the two (``random.uniform``); it comes in from outside.
    """

    __slots__ = (
        "_draw", "_floor", "_from_end", "_gap", "_jitter", "_last_end", "_last_start",
        "claims", "delay", "holds", "is_free", "paused", "probing", "suspended_until",
    )  # fmt: skip

    def __init__(self, policy: SourcePolicy, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self._last_end = self._last_start = -inf
        self.paused = False
        self.holds: set[Hold] = set()
        """What else keeps everything from starting, where records outlive the process."""
        self.claims = 0
        self.suspended_until = -inf
        self.is_free: bool
        """Whether nothing is in the way of any start: no delay, no pause, no suspension. Most sources are free."""
        self.probing = False
        """Whether the source was suspended and has not yet shown, with one download alone, that it is well again."""
        self.apply(policy)

    def apply(self, policy: SourcePolicy) -> None:
        """Take over the spacing of ``policy``. What has ended and started so far is not forgotten."""
        self._from_end = policy.delay_from == "end"
        self._jitter = policy.jitter
        self._floor = policy.delay_floor
        self.set_delay(policy.delay)

    def set_delay(self, seconds: float) -> None:
        """Change the delay, also for the download that waits for it now."""
        self.delay = seconds
        self._gap = self._drawn()
        self._look()

    def set_paused(self, paused: bool) -> None:
        """Keep everything from starting, or no longer."""
        self.paused = paused
        self._look()

    def hold(self, why: Hold, held: bool) -> None:
        """Keep everything from starting because of ``why``, or no longer."""
        (self.holds.add if held else self.holds.discard)(why)
        self._look()

    def _look(self) -> None:
        self.is_free = self._gap == 0 and not (self.paused or self.holds) and self.suspended_until == -inf

    def _drawn(self) -> float:
        if self._jitter is None:
            return max(self.delay, self._floor)
        return max(self.delay * self._draw(*self._jitter), self._floor)

    @property
    def is_closed(self) -> bool:
        """Whether nothing starts, however long one waits: it is paused, or held."""
        return self.paused or bool(self.holds)

    def opens_at(self) -> float:
        """The monotonic second from which the next download may start; ``inf`` while paused, ``-inf`` for at once."""
        if self.paused or self.holds or self.claims:
            return inf
        since = max(self._last_start, self._last_end) if self._from_end else self._last_start
        return max(since + self._gap, self.suspended_until)

    def rules(self) -> dict[str, Any]:
        """What holds from now on, for a trace: the least delay that jitter may draw, and since when it counts."""
        factor = 1.0 if self._jitter is None else self._jitter[0]
        delay = max(self.delay * factor, self._floor)
        return {"delay": delay, "from": "end" if self._from_end else "start", "paused": self.is_closed}

    def limit(self, concurrency: int) -> int:
        """How many may run at once: one alone while the source is on probation."""
        return 1 if self.probing else concurrency

    def claim(self) -> None:
        """A download was taken, and is about to start: nothing else starts before that is counted."""
        self.claims += 1

    def started(self, now: float, claimed: bool = False) -> None:
        """A download started."""
        self.claims -= claimed
        self._last_start = now
        if self._jitter is not None and not self._from_end:
            self._gap = self._drawn()

    def ended(self, now: float) -> None:
        """A download that ran has ended, however it ended. An end that is told of late takes no later one back."""
        self._last_end = max(self._last_end, now)
        if self._jitter is not None and self._from_end:
            self._gap = self._drawn()

    def turned(self, now: float) -> None:
        """One has ended and the next has started, where nothing is in the way of any start."""
        self._last_end = self._last_start = now

    def suspend(self, until: float) -> None:
        """Nothing starts before ``until``; then one download is tried alone."""
        self.suspended_until = max(self.suspended_until, until)
        self.probing = True
        self._look()

    def proved(self) -> None:
        """A download got through: the probation is over, and so is the suspension, which is in the way no longer."""
        self.probing = False
        self.suspended_until = -inf
        self._look()

    def resume_at(self, last_end: float, suspended_until: float = -inf) -> None:
        """What was so before the process was started again, in monotonic seconds.

        When something last started is not known, but that it was no later than the last end.
        """
        self._last_end = self._last_start = last_end
        if suspended_until > -inf:
            self.suspend(suspended_until)

    def closed_by(self, now: float) -> Literal["unregistered", "store", "pause", "suspension", "delay"] | None:
        """What keeps the gate closed at ``now``; None when it is open."""
        if self.holds:
            return "unregistered" if "unregistered" in self.holds else "store"
        if self.paused:
            return "pause"
        if now < self.suspended_until:
            return "suspension"
        if self.claims:
            return "delay" if self.is_spaced else None  # one is about to start; the delay counts from then
        return "delay" if now < self.opens_at() else None

    @property
    def is_spaced(self) -> bool:
        """Whether a start keeps the gate closed for some time."""
        return self._gap > 0 or (self._jitter is not None and self.delay > 0)
