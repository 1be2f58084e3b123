"""``Storage``: the interface of a storage, and the values that it reads and writes.

A row is the stored form of a download: the keys by which it is found, and JSON text made by ``codec``. A listed row is
a record that programs see. An unlisted row is history, until it is pruned. A row has ended if it has an ``ended_on``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from haulier.records import Attempt, Cursor, HistoryRow

__all__ = ["Attempt", "Batch", "Change", "Cursor", "GateRow", "HistoryRow", "Key", "Loaded", "Row", "Storage"]


class Key(NamedTuple):
    """Identifies a row. Any pair of ``str`` is valid."""

    source: str
    id: str


class Row(NamedTuple):
    """A whole download."""

    source: str
    id: str
    seq: int
    """The order of dispatch, at most 63 bits. It is unique among all rows, listed or not."""
    phase: str | None
    """None for a record that ``add_record`` made."""
    ended_on: float | None
    """When it ended, UTC seconds; None while it has not."""
    record: str
    """JSON text."""
    ticket: str | None
    """JSON text: what is needed to run the download (again). None if nothing runs it."""
    tried: str | None
    """JSON text: the state of its attempts so far. None before the first."""

    @property
    def cursor(self) -> Cursor:
        """The place of a row that has ended in the history. See ``Storage.history``."""
        assert self.ended_on is not None
        return Cursor(self.ended_on, self.seq)


class Change(NamedTuple):
    """New values for an existing row, which keeps its ``seq``. Without such a row nothing happens.

    The row keeps its ticket until it has ended. Then the ticket is deleted, because it may contain a password.
    """

    source: str
    id: str
    phase: str | None
    ended_on: float | None
    record: str
    tried: str | None


class GateRow(NamedTuple):
    """The state of a source's gate that outlives the process. Times are in UTC seconds."""

    source: str
    last_end_on: float | None
    suspended_until_on: float | None
    resume_interrupted: bool


class Batch(NamedTuple):
    """What one transaction writes, in this order. The order of the gates does not matter."""

    added: Sequence[Row] = ()
    """New rows. Each replaces a row with the same source and id, and is listed."""
    changed: Sequence[Change] = ()
    attempts: Sequence[Attempt] = ()
    unlisted: Sequence[tuple[str, str]] = ()
    """``(source, id)`` of rows that become history. They must have ended, else they are never seen or pruned again."""
    forgotten: Sequence[tuple[str, str]] = ()
    """``(source, id)`` of rows to delete, with their attempts."""
    gates: Sequence[GateRow] = ()


class Loaded(NamedTuple):
    """What a storage contains when it is opened."""

    rows: Iterable[Row]
    """The listed rows in the order of ``seq``. Iterate over them once; that may raise ``StoreUnavailable``."""
    gates: list[GateRow]
    next_seq: int
    """Above every existing ``seq``; at least 1."""


class Storage(Protocol):
    """What the record store writes to. ``storage.open_storage`` opens a storage.

    Only one thread at a time may call it. Every method but ``close`` raises

    - ``StoreUnavailable`` if the storage cannot be read or written: the disk is full or read-only, the file is damaged,
      the connection is lost, or the storage is closed. Unless it is closed, the next call reconnects.
    - ``StoreLocked`` if the lock was lost with the connection, and another engine has taken it since. The records of
      this engine are then out of date.
    - ``ForkedEngine`` in a forked child.
    """

    def load(self) -> Loaded:
        """Load the listed rows and the gates. Call it once, after opening."""

    def write(self, batch: Batch) -> None:
        """Write ``batch`` in one transaction, which is durable when this returns.

        If it raises, nothing was written, with one exception that no database can rule out: if the connection or the
        disk failed during the commit, the whole batch may be stored. In both cases it is safe to write the same batch
        again, alone or as a part of a larger one.

        Raises ``ValueError`` if another row has the ``seq`` of a new row.
        """

    def history(
        self, source: str | None = None, phase: str | None = None, before: Cursor | None = None, limit: int = 100
    ) -> list[Row]:
        """Return at most ``limit`` rows that have ended, listed or not, newest first by ``(ended_on, seq)``.

        ``source`` and ``phase`` select rows. ``before`` is the cursor of the last row of the page before, so that rows
        that have ended since do not shift the next page.
        """

    def find(self, source: str, id: str) -> Row | None:
        """Return one row, listed or not; None if there is none."""

    def attempts(self, source: str, id: str) -> list[Attempt]:
        """Return the ended attempts of one download, in order."""

    def prune(self, max_rows: int | None, before_on: float | None) -> int:
        """Delete history, oldest first, with its attempts. Returns how many rows.

        At most ``max_rows`` unlisted rows that have ended stay, and none that ended before ``before_on`` (UTC seconds).
        None means no such limit. Listed rows always stay.
        """

    def shrink(self) -> bool:
        """Give a little of the database's free room back to the file system. Returns whether there is more to give.

        Takes some milliseconds. A quarter of the database may stay free, because the next rows fill it again.
        """

    def interrupt(self) -> None:
        """Give up on a server that does not answer. Calls that wait for it, and later ones, raise ``StoreUnavailable``.

        May be called from any thread, while another one calls the storage. A file never keeps a call waiting for ever.
        """

    def close(self) -> None:
        """Close the file or connection, and release the lock. May be called twice. Raises nothing."""
