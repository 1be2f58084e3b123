"""Decide when the next download of a source may start: delay, jitter, suspension and pause, in monotonic seconds."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, TypeAlias

from haulier.policies import SourcePolicy

__all__ = ["Gate", "Hold"]

Hold: TypeAlias = Literal["unregistered", "store"]
"""``unregistered``: downloads came from disk before their source was registered. ``store``: the store cannot write."""


SHORT_SUSPENSION_S: Final = 0.1
"""A suspension below this counts as short: see ``Gate.suspension_s``."""

FIRST_SUSPENSION_S: Final = 0.005
"""The least that the first of several short suspensions in a row lasts, in seconds."""

LONGEST_SHORT_S: Final = 60.0


class Gate:
    """Knows the spacing of one source, and is the only place that does. Outlives the actors that wait for it.

    ``draw(low, high)`` returns a factor between the two, such as ``random.uniform``. Tests pass their own.
    """

    __slots__ = (
        "_draw", "_floor", "_from_end", "_gap", "_jitter", "_last_end", "_last_start", "_short_suspensions",
        "claims", "delay", "holds", "is_free", "paused", "probing", "suspended_until",
    )  # fmt: skip

    def __init__(self, policy: SourcePolicy, draw: Callable[[float, float], float]) -> None:
        self._draw = draw
        self._last_end = self._last_start = -inf
        self._short_suspensions = 0
        self.paused = False
        self.holds: set[Hold] = set()
        """Why nothing may start, besides a pause. Only durable sources have any."""
        self.claims = 0
        """Downloads that were taken and whose start is not counted yet: see ``claim``."""
        self.suspended_until = -inf
        """When the suspension ends, in monotonic seconds; ``-inf`` for none."""
        self.is_free: bool
        """Whether nothing ever delays a start: no delay, pause, hold or suspension. Most sources are free."""
        self.probing = False
        """Whether the source is on probation: until ``end_probation`` its downloads run one at a time."""
        self.apply(policy)

    def apply(self, policy: SourcePolicy) -> None:
        """Apply the spacing of ``policy``. The last start and the last end still count."""
        self._from_end = policy.delay_from == "end"
        self._jitter = policy.jitter
        self._floor = policy.delay_floor
        self.set_delay(policy.delay)

    def set_delay(self, seconds: float) -> None:
        """Change the delay to ``seconds``, also for a download that already waits for it."""
        self.delay = seconds
        self._gap = self._drawn()
        self._look()

    def set_paused(self, paused: bool) -> None:
        """Pause the source, or end the pause. Nothing starts during a pause."""
        self.paused = paused
        self._look()

    def hold(self, why: Hold, held: bool) -> None:
        """Keep everything from starting because of ``why``; ``held=False`` drops that reason."""
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
        """Whether nothing starts however long one waits: the source is paused or held."""
        return self.paused or bool(self.holds)

    def opens_at(self) -> float:
        """The monotonic second from which the next download may start; ``inf`` while that depends on more than time."""
        if self.paused or self.holds or self.claims:
            return inf
        since = max(self._last_start, self._last_end) if self._from_end else self._last_start
        return max(since + self._gap, self.suspended_until)

    def rules(self) -> dict[str, Any]:
        """The rules from now on, for a trace. ``delay`` is the least that jitter may draw, in seconds."""
        factor = 1.0 if self._jitter is None else self._jitter[0]
        delay = max(self.delay * factor, self._floor)
        return {"delay": delay, "from": "end" if self._from_end else "start", "paused": self.is_closed}

    def limit(self, concurrency: int) -> int:
        """How many downloads may run at once: ``concurrency``, or 1 while the source is on probation."""
        return 1 if self.probing else concurrency

    def claim(self) -> None:
        """Close the gate for a download that was taken, until ``started`` counts its start."""
        self.claims += 1

    def unclaim(self) -> None:
        """Undo ``claim`` for a download whose impl is not called. No start is counted."""
        self.claims -= 1

    def started(self, now: float, claimed: bool = False) -> None:
        """Count a start at ``now``. ``claimed``: ``claim`` was called for this download before."""
        self.claims -= claimed
        self._last_start = now
        if self._jitter is not None and not self._from_end:
            self._gap = self._drawn()

    def ended(self, now: float) -> None:
        """Count the end of a run at ``now``, however it ended. An end reported late does not replace a later one."""
        self._last_end = max(self._last_end, now)
        if self._jitter is not None and self._from_end:
            self._gap = self._drawn()

    def end_and_start(self, now: float) -> None:
        """Count an end and the next start, both at ``now``. Only for a gate that is free."""
        self._last_end = self._last_start = now

    def suspension_s(self, asked_s: float) -> float:
        """How long a suspension lasts for which ``asked_s`` seconds were asked. Counts short ones in a row.

        A source that asks for next to nothing again and again must not make its download a busy loop. Each such
        suspension is at least twice as long as the one before, up to a minute.
        """
        if asked_s >= SHORT_SUSPENSION_S:
            return asked_s
        least_s = min(FIRST_SUSPENSION_S * 2.0**self._short_suspensions, LONGEST_SHORT_S)
        self._short_suspensions = min(self._short_suspensions + 1, 30)
        return max(asked_s, least_s)

    def suspend(self, until: float) -> None:
        """Let nothing start before ``until`` (monotonic seconds); then the source is on probation."""
        self.suspended_until = max(self.suspended_until, until)
        self.probing = True
        self._look()

    def end_probation(self) -> None:
        """End the probation and the suspension: a download has ended without asking for another pause."""
        self.probing = False
        self.suspended_until = -inf
        self._short_suspensions = 0
        self._look()

    def resume_at(self, last_end: float, suspended_until: float = -inf) -> None:
        """Restore the spacing of an earlier process. Both times are in monotonic seconds of this process.

        The last start is not stored. The last end stands for it, since no start was later than that.
        """
        self._last_end = self._last_start = last_end
        if suspended_until > -inf:
            self.suspend(suspended_until)

    def closed_by(self, now: float) -> Literal["unregistered", "store", "pause", "suspension", "delay"] | None:
        """What keeps the gate closed at ``now``; None if it is open."""
        if self.holds:
            return "unregistered" if "unregistered" in self.holds else "store"
        if self.paused:
            return "pause"
        if now < self.suspended_until:
            return "suspension"
        if self.claims:
            return "delay" if self.is_spaced else None  # a download is about to start, and the delay counts from then
        return "delay" if now < self.opens_at() else None

    @property
    def is_spaced(self) -> bool:
        """Whether a start closes the gate for some time."""
        return self._gap > 0 or (self._jitter is not None and self.delay > 0)
