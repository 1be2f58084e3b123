"""What a simulated source must be like just now, by what was seen of it: who waits where, who runs, who is up."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from haulier.policies import SourcePolicy
from haulier.records import Phase
from haulier.transfer import Transfer

__all__ = ["Books", "Run", "Start"]


class Start(NamedTuple):
    """One attempt, as it was seen to start."""

    download_id: str
    attempt: int
    at: float


@dataclass(eq=False)
class Run:
    """An impl that was called and has not returned."""

    transfer: Transfer
    is_zombie: bool = False


class Books:
    """Kept by the witness, from what callers, slots and the supervisor do; the source is not asked."""

    def __init__(self, policy: SourcePolicy) -> None:
        self.version = 0
        """Changes after each entry."""
        self.line: list[str] = []
        """Who waits for their turn, the next one first."""
        self.queuing: set[str] = set()
        """Whose dispatch is under way: known already, and not in the line yet."""
        self.back_offs: dict[str, float] = {}
        """Who waits for their next attempt, and until when at the least."""
        self.held: set[str] = set()
        """Who was taken by a slot that the source has not heard of again."""
        self.phases: dict[str, str] = {}
        """What the record says of those who wait."""
        self.zombies = 0
        self.restarts = 0
        self.resting_until = -inf
        self.is_resting = self.is_down = self.is_closed = False
        self._policy = policy
        self._dispatched: dict[str, float] = {}
        self._again: set[str] = set()
        self._crashes: list[float] = []

    # ---- downloads ---------------------------------------------------------------------------------------------------

    def dispatched(self, download_id: str, on: float) -> None:
        """From now on the download is known."""
        self.version += 1
        self.queuing.add(download_id)
        self.phases[download_id] = Phase.QUEUED
        self._dispatched[download_id] = on

    def arrived(self, download_id: str) -> None:
        """The download enters the queue, unless it was withdrawn before."""
        self.version += 1
        if download_id in self.queuing:
            self.queuing.discard(download_id)
            self.line.append(download_id)

    def took(self, download_id: str) -> None:
        """A slot has it."""
        self.version += 1
        self.line.remove(download_id)
        self._again.discard(download_id)
        self.held.add(download_id)

    def let_go(self, download_id: str) -> None:
        """Its slot has reported, or was given up on, or buried."""
        self.version += 1
        self.held.discard(download_id)

    def backs_off(self, download_id: str, until: float) -> None:
        """It goes on then, at the earliest."""
        self.version += 1
        self.back_offs[download_id] = until
        self.phases[download_id] = Phase.BACKING_OFF

    def due(self, download_id: str) -> None:
        """Its back-off is over: it is next."""
        self.version += 1
        if self.back_offs.pop(download_id, None) is not None:
            self.line.insert(0, download_id)
            self._again.add(download_id)

    def put_back(self, download_id: str) -> None:
        """Its attempt did not count: it goes before those who have not been tried, and those dispatched after it."""
        self.version += 1
        place = 0
        while place < len(self.line) and self._is_before(self.line[place], download_id):
            place += 1
        self.line.insert(place, download_id)
        self._again.add(download_id)
        self.phases[download_id] = Phase.QUEUED

    def _is_before(self, other: str, download_id: str) -> bool:
        return other in self._again and self._dispatched[other] <= self._dispatched[download_id]

    def gone(self, download_id: str) -> None:
        """The download was cancelled or refused."""
        self.version += 1
        self.queuing.discard(download_id)
        self.back_offs.pop(download_id, None)
        if download_id in self.line:
            self.line.remove(download_id)

    def dropped(self, new: str) -> list[str]:
        """The downloads that a full queue drops for a ``new`` one: those that were dispatched first. They are gone."""
        most = self._policy.max_queued
        if most is None or self._policy.on_full != "drop_oldest" or self.is_closed or self.is_down:
            return []
        waiting = [*self.line, *self.back_offs]
        oldest = [each for each in waiting if each != new]
        if self.back_offs or not self._again.isdisjoint(self.line):  # else the queue is in the order of dispatch
            oldest.sort(key=lambda each: self._dispatched[each])
        dropped = oldest[: max(0, len(waiting) - most)]
        for download_id in dropped:
            self.gone(download_id)
        return dropped

    def swept(self, but_for: Container[str]) -> None:
        """Who waits has failed, ``but_for`` some who came into the queue at that very moment."""
        self.version += 1
        self.line = [each for each in self.line if each in but_for]
        self.back_offs.clear()

    # ---- the source --------------------------------------------------------------------------------------------------

    def crashed(self, at: float, but_for: Container[str]) -> None:
        """A slot that was not a zombie's died ``at``, and is buried. ``but_for``: as in ``swept``."""
        self.version += 1
        if self.is_closed or self.is_down:
            return
        if self._policy.on_crash == "error_queued":
            self.swept(but_for)
        restart = self._policy.restart
        if sum(crash > at - restart.period for crash in self._crashes) >= restart.intensity:
            self.is_down = True
            self.swept(but_for)
        else:
            self._crashes.append(at)
            self.restarts += 1

    def rests(self, until: float) -> None:
        """Nobody is hired before."""
        self.version += 1
        self.is_resting, self.resting_until = True, max(self.resting_until, until)

    def rested(self, at: float) -> None:
        """A rest that was to last until ``at`` is over."""
        self.version += 1
        self.is_resting = self.is_resting and at < self.resting_until

    def gave_up(self, download_id: str, but_for: Container[str]) -> None:
        """Its impl hangs. ``but_for``: as in ``swept``."""
        self.let_go(download_id)
        self.zombies += 1
        if self.zombies > self._policy.max_zombies and not self.is_closed and not self.is_down:
            self.is_down = True
            self.swept(but_for)

    def zombie_returned(self) -> None:
        """A hung impl is over."""
        self.version += 1
        self.zombies -= 1

    def closed(self, but_for: Container[str]) -> None:
        """It takes nothing any more. ``but_for``: as in ``swept``."""
        self.swept(but_for)
        self.is_closed, self.is_down = True, False

    def revived(self) -> None:
        """Open the source again if it was down."""
        self.version += 1
        if self.is_down:
            self.is_down = self.is_resting = False
            self._crashes.clear()
