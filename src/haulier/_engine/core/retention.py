"""Which terminal records leave memory, and when: the oldest first, once they are too many or too old."""

from __future__ import annotations

from collections import deque
from math import inf, nextafter
from operator import itemgetter
from typing import TypeAlias, cast

from haulier._engine.core.entry import Entry, Stored, is_terminal
from haulier._engine.ticket import ID, SOURCE, SUCCESS_ENDED_ON, SUCCESS_TICKET, Success, is_success
from haulier.policies import Retention

__all__ = ["Buckets", "End", "Retained", "ended_on"]

Buckets: TypeAlias = dict[str, dict[str, Stored]]
"""Every record of an engine, by source and id."""

End: TypeAlias = Success | tuple[str, str, float]
"""The end of a record: its source, its id and when (UTC seconds); or the ``Success`` that says so already."""


class Retained:
    """The ends of the terminal records in ``buckets``, the oldest first."""

    def __init__(self, policy: Retention, buckets: Buckets) -> None:
        self._buckets = buckets
        self._max_terminal, self.max_age = policy.max_terminal, policy.max_age
        self._ends: deque[End] = deque()
        """Oldest first. The record of an end may have been removed since."""
        self._last_moment = 0.0
        self._terminal = 0
        """How many of the ends still have their record."""

    def add(self, end: End) -> bool:
        """Count a record that has just ended. Returns whether there are too many now."""
        self._ends.append(end)
        self._terminal += 1
        return self._terminal > self._max_terminal

    def uncount(self, stored: Stored | None) -> None:
        """Count off a record that was removed or replaced."""
        if ended_on(stored) is not None:
            self._terminal -= 1
            if len(self._ends) > 2 * self._terminal + 1024:
                self._ends = deque(end for end in self._ends if self._still_there(*_parts(end)))

    def _still_there(self, source: str, download_id: str, on: float) -> bool:
        return ended_on(self._buckets[source].get(download_id)) == on

    def next_to_evict(self, now: float) -> tuple[str, str, Stored] | None:
        """Take out the oldest end whose record must leave memory: its source, id and record. None where none must."""
        while self._ends:
            source, download_id, on = _parts(self._ends[0])
            too_old = self.max_age is not None and on <= now - self.max_age
            if self._terminal <= self._max_terminal and not too_old:
                return None
            self._ends.popleft()
            stored = self._buckets[source].get(download_id)
            if stored is None or ended_on(stored) != on:
                continue  # removed since, and perhaps added anew
            if is_terminal(stored):
                return source, download_id, stored
            if isinstance(stored, Entry):
                stored.ended_on = None  # its owner gave it another state
                self._terminal -= 1
        return None

    def next_expiry(self) -> float | None:
        """When (UTC seconds) the next record is too old; None when none will be."""
        if self.max_age is None or not self._ends:
            return None
        return _parts(self._ends[0])[2] + self.max_age

    def moment(self, now: float) -> float:
        """``now``, or later, so that no two moments are equal: they tell two ends of one id apart."""
        self._last_moment = max(now, nextafter(self._last_moment, inf))
        return self._last_moment

    def restore(self, source: str, download_id: str, on: float) -> None:
        """Count a terminal record that was read from disk; call ``sort`` after the last one."""
        self._ends.append((source, download_id, on))
        self._terminal += 1

    def sort(self) -> None:
        """Bring restored ends into their order."""
        self._ends = deque(sorted(self._ends, key=lambda end: _parts(end)[2]))

    def recount(self, now: float) -> None:
        """Count all terminal records anew after an interrupted step."""
        ends: list[tuple[str, str, float]] = []
        for source, bucket in self._buckets.items():
            for download_id, stored in bucket.items():
                if isinstance(stored, Entry) and stored.is_terminal and stored.ended_on is None:
                    stored.ended_on = self.moment(now)
                on = ended_on(stored)
                if on is not None:
                    ends.append((source, download_id, on))
        self._ends, self._terminal = deque(sorted(ends, key=itemgetter(2))), len(ends)


def _parts(end: End) -> tuple[str, str, float]:
    """Source, id and moment of an end."""
    if not is_success(end):
        return cast("tuple[str, str, float]", end)
    ticket = end[SUCCESS_TICKET]
    return ticket[SOURCE], ticket[ID], end[SUCCESS_ENDED_ON]


def ended_on(stored: Stored | None) -> float | None:
    """When a record ended (UTC seconds), where retention counts it."""
    if is_success(stored):
        return stored[SUCCESS_ENDED_ON]
    return stored.ended_on if isinstance(stored, Entry) else None
