"""Wait for downloads, and yield each record as soon as its download has ended."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX
from time import monotonic

from haulier._engine import messages as m
from haulier._engine.core.values import own
from haulier._engine.shells.store import Store
from haulier.errors import EngineClosed, UnknownDownload, forked
from haulier.records import OPEN_PHASES, TERMINAL_STATES, Record

__all__ = ["arrivals", "ended"]


def ended(record: Record, store: Store) -> Record:
    """Return the record of a download that has ended or was removed.

    Raises ``EngineClosed`` if it has not ended, because the engine is closed and the next one runs it.
    """
    is_open = record.get("phase") in OPEN_PHASES and record.get("state") not in TERMINAL_STATES
    if is_open and store.ledger.table.watches.is_closed:
        raise EngineClosed(f"the engine is closed; download {record['id']} is kept for the next one")
    return record


def arrivals(store: Store, ids: list[str], deadline: float | None) -> Iterator[Record]:
    """Yield the records of ``ids`` as their downloads end, until ``deadline`` (monotonic seconds).

    This call starts to watch them, and raises ``UnknownDownload`` if there is no record. Iterating raises
    ``TimeoutError`` at the deadline, and ``ForkedEngine`` in a child that was forked meanwhile.
    """
    answers: SimpleQueue[Record] = SimpleQueue()
    watched: m.Watched = store.ask(m.Watch(ids, answers.put))
    if watched.unknown:
        store.tell(m.Unwatch(ids, answers.put))
        raise UnknownDownload(f"no record of download {watched.unknown[0]!r}")
    for record in watched.ended:
        answers.put(record)
    arriving = _arrivals(store, ids, answers, deadline)
    next(arriving)
    return arriving


def _arrivals(store: Store, ids: list[str], answers: SimpleQueue[Record], deadline: float | None) -> Iterator[Record]:
    try:
        yield {}  # to ``arrivals``: a generator that was never started would not run its finally
        record: Record = {}
        for _ in ids:
            last = record
            while record is last:  # a store that was interrupted may send a record twice
                if store.forked:
                    raise forked()
                left = None if deadline is None else min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)
                record = answers.get(timeout=left)
            yield ended(own(record), store)  # so that no two callers share a record
    except Empty:
        raise TimeoutError("not all downloads have ended yet") from None
    finally:
        if not store.forked:
            store.tell(m.Unwatch(ids, answers.put))
