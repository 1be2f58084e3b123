"""The queue of a source: what waits, and in which order it starts.

``put`` is called by any thread without a lock: each of its steps is one atomic operation on a dict or a deque, and
their order is what makes the races harmless. Everything else happens under the source's one lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from heapq import nsmallest
from math import inf
from typing import Any, NamedTuple

from haulier._engine import messages as m
from haulier._engine.ticket import ID, QUEUED_AT, Ticket, dispatch_time

__all__ = ["Queue", "Tried"]


class Tried(NamedTuple):
    """What the queue keeps of the earlier attempts at a download that waits for another one."""

    attempts: int
    """How many attempts are spent."""
    first_start: float | None
    """When the first attempt started, in monotonic seconds; None if there was none."""
    idle_s: float
    """Back-off so far, in seconds."""
    cell: dict[str, Any]
    """The progress cell, which all attempts share."""
    due_at: float
    """When the next attempt is due, in monotonic seconds."""
    backs_off: bool
    """Whether the download waits for the end of its back-off, outside ``Queue.ids``."""


class Queue:
    """The downloads that wait at the source ``name``, for their first attempt or for another one."""

    def __init__(self, name: str, tell_store: Callable[[Any], None]) -> None:
        self.name = name
        self.ids: deque[str] = deque()
        """Ids in the order in which they start. An id that is not in ``pending`` was withdrawn."""
        self.pending: dict[str, Ticket] = {}
        """Tickets of what waits, by id. Only the thread that pops a ticket from here owns the download."""
        self.tried: dict[str, Tried] = {}
        """The pending downloads that had an attempt before, by id."""
        self._announced: set[str] = set()
        """Ids that are pending but may not start before they are on disk."""
        self._tell_store = tell_store

    def put(self, ticket: Ticket) -> None:
        """Queue a download. Needs no lock.

        The download becomes pending before the store hears of it: a program that reads the record can cancel it. The
        store hears of it before it enters the queue: a start then always finds its record. Afterwards the caller
        checks ``Source.refusal``, and calls ``take_back`` if the source refuses downloads by now.
        """
        download_id = ticket[ID]
        self.pending[download_id] = ticket
        self._tell_store(ticket)
        self.ids.append(download_id)

    def announce(self, tickets: Collection[Ticket]) -> None:
        """Make downloads pending that must be on disk before they may start. Call ``enqueue`` or ``renounce`` next."""
        self._announced.update(ticket[ID] for ticket in tickets)
        self.pending.update((ticket[ID], ticket) for ticket in tickets)

    def enqueue(self, tickets: Collection[Ticket]) -> None:
        """Append announced downloads to the queue: they may start now."""
        self.ids.extend(ticket[ID] for ticket in tickets)
        self._announced.difference_update(ticket[ID] for ticket in tickets)

    def renounce(self, tickets: Collection[Ticket]) -> list[str]:
        """Undo ``announce`` and ``enqueue``. Returns the ids of the downloads that were still pending."""
        renounced = [ticket[ID] for ticket in tickets if self.pending.pop(ticket[ID], None) is not None]
        self._announced.difference_update(ticket[ID] for ticket in tickets)
        return renounced

    def take_back(self, download_id: str) -> bool:
        """Undo a ``put`` that the source refuses. False if the download was taken, withdrawn or failed meanwhile."""
        if self.pending.pop(download_id, None) is None:
            return False
        self._tell_store(m.Forget(self.name, download_id))
        return True

    def withdraw(self, download_id: str) -> bool:
        """Take a download out of the queue. False if it does not wait here."""
        if self.pending.pop(download_id, None) is None:
            return False
        self.tried.pop(download_id, None)
        self._compact()
        return True

    def withdraw_all(self) -> list[str]:
        """Take every download out of the queue. Returns their ids."""
        waiting = [*self._emptied(), *self.tried]
        self.tried.clear()
        return [download_id for download_id in waiting if self.pending.pop(download_id, None) is not None]

    def keep(self, ticket: Ticket, tried: Tried) -> None:
        """Keep a download for its next attempt. It starts only after ``retry_due`` or ``put_back`` has queued it."""
        self.tried[ticket[ID]] = tried
        self.pending[ticket[ID]] = ticket

    def _compact(self) -> None:
        """Drop withdrawn ids once they are the majority of the queue. A concurrent ``put`` appends at the other end."""
        if len(self.ids) > 2 * len(self.pending) + 64:
            kept = [download_id for download_id in self._emptied() if download_id in self.pending]
            self.ids.extendleft(reversed(kept))

    def _emptied(self) -> Iterator[str]:
        """Take out the ids that are in the queue now. A signal handler may interrupt this, and take some itself."""
        for _ in range(len(self.ids)):
            if self.ids:
                yield self.ids.popleft()

    def first(self, most: int) -> Iterator[str]:
        """The first ``most`` downloads in the queue. Without the lock they are not the snapshot of one exact moment."""
        place = 0
        while most > 0:
            try:
                download_id = self.ids[place]
            except IndexError:
                return  # the end of the queue, or another thread took an id meanwhile
            if download_id in self.pending:
                yield download_id
                most -= 1
            place += 1

    def oldest_beyond(self, most: int, kept: Collection[str]) -> list[str]:
        """The downloads that have waited longest, so many that ``most`` are left without them; none of ``kept``.

        Announced downloads are neither counted nor returned: whether they are queued is up to their dispatch.
        """
        excess = len(self.pending) - sum(map(self.pending.__contains__, self._announced)) - most
        if excess <= 0:
            return []
        if not self.tried:  # then the queue is in the order of dispatch, and only its head is looked at
            return [download_id for download_id in dict.fromkeys(self.first(excess)) if download_id not in kept]
        passed_over = self._announced.union(kept)
        waiting = (ticket for download_id, ticket in self.pending.items() if download_id not in passed_over)
        return [ticket[ID] for ticket in nsmallest(excess, waiting, key=dispatch_time)]

    def position(self, download_id: str) -> int | None:
        """How many downloads wait before this one; None if it is not in the queue. Takes time linear in the queue."""
        ids = list(self.ids)
        if download_id not in self.pending or download_id not in ids:
            return None
        return sum(map(self.pending.__contains__, ids[: ids.index(download_id)]))

    def retry_due(self, download_id: str, at: float = inf) -> None:
        """Put a download at the head of the queue, since its back-off that was due ``at`` has ended.

        After a supervisor died or a step was interrupted, one back-off may be reported twice. ``at`` (monotonic)
        keeps the second report from cutting a later back-off short.
        """
        tried = self.tried.get(download_id)
        if download_id in self.pending and tried is not None and tried.backs_off and tried.due_at <= at:
            self.tried[download_id] = tried._replace(backs_off=False)
            self.ids.appendleft(download_id)

    def put_back(self, ticket: Ticket) -> None:
        """Put a download back at the head of the queue, behind those put back that were dispatched before it."""
        ahead: list[str] = []
        while len(ahead) < len(self.ids) and (other := self.ids[len(ahead)]) in self.tried:
            ahead.append(other)
        # Insert before the first of them that was dispatched after this one.
        others = (self.pending.get(each) for each in ahead)
        since = ticket[QUEUED_AT]
        later = (place for place, other in enumerate(others) if other is not None and other[QUEUED_AT] > since)
        self.ids.insert(next(later, len(ahead)), ticket[ID])

    def requeue_stranded(self, download_ids: Iterable[str]) -> None:
        """Queue those of ``download_ids`` that are pending but in no queue, after an interrupted step.

        A download that another thread is putting right now may get into the queue twice. Even then it starts once.
        An announced download is left to its dispatch, which may still refuse it.
        """
        for download_id in [each for each in self.tried if each not in self.pending]:
            del self.tried[download_id]
        queued = {*self.ids, *self._announced}
        found = (self.pending.get(each) for each in download_ids if each not in queued and not self.backs_off(each))
        stranded = deque(sorted((each for each in found if each is not None), key=dispatch_time))
        if not stranded:
            return
        line: list[str] = []  # one pass: a whole queue may be stranded, if its loop was interrupted
        for download_id in self._emptied():
            other = self.pending.get(download_id)
            while other is not None and stranded and dispatch_time(other) > dispatch_time(stranded[0]):
                line.append(stranded.popleft()[ID])
            line.append(download_id)
        self.ids.extendleft(reversed([*line, *(each[ID] for each in stranded)]))

    def backs_off(self, download_id: str) -> bool:
        """Whether a download waits for the end of its back-off."""
        tried = self.tried.get(download_id)
        return tried is not None and tried.backs_off
