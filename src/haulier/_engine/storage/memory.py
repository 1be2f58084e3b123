"""``MemoryStorage``: a storage in dicts. Tests compare the databases with it, and use it in their place."""

from __future__ import annotations

from collections.abc import Iterable

from haulier._engine.storage.protocol import Batch, Change, GateRow, Key, Loaded, Row
from haulier.errors import StoreUnavailable
from haulier.records import Attempt, Cursor

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """A storage in dicts. ``earlier``: a closed storage whose contents this one takes over, like a reopened file."""

    def __init__(self, earlier: MemoryStorage | None = None) -> None:
        self._rows: dict[Key, Row] = {} if earlier is None else earlier._rows
        self._unlisted: set[Key] = set() if earlier is None else earlier._unlisted
        self._attempts: dict[Key, dict[int, Attempt]] = {} if earlier is None else earlier._attempts
        self._gates: dict[str, GateRow] = {} if earlier is None else earlier._gates
        self._closed = False

    def load(self) -> Loaded:
        """Load all listed rows."""
        self._check_open()
        rows = sorted((row for key, row in self._rows.items() if key not in self._unlisted), key=lambda row: row.seq)
        gates = sorted(self._gates.values())
        return Loaded(rows, gates, max([0, *(row.seq for row in self._rows.values())]) + 1)

    def write(self, batch: Batch) -> None:
        """Write the whole batch, or nothing of it: changes go to copies, which replace the originals at the end."""
        self._check_open()
        rows, unlisted = dict(self._rows), set(self._unlisted)
        attempts = dict(self._attempts)
        self._add(rows, unlisted, batch.added)
        for change in batch.changed:
            key = Key(change.source, change.id)
            if key in rows:
                rows[key] = _changed(rows[key], change)
        for attempt in batch.attempts:
            key = Key(attempt.source, attempt.id)
            if key in rows:
                attempts[key] = attempts.get(key, {}) | {attempt.attempt: attempt}
        unlisted |= {Key(*key) for key in batch.unlisted} & rows.keys()
        _drop(map(Key._make, batch.forgotten), rows, attempts)
        gates = self._gates | {gate.source: gate for gate in batch.gates}
        self._rows, self._unlisted, self._attempts, self._gates = rows, unlisted & rows.keys(), attempts, gates

    def _add(self, rows: dict[Key, Row], unlisted: set[Key], added: Iterable[Row]) -> None:
        keys = {row.seq: key for key, row in rows.items()}
        for row in added:
            key = Key(row.source, row.id)
            if keys.setdefault(row.seq, key) != key:
                raise ValueError(f"not written: another row has the seq {row.seq}")
            if key in rows and rows[key].seq != row.seq:
                del keys[rows[key].seq]
            rows[key] = row
            unlisted.discard(key)

    def history(
        self, source: str | None = None, phase: str | None = None, before: Cursor | None = None, limit: int = 100
    ) -> list[Row]:
        """Return one page of the downloads that have ended, newest first."""
        self._check_open()
        found = [
            row
            for row in self._rows.values()
            if row.ended_on is not None and source in (None, row.source) and phase in (None, row.phase)
        ]
        found.sort(key=lambda row: row.cursor, reverse=True)
        return [row for row in found if before is None or row.cursor < before][:limit]

    def find(self, source: str, id: str) -> Row | None:
        """Return one row, listed or not; None if there is none."""
        self._check_open()
        return self._rows.get(Key(source, id))

    def attempts(self, source: str, id: str) -> list[Attempt]:
        """Return the ended attempts of one download, in order."""
        self._check_open()
        return [attempt for _, attempt in sorted(self._attempts.get(Key(source, id), {}).items())]

    def prune(self, max_rows: int | None, before_on: float | None) -> int:
        """Delete history that is too long or too old. Returns how many rows."""
        self._check_open()
        ended = [row for key in self._unlisted if (row := self._rows[key]).ended_on is not None]
        ended.sort(key=lambda row: (row.ended_on, row.seq), reverse=True)
        gone = [
            Key(row.source, row.id)
            for place, row in enumerate(ended)
            if (max_rows is not None and place >= max_rows)
            or (before_on is not None and row.ended_on is not None and row.ended_on < before_on)
        ]
        _drop(gone, self._rows, self._attempts)
        self._unlisted &= self._rows.keys()
        return len(gone)

    def shrink(self) -> bool:
        """Return False: nothing here has free room."""
        self._check_open()
        return False

    def interrupt(self) -> None:
        """Do nothing: nothing here waits."""

    def close(self) -> None:
        """Close the storage. Every other method raises ``StoreUnavailable`` from now on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the storage in memory is closed")


def _changed(row: Row, change: Change) -> Row:
    ticket = row.ticket if change.ended_on is None else None
    return row._replace(
        phase=change.phase, ended_on=change.ended_on, record=change.record, ticket=ticket, tried=change.tried
    )


def _drop(keys: Iterable[Key], rows: dict[Key, Row], attempts: dict[Key, dict[int, Attempt]]) -> None:
    for key in keys:
        rows.pop(key, None)
        attempts.pop(key, None)
