"""All records: where they are, how they change, and how they leave.

One thread writes them, and all threads read them. A reader copies a record without a lock, since each step that a
reader could see half done is one C call (``dict.update``, ``dict.copy``). That is also why a record is two dicts:
``record``, which only the ledger writes, and ``overlay``, the latest progress, into which impls and callers write
directly. Readers lay ``overlay`` over ``record``.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from haulier._engine.core.departed import Departed
from haulier._engine.core.entry import Entry, Stored, entry_of, is_terminal, view
from haulier._engine.core.journal import Journal
from haulier._engine.core.retention import Buckets, End, Retained
from haulier._engine.core.watches import Watches
from haulier._engine.ticket import is_success
from haulier.events import Event, Removed
from haulier.policies import Retention
from haulier.records import TERMINAL_PHASES, Phase, Record, State

__all__ = ["Table"]


FEW_SOURCES: Final = 32
"""With more sources than this a table knows the source of each download id: one dict item for each record."""


class Table:
    """Every record of an engine.

    Its parts are ``retained`` (which terminal records leave memory), ``departed`` (how those ended), ``watches``
    (callbacks that wait for an end) and, for a durable store, ``journal`` (what has changed since the last write).
    """

    def __init__(self, retention: Retention, journal: Journal | None) -> None:
        self.buckets: Buckets = {}
        self._sources: dict[str, str] | None = None
        """By download id: its source. None while there are few sources, where looking at each is cheap enough."""
        self.retained = Retained(retention, self.buckets)
        self.departed = Departed()
        self.watches = Watches()
        self.journal = journal
        self.now = 0.0
        """UTC seconds, set by the shell before it applies messages."""
        self.events: deque[Event] | None = None
        """The events since the shell last published them; None if nobody subscribes."""
        self.is_damaged = False
        """Whether a message was not applied to its end, so that ``repair`` has to be called."""

    # ---- read --------------------------------------------------------------------------------------------------------

    def find(self, source: str | None, download_id: str) -> tuple[str, Stored] | None:
        """Return the source of a download and what is stored for it, or None. ``source=None`` searches all sources."""
        if source is None and self._sources is not None:
            name = self._sources.get(download_id, "")
            stored = self.buckets.get(name, {}).get(download_id)
            if stored is not None:
                return name, stored
        for name in list(self.buckets) if source is None else (source,):
            stored = self.buckets.get(name, {}).get(download_id)
            if stored is not None:
                return name, stored
        return None

    @property
    def is_indexed(self) -> bool:
        """Whether the table knows the source of each download id: then only ``store`` may add a record."""
        return self._sources is not None

    @property
    def is_watched(self) -> bool:
        """Whether messages should be applied soon: somebody subscribes or waits, or records leave memory by age."""
        return self.events is not None or bool(self.watches.callbacks) or self.retained.max_age is not None

    def bucket(self, source: str) -> dict[str, Stored]:
        """Return the records of a source, by download id. The first call for a source makes the dict."""
        bucket = self.buckets.get(source)
        if bucket is None:
            bucket = self.buckets[source] = {}
            if self._sources is None and len(self.buckets) > FEW_SOURCES:
                self._sources = {}
                for name, records in self.buckets.items():
                    for download_id in records:
                        self._sources.setdefault(download_id, name)
        return bucket

    def store(self, source: str, download_id: str, stored: Stored) -> None:
        """Store what is known of a download, in place of what was stored for it before."""
        self.bucket(source)[download_id] = stored
        if self._sources is not None:
            self._sources.setdefault(download_id, source)

    def _unindex(self, source: str, download_id: str) -> None:
        if self._sources is not None and self._sources.get(download_id) == source:
            del self._sources[download_id]

    # ---- change ------------------------------------------------------------------------------------------------------

    def entry(self, source: str, download_id: str) -> Entry | None:
        """Return a record as an ``Entry``, which it stays from now on; None if there is no record."""
        bucket = self.buckets.get(source, {})
        stored = bucket.get(download_id)
        if stored is None or isinstance(stored, Entry):
            return stored
        if self.journal is not None and is_success(stored):
            self.journal.note_first_success(source, download_id, stored)
        entry = bucket[download_id] = entry_of(stored)
        return entry

    def touch(self, source: str, download_id: str) -> None:
        """Mark a record as changed for the journal. Does nothing without a journal."""
        if self.journal is not None and download_id in self.buckets.get(source, ()):
            self.journal.touch(source, download_id)

    def end(self, source: str, download_id: str, end: End) -> None:
        """Note that a record has ended: call its watchers, and let old records leave memory."""
        self.touch(source, download_id)  # first: with nothing retained, it leaves at once
        if self.watches.callbacks:
            self.watches.call(download_id, self.buckets[source][download_id])
        if self.retained.add(end):
            self.expire()

    def end_if_terminal(self, source: str, download_id: str, entry: Entry) -> None:
        """Note the end of a record that ``add_record`` made, if its callers have set a terminal state."""
        if entry.phase is None and entry.ended_on is None and entry.is_terminal:
            entry.ended_on = self.retained.moment(self.now)
            self.end(source, download_id, (source, download_id, entry.ended_on))

    # ---- leave -------------------------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Let surplus or old terminal records leave memory, oldest first."""
        while (evicted := self.retained.next_to_evict(self.now)) is not None:
            self.departed.add(*evicted)
            self._leave(*evicted)

    def drop(self, source: str, download_id: str) -> Record:
        """Remove an existing record, and return it."""
        stored = self.buckets[source][download_id]
        record = view(stored)
        self.watches.call(download_id, stored)
        self._leave(source, download_id, stored)
        if self.journal is not None:
            self.journal.batch.is_urgent = True  # a caller asked for it; what retention evicts can wait
        return record

    def drop_terminal(self) -> int:
        """Remove all terminal records. Returns how many."""
        terminal = [
            (source, download_id)
            for source, bucket in self.buckets.items()
            for download_id, stored in bucket.items()
            if is_terminal(stored)
        ]
        for source, download_id in terminal:
            self.drop(source, download_id)
        return len(terminal)

    def _leave(self, source: str, download_id: str, stored: Stored) -> None:
        del self.buckets[source][download_id]
        self._unindex(source, download_id)
        if self.journal is not None:
            self.journal.leave(source, download_id, stored)
        self.retained.uncount(stored)
        if self.events is not None:
            self.events.append(Removed(download_id, source, self.now))

    def forget(self, source: str, download_id: str) -> None:
        """Remove a download whose dispatch was refused, without an event."""
        bucket = self.buckets.get(source, {})
        stored = bucket.get(download_id)
        if stored is not None:
            self.watches.call(download_id, stored)  # first: a removed download must have no watchers
            del bucket[download_id]
            self._unindex(source, download_id)

    # ---- restore and repair ------------------------------------------------------------------------------------------

    def restore(self, source: str, download_id: str, stored: Stored, ended_on: float | None) -> None:
        """Put back a record from disk. Call ``restored`` after the last one."""
        self.store(source, download_id, stored)
        if isinstance(stored, Entry):
            stored.fixed = stored.phase in TERMINAL_PHASES or (
                stored.phase is None and stored.record.get("state") == State.CANCELLED
            )
            stored.ended_on = ended_on
        if ended_on is not None:
            self.retained.restore(source, download_id, ended_on)

    def restored(self) -> None:
        """Sort the ends of the restored records."""
        self.retained.sort()

    def repair(self) -> None:
        """Correct counts and watches after an interrupted message, from what the records say.

        What of it is on disk is unknown. So the journal writes again every record that is more than queued, and each
        source that was used waits as if its last run had ended now.
        """
        self.retained.recount(self.now)
        for download_id in list(self.watches.callbacks):
            found = self.find(None, download_id)
            if found is not None and is_terminal(found[1]):
                self.watches.call(download_id, found[1])
        self.is_damaged = False
        if self.journal is not None:
            for source, bucket in self.buckets.items():
                for download_id, stored in bucket.items():
                    if is_success(stored) or not isinstance(stored, tuple):
                        self.touch(source, download_id)
                self.journal.pace_anew(source, self.now)

    def is_live(self, source: str, download_id: str) -> bool:
        """Whether a record may change often: its download runs, or ``add_record`` made it and it has not ended."""
        stored = self.buckets[source].get(download_id)
        return isinstance(stored, Entry) and stored.phase in (Phase.RUNNING, None) and not stored.is_terminal
