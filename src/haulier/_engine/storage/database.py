"""``Database``: the parts that SQLite and PostgreSQL share. Subclasses add the connection, its errors and the lock."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Any, Final, Protocol, TypeVar

from haulier._engine.storage import sql
from haulier._engine.storage.codec import escape, unescape
from haulier._engine.storage.protocol import Batch, Change, GateRow, Key, Loaded, Row
from haulier.errors import StoreUnavailable, forked
from haulier.records import Attempt, Cursor

__all__ = ["BEFORE_ALL", "BEYOND_ALL", "Database", "DatabaseCursor"]

T = TypeVar("T")

BEFORE_ALL: Final = Cursor(-inf, -(2**63))
BEYOND_ALL: Final = Cursor(inf, 2**63 - 1)

PAGE_ROWS: Final = 1000
"""How many rows ``load`` reads at a time. A page costs PostgreSQL one round trip, and no cursor stays open between
two pages."""


class DatabaseCursor(Protocol):
    """The methods that the cursors of both database modules have."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any:
        """Run a statement."""

    def executemany(self, statement: Any, parameters: Any, /) -> Any:
        """Run a statement once for each of ``parameters``."""

    def fetchall(self) -> list[Any]:
        """Return the rows that the last statement found."""


class Database(ABC):
    """A storage in a database."""

    def __init__(self, shown: str, dialect: sql.Dialect) -> None:
        self._shown = shown
        """The name of the database in messages, without a password."""
        self._dialect = dialect
        self._rendered: dict[sql.Statement, sql.Rendered] = {}
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

    # ---- what a subclass implements ----------------------------------------------------------------------------------

    @abstractmethod
    def _read(self, work: Callable[[DatabaseCursor], T]) -> T:
        """Run ``work``, which only reads, and return its result."""

    @abstractmethod
    def _write(self, work: Callable[[DatabaseCursor], T]) -> T:
        """Run ``work`` in one transaction, and return its result once the transaction is durable."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection and release the lock."""

    # ---- the storage -------------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        """Load all listed rows, page by page."""

        def work(cursor: DatabaseCursor) -> tuple[list[GateRow], int]:
            gates = [
                GateRow(unescape(source), last_end_on, suspended_until_on, bool(resume_interrupted))
                for source, last_end_on, suspended_until_on, resume_interrupted in self._all(cursor, sql.GATES)
            ]
            [(last_seq,)] = self._all(cursor, sql.LAST_SEQ)
            return gates, 1 if last_seq is None else max(last_seq + 1, 1)

        gates, next_seq = self._read(work)
        return Loaded(self._rows(), gates, next_seq)

    def _rows(self) -> Iterator[Row]:
        seq = BEFORE_ALL.seq
        while True:
            parameters = (seq, PAGE_ROWS)
            page = self._read(lambda cursor: self._all(cursor, sql.ROWS, parameters))  # noqa: B023 - called at once
            yield from map(_row, page)
            if len(page) < PAGE_ROWS:
                return
            seq = page[-1][2]

    def write(self, batch: Batch) -> None:
        """Write the whole batch, or nothing of it."""
        # Escape before the transaction begins, to keep it short.
        added = [_escaped_row(row) for row in batch.added]
        changed = [_escaped_row(change) for change in batch.changed]
        attempts = [_escaped_attempt(attempt) for attempt in batch.attempts]
        unlisted, forgotten = _escaped_keys(batch.unlisted), _escaped_keys(batch.forgotten)
        gates = [gate._replace(source=escape(gate.source)) for gate in batch.gates]
        if not any(batch):
            return

        def work(cursor: DatabaseCursor) -> None:
            self._each(cursor, sql.ADD, added)
            self._each(cursor, sql.CHANGE, changed)
            self._each(cursor, sql.ADD_ATTEMPT, attempts)
            self._each(cursor, sql.UNLIST, unlisted)
            self._each(cursor, sql.FORGET_ATTEMPTS, forgotten)
            self._each(cursor, sql.FORGET, forgotten)
            self._each(cursor, sql.SET_GATE, gates)

        self._write(work)

    def history(
        self, source: str | None = None, phase: str | None = None, before: Cursor | None = None, limit: int = 100
    ) -> list[Row]:
        """Return one page of the downloads that have ended, newest first."""
        parameters = (*(before or BEYOND_ALL), _escaped(source), _escaped(phase), limit)
        return list(map(_row, self._read(lambda cursor: self._all(cursor, sql.HISTORY, parameters))))

    def find(self, source: str, id: str) -> Row | None:
        """Return one row, listed or not; None if there is none."""
        key = Key(escape(source), escape(id))
        found = self._read(lambda cursor: self._all(cursor, sql.FIND, key))
        return _row(found[0]) if found else None

    def attempts(self, source: str, id: str) -> list[Attempt]:
        """Return the ended attempts of one download, in order."""
        key = Key(escape(source), escape(id))
        found = self._read(lambda cursor: self._all(cursor, sql.ATTEMPTS, key))
        return [
            Attempt(
                source, id, number, started_on, ended_on, unescape(outcome), _unescaped(error), _unescaped(error_type)
            )
            for number, started_on, ended_on, outcome, error, error_type in found
        ]

    def prune(self, max_rows: int | None, before_on: float | None) -> int:
        """Delete history that is too long or too old. Returns how many rows."""

        def work(cursor: DatabaseCursor) -> int:
            newest = BEFORE_ALL if before_on is None else Cursor(before_on, BEFORE_ALL.seq)
            if max_rows is not None:
                for ended_on, seq in self._all(cursor, sql.NEWEST_BEYOND, (max_rows,)):
                    newest = max(newest, Cursor(ended_on, seq))
            [(count,)] = self._all(cursor, sql.COUNT_OLD, newest)
            if count:
                self._each(cursor, sql.PRUNE_ATTEMPTS, [newest])
                self._each(cursor, sql.PRUNE, [newest])
            return int(count)

        return 0 if max_rows is None and before_on is None else self._write(work)

    # ---- for both ----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        """Raise ``StoreUnavailable`` after ``close()``, and ``ForkedEngine`` in a forked child.

        A child that used the connection would break it for the parent.
        """
        if self._pid != os.getpid():
            raise forked()
        if self._closed:
            raise StoreUnavailable(f"{self._shown} is closed")

    def _all(self, cursor: DatabaseCursor, statement: sql.Statement, parameters: Sequence[Any] = ()) -> list[Any]:
        text, arrange = self._rendered_for(statement)
        cursor.execute(text, parameters if arrange is None else arrange(parameters))
        return cursor.fetchall()

    def _each(self, cursor: DatabaseCursor, statement: sql.Statement, parameters: Iterable[Sequence[Any]]) -> None:
        if parameters:
            text, arrange = self._rendered_for(statement)
            cursor.executemany(text, parameters if arrange is None else map(arrange, parameters))

    def _rendered_for(self, statement: sql.Statement) -> sql.Rendered:
        rendered = self._rendered.get(statement)
        if rendered is None:
            rendered = self._rendered[statement] = self._dialect.render(statement)
        return rendered

    def _upgrade(self, cursor: DatabaseCursor, version: int) -> None:
        """Run the steps from ``version`` to the current one. The caller stores the new version."""
        for step in sql.STEPS[version:]:
            for statement in step:
                cursor.execute(self._dialect.define(statement))

    def _check_version(self, version: int) -> None:
        """Raise ``StoreUnavailable`` if a newer haulier made the database, which is left unchanged."""
        if version > len(sql.STEPS):
            raise StoreUnavailable(
                f"{self._shown} was made by a newer haulier: its version is {version}, and this haulier knows "
                f"{len(sql.STEPS)}. It was left as it is: upgrade haulier, or use another store"
            )


def _escaped(text: str | None) -> str | None:
    return None if text is None else escape(text)


def _row(found: Sequence[Any]) -> Row:
    source, id_, seq, phase, *rest = found
    return Row(unescape(source), unescape(id_), seq, _unescaped(phase), *rest)


def _unescaped(text: str | None) -> str | None:
    return None if text is None else unescape(text)


R = TypeVar("R", Row, Change)


def _escaped_row(row: R) -> R:
    """Return the row with its names escaped. Most rows need none, and are returned as they are."""
    if row.source.isprintable() and row.id.isprintable() and (row.phase is None or row.phase.isprintable()):
        return row
    return row._replace(source=escape(row.source), id=escape(row.id), phase=_escaped(row.phase))


def _escaped_attempt(attempt: Attempt) -> Attempt:
    """Return the attempt with its texts escaped. Most need none, and are returned as they are."""
    if all(text is None or text.isprintable() for text in attempt if not isinstance(text, int | float)):
        return attempt
    return attempt._replace(
        source=escape(attempt.source),
        id=escape(attempt.id),
        outcome=escape(attempt.outcome),
        error=_escaped(attempt.error),
        error_type=_escaped(attempt.error_type),
    )


def _escaped_keys(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(escape(source), escape(id_)) for source, id_ in keys]
