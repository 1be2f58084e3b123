"""The slots of one source: how many are hired, how many impls are zombies, and whether the source rests after a crash.

A slot is one place at a source, worked by one source actor. The shell hires and ends the actors; the counts are here.
"""

from __future__ import annotations

from math import inf

from haulier._engine.core.restarts import GoDown, Restarts
from haulier.policies import SourcePolicy

__all__ = ["Slots"]


class Slots:
    """Counts the slots of one source. Every method needs the source's lock."""

    def __init__(self, policy: SourcePolicy) -> None:
        self.limit = policy.concurrency
        """How many impls may run at once."""
        self.live = 0
        """Slots that are hired: source actors that live, or that the supervisor is about to start."""
        self.zombies = 0
        """Impls that the engine has given up on and that have not returned. Their slots are counted off."""
        self.restarts = Restarts(policy.restart)
        self.resting = False
        """Whether the source rests: after a crash no slot is hired before ``resting_until``."""
        self.resting_until = -inf
        """When the rest ends, in monotonic seconds; ``-inf`` before the first crash."""
        self.woken_at = inf
        """The latest moment for which a ``Wake`` was sent to the supervisor."""

    def apply(self, policy: SourcePolicy) -> None:
        """Apply the limit and the restart rules of ``policy`` at once."""
        self.set_limit(policy.concurrency)
        self.restarts.policy = policy.restart

    def set_limit(self, limit: int) -> None:
        """Change how many impls may run at once. Surplus slots leave as soon as their impls return."""
        self.limit = limit

    @property
    def is_overstaffed(self) -> bool:
        """Whether more slots are hired than the limit allows."""
        return self.live > self.limit

    def has_place_for(self, downloads: int) -> bool:
        """Whether one more slot may be hired and would find work. ``downloads``: how many run or wait."""
        return self.live < self.limit and self.live < downloads

    def count_on(self) -> None:
        """Count a slot that is about to be hired."""
        self.live += 1

    def count_off(self) -> None:
        """Count off a slot that has left, has died, or got no thread."""
        self.live -= 1

    def give_up_one(self) -> None:
        """Count off the slot of an impl that the engine gives up on: its thread is a zombie from now on."""
        self.zombies += 1
        self.live -= 1

    def bury_zombie(self) -> None:
        """Count off a zombie: its impl has returned, or its thread has died."""
        self.zombies -= 1

    def rest(self, now: float, cause: BaseException) -> GoDown | None:
        """Begin the rest after a crash at ``now``; ``GoDown`` if there have been too many crashes."""
        verdict = self.restarts.crashed(now, cause)
        if isinstance(verdict, GoDown):
            return verdict
        self.resting, self.resting_until = True, max(self.resting_until, verdict.at)
        return None

    def end_rest(self, at: float) -> bool:
        """Handle a wake-up that was set for ``at``: end the rest unless a later crash has prolonged it."""
        has_rested = at >= self.resting_until
        if has_rested:
            self.resting = False
        return has_rested

    def forget_crashes(self) -> None:
        """Start anew after ``revive``: no rest, and no crash counts any more."""
        self.resting, self.resting_until = False, -inf
        self.restarts.forget()
