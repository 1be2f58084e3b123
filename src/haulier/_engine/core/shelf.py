"""All records: where they are, and for how long.

They are written by one thread and read by all: a reader copies a record without a lock, since each step that a
reader could see half done is one C call (``dict.update``, ``dict.copy``). That is also why a record is two dicts:
``record``, which only the ledger writes, and ``overlay``, the latest progress, into which impls and callers write
directly. Readers lay the second over the first.
"""

from __future__ import annotations

from collections import deque
from math import inf, nextafter
from operator import itemgetter
from typing import TypeAlias, cast

from haulier._engine.core.entry import Entry, Stored, entry_of, is_terminal, view
from haulier._engine.core.watches import Watches
from haulier._engine.ticket import ID, SOURCE, SUCCESS_ENDED_ON, SUCCESS_TICKET, Success, is_success
from haulier.events import Event, Removed
from haulier.policies import Retention
from haulier.records import Record

__all__ = ["End", "Shelf", "ended_on"]

End: TypeAlias = Success | tuple[str, str, float]
"""The end of a record: its source, its id and when (UTC seconds); or the ``Success`` that says so already."""


class Shelf:
    """Every record of an engine, by source and id; those that are over leave it, the oldest first."""

    def __init__(self, retention: Retention) -> None:
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.is_damaged = False
        """A message could not be applied, or not to its end: see ``put_right``; what it told of may be lost."""
        self.now = 0.0
        """UTC seconds, set by the shell before it applies messages."""
        self.events: deque[Event] | None = None
        """What happened since the shell last looked; None while nobody listens."""
        self.watches = Watches()
        self._max_terminal, self._max_age = retention.max_terminal, retention.max_age
        self._ended: deque[End] = deque()
        """The ends of terminal records, the oldest first; some may have been removed since."""
        self._last_end = 0.0
        self._terminal = 0
        """How many of them are still there."""

    def find(self, source: str | None, download_id: str) -> tuple[str, Stored] | None:
        """Where a record is; every source is asked where ``source`` is None."""
        for name in list(self.buckets) if source is None else (source,):
            held = self.buckets.get(name, {}).get(download_id)
            if held is not None:
                return name, held
        return None

    def _entry(self, source: str, download_id: str) -> Entry | None:
        """The record, from now on as an entry."""
        bucket = self.buckets.get(source, {})
        held = bucket.get(download_id)
        if held is None or isinstance(held, Entry):
            return held
        entry = bucket[download_id] = entry_of(held)
        return entry

    def _note_end(self, source: str, download_id: str, end: End) -> None:
        if self.watches.callbacks:
            self.watches.call(download_id, self.buckets[source][download_id])
        self._ended.append(end)
        self._terminal += 1
        if self._terminal > self._max_terminal:
            self.expire()

    def _left(self, source: str, download_id: str, held: Stored) -> None:
        """A record has left memory."""

    def _uncount(self, held: Stored | None) -> None:
        """A record is gone, or another has its place."""
        if ended_on(held) is not None:
            self._terminal -= 1
            if len(self._ended) > 2 * self._terminal + 1024:
                self._ended = deque(end for end in self._ended if self._is_that(*_parts(end)))

    def _is_that(self, source: str, download_id: str, on: float) -> bool:
        """Whether the record is still there, and of this end."""
        return ended_on(self.buckets[source].get(download_id)) == on

    def expire(self) -> None:
        """Let go of terminal records that are too many or too old by now, oldest first."""
        max_terminal, max_age = self._max_terminal, self._max_age
        while self._ended:
            source, download_id, on = _parts(self._ended[0])
            too_old = max_age is not None and on <= self.now - max_age
            if self._terminal <= max_terminal and not too_old:
                return
            self._ended.popleft()
            bucket = self.buckets[source]
            held = bucket.get(download_id)
            if held is None or ended_on(held) != on:
                continue  # removed since, and perhaps added anew
            if is_terminal(held):
                del bucket[download_id]
                self._left(source, download_id, held)
                self._uncount(held)
                if self.events is not None:
                    self.events.append(Removed(download_id, source, self.now))
            elif isinstance(held, Entry):
                held.ended_on = None  # its owner goes on with it
                self._terminal -= 1

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for what happens next, be it the clock that lets records go by age."""
        return self.events is not None or bool(self.watches.callbacks) or self._max_age is not None

    def next_expiry(self) -> float | None:
        """When (UTC seconds) the next record is too old; None when none will be."""
        if self._max_age is None or not self._ended:
            return None
        return _parts(self._ended[0])[2] + self._max_age

    def _drop(self, source: str, download_id: str) -> Record:
        """Take out a record that is there."""
        held = self.buckets[source][download_id]
        record = view(held)
        self.watches.call(download_id, held)
        del self.buckets[source][download_id]
        self._left(source, download_id, held)
        self._uncount(held)
        if self.events is not None:
            self.events.append(Removed(download_id, source, self.now))
        return record

    def _moment(self) -> float:
        """Now, but later than any such moment before: by it an end is told from an earlier one of the same id."""
        self._last_end = max(self.now, nextafter(self._last_end, inf))
        return self._last_end

    def put_right(self) -> None:
        """Somebody was torn in the middle of a message: go by what is. Whoever watches what is over, hears so."""
        ends: list[tuple[str, str, float]] = []
        for source, bucket in self.buckets.items():
            for download_id, held in bucket.items():
                if isinstance(held, Entry) and held.is_terminal and held.ended_on is None:
                    held.ended_on = self._moment()
                on = ended_on(held)
                if on is not None:
                    ends.append((source, download_id, on))
        self._ended, self._terminal = deque(sorted(ends, key=itemgetter(2))), len(ends)
        for download_id in list(self.watches.callbacks):
            found = self.find(None, download_id)
            if found is not None and is_terminal(found[1]):
                self.watches.call(download_id, found[1])
        self.is_damaged = False


def _parts(end: End) -> tuple[str, str, float]:
    """Source, id and moment of an end."""
    if not is_success(end):
        return cast("tuple[str, str, float]", end)
    ticket = end[SUCCESS_TICKET]
    return ticket[SOURCE], ticket[ID], end[SUCCESS_ENDED_ON]


def ended_on(held: Stored | None) -> float | None:
    """When a record ended, where retention counts it."""
    return held[SUCCESS_ENDED_ON] if is_success(held) else held.ended_on if isinstance(held, Entry) else None
