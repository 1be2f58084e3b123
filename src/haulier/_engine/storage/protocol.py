"""What a storage is, and what goes in and out of it.

A row is a download in the form in which it is written: the keys by which it is found, and JSON text made by ``codec``.
A listed row is a record that programs see; one that is unlisted is history, until it is pruned. A row is over when it
has an ``ended_on``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from haulier.records import Attempt, Cursor, HistoryRow

__all__ = ["Attempt", "Batch", "Change", "Cursor", "GateRow", "HistoryRow", "Key", "Loaded", "Row", "Storage"]


class Key(NamedTuple):
    """What a row is known by. Any pair of ``str`` will do."""

    source: str
    id: str


class Row(NamedTuple):
    """A download, whole."""

    source: str
    id: str
    seq: int
    """The order of dispatch. No two rows have the same, unlisted ones included; at most 63 bits."""
    phase: str | None
    """None for a record that ``add_record`` made."""
    ended_on: float | None
    """When it ended, UTC seconds; None while it has not."""
    record: str
    """JSON text."""
    ticket: str | None
    """JSON text: what it takes to run it (again). None where nothing runs it."""
    tried: str | None
    """JSON text: what is known of its attempts so far. None before the first."""

    @property
    def cursor(self) -> Cursor:
        """Its place in the history, where it is over: see ``Storage.history``."""
        assert self.ended_on is not None
        return Cursor(self.ended_on, self.seq)


class Change(NamedTuple):
    """What is new of a row that is there; its place in the order stays. No such row: nothing happens.

    Its ticket stays until it is over: nobody runs it again, and there may be a password in it.
    """

    source: str
    id: str
    phase: str | None
    ended_on: float | None
    record: str
    tried: str | None


class GateRow(NamedTuple):
    """What outlives a process of a source's gate. Times in UTC seconds."""

    source: str
    last_end_on: float | None
    suspended_until_on: float | None
    resume_interrupted: bool


class Batch(NamedTuple):
    """What is written at once, in this order but for the gates, which touch nothing else."""

    added: Sequence[Row] = ()
    """New rows, or rows set anew: whatever was there by this source and id is replaced, and listed."""
    changed: Sequence[Change] = ()
    attempts: Sequence[Attempt] = ()
    unlisted: Sequence[tuple[str, str]] = ()
    """``(source, id)`` of what becomes history. Only what is over: nobody would ever see or prune the rest."""
    forgotten: Sequence[tuple[str, str]] = ()
    """``(source, id)`` of what goes without a trace, its attempts included."""
    gates: Sequence[GateRow] = ()


class Loaded(NamedTuple):
    """What a storage has when it is opened."""

    rows: Iterable[Row]
    """The listed ones in the order of ``seq``. To be gone through once; may raise ``StoreUnavailable`` on the way."""
    gates: list[GateRow]
    next_seq: int
    """Above every ``seq`` that is there; from 1."""


class Storage(Protocol):
    """Where the record store writes to. ``storage.open_storage`` opens one.

    One thread at a time may call it. Every method but ``close`` raises

    - ``StoreUnavailable`` where the storage cannot be read or written: disk full or read-only, file damaged, connection
      lost, closed. The object stays good: the next call opens what has to be opened anew.
    - ``StoreLocked`` where the lock was lost with the connection and another engine has, or had, it since. What this
      engine knows is out of date then.
    - ``ForkedEngine`` in a forked child.
    """

    def load(self) -> Loaded:
        """What is there. Once, after opening."""

    def write(self, batch: Batch) -> None:
        """Write all of ``batch`` in one transaction; it is durable when this returns.

        Where it raises, nothing of it is in, with one exception that no database can rule out: where the connection or
        the disk failed in the very commit, all of it may be. To write the same again, alone or as a part of more, is
        right in either case.

        Raises ``ValueError`` for a ``seq`` that another row has.
        """

    def history(
        self, source: str | None = None, phase: str | None = None, before: Cursor | None = None, limit: int = 100
    ) -> list[Row]:
        """At most ``limit`` rows that are over, listed or not, newest first by ``(ended_on, seq)``.

        Those of one ``source`` or ``phase`` only, where given. ``before``: the cursor of the last row seen; what ended
        in the meantime does not shift what follows.
        """

    def find(self, source: str, id: str) -> Row | None:
        """One row, listed or not."""

    def attempts(self, source: str, id: str) -> list[Attempt]:
        """The ended attempts of one download, in order."""

    def prune(self, max_rows: int | None, before_on: float | None) -> int:
        """Delete history, oldest first, with its attempts: how many rows.

        What is beyond ``max_rows`` unlisted rows that are over, and what of them ended before ``before_on`` (UTC
        seconds). None: no such limit. Listed rows stay.
        """

    def close(self) -> None:
        """Let go of file or connection, and of the lock. Twice is fine. Raises nothing."""
