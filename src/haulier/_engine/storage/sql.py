"""The tables and the statements: one set for both SQLite and PostgreSQL.

A statement names its parameters, e.g. ``:source``. ``Dialect`` replaces the names by positions, so that the named
tuples of ``protocol`` can be passed unchanged. A dict for each row would cost 0.6 µs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

from haulier._engine.storage.protocol import Change, GateRow, Key, Row
from haulier.records import Attempt, Cursor

__all__ = ["STEPS", "Dialect", "Rendered", "Statement"]

_PARAMETER: Final = re.compile(r":(\w+)")


class Statement(NamedTuple):
    """An SQL statement. ``:name`` in ``text`` is the parameter at the position of ``name`` in ``fields``."""

    text: str
    fields: tuple[str, ...] = ()


class Rendered(NamedTuple):
    """A statement in the form that one database accepts."""

    text: str
    arrange: Callable[[Sequence[Any]], Sequence[Any]] | None
    """Puts the parameters into the order of the text; None if they already are."""


@dataclass(frozen=True)
class Dialect:
    """The differences between the two databases."""

    numbered: bool
    """Whether a parameter is ``$`` and its number, or a plain ``?``. SQLite accepts numbers, but Python 3.12.0 to
    3.12.3 warn about them."""
    words: Mapping[str, str]
    """The database's own words for the placeholders in ``STEPS``."""

    def render(self, statement: Statement) -> Rendered:
        """Return ``statement`` in the form that this database accepts."""
        place = statement.fields.index
        if self.numbered:
            return Rendered(_PARAMETER.sub(lambda found: f"${place(found[1]) + 1}", statement.text), None)
        order = [place(name) for name in _PARAMETER.findall(statement.text)]
        in_order = order == list(range(len(statement.fields)))
        return Rendered(_PARAMETER.sub("?", statement.text), None if in_order else itemgetter(*order))

    def define(self, text: str) -> str:
        """Return a statement of ``STEPS`` in the form that this database accepts."""
        return text.format_map(self.words)


# ---- the tables ------------------------------------------------------------------------------------------------------

# {seq}: an integer of 64 bits. {name}: text that is compared byte by byte, because an index in the order of a language
# breaks when the system's collation changes. {clustered}: rows are stored in the order of their primary key.
_FIRST: Final = (
    """
    CREATE TABLE downloads (
        seq {seq} PRIMARY KEY,
        source {name} NOT NULL,
        id {name} NOT NULL,
        phase TEXT,
        ended_on DOUBLE PRECISION,
        listed BOOLEAN NOT NULL,
        record TEXT NOT NULL,
        ticket TEXT,
        tried TEXT,
        UNIQUE (source, id)
    )
    """,
    # An engine that starts reads no history.
    "CREATE INDEX downloads_listed ON downloads (seq) WHERE listed",
    # A page of the history does not read the pages before it. The index leaves the phase out, because PostgreSQL would
    # write each change of the phase into all indexes.
    "CREATE INDEX downloads_ended ON downloads (ended_on, seq, source) WHERE ended_on IS NOT NULL",
    # Finding nothing to prune reads no rows: 30 ms instead of 400 ms with 80,000 of them.
    "CREATE INDEX downloads_unlisted ON downloads (ended_on, seq) WHERE NOT listed",
    """
    CREATE TABLE attempts (
        source {name} NOT NULL,
        id {name} NOT NULL,
        attempt INTEGER NOT NULL,
        started_on DOUBLE PRECISION,
        ended_on DOUBLE PRECISION,
        outcome TEXT NOT NULL,
        error TEXT,
        error_type TEXT,
        PRIMARY KEY (source, id, attempt)
    ) {clustered}
    """,
    """
    CREATE TABLE gates (
        source {name} NOT NULL PRIMARY KEY,
        last_end_on DOUBLE PRECISION,
        suspended_until_on DOUBLE PRECISION,
        resume_interrupted BOOLEAN NOT NULL
    ) {clustered}
    """,
)

STEPS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""The first step makes version 1, the next makes version 2 of it, and so on. Never change a released step: add one."""

# ---- writing ---------------------------------------------------------------------------------------------------------

ADD: Final = Statement(
    """
    INSERT INTO downloads (source, id, seq, phase, ended_on, listed, record, ticket, tried)
    VALUES (:source, :id, :seq, :phase, :ended_on, TRUE, :record, :ticket, :tried)
    ON CONFLICT (source, id) DO UPDATE SET
        seq = excluded.seq, phase = excluded.phase, ended_on = excluded.ended_on, listed = TRUE,
        record = excluded.record, ticket = excluded.ticket, tried = excluded.tried
    """,
    Row._fields,
)

CHANGE: Final = Statement(
    """
    UPDATE downloads SET phase = :phase, ended_on = :ended_on, record = :record, tried = :tried,
        ticket = CASE WHEN CAST(:ended_on AS DOUBLE PRECISION) IS NULL THEN ticket END
    WHERE source = :source AND id = :id
    """,
    Change._fields,
)

ADD_ATTEMPT: Final = Statement(
    """
    INSERT INTO attempts (source, id, attempt, started_on, ended_on, outcome, error, error_type)
    SELECT source, id, CAST(:attempt AS INTEGER), CAST(:started_on AS DOUBLE PRECISION),
           CAST(:ended_on AS DOUBLE PRECISION), CAST(:outcome AS TEXT), CAST(:error AS TEXT), CAST(:error_type AS TEXT)
    FROM downloads WHERE source = :source AND id = :id
    ON CONFLICT (source, id, attempt) DO UPDATE SET
        started_on = excluded.started_on, ended_on = excluded.ended_on, outcome = excluded.outcome,
        error = excluded.error, error_type = excluded.error_type
    """,
    Attempt._fields,
)

UNLIST: Final = Statement("UPDATE downloads SET listed = FALSE WHERE source = :source AND id = :id", Key._fields)
FORGET: Final = Statement("DELETE FROM downloads WHERE source = :source AND id = :id", Key._fields)
FORGET_ATTEMPTS: Final = Statement("DELETE FROM attempts WHERE source = :source AND id = :id", Key._fields)

SET_GATE: Final = Statement(
    """
    INSERT INTO gates (source, last_end_on, suspended_until_on, resume_interrupted)
    VALUES (:source, :last_end_on, :suspended_until_on, :resume_interrupted)
    ON CONFLICT (source) DO UPDATE SET
        last_end_on = excluded.last_end_on, suspended_until_on = excluded.suspended_until_on,
        resume_interrupted = excluded.resume_interrupted
    """,
    GateRow._fields,
)

# ---- reading ---------------------------------------------------------------------------------------------------------

ROWS: Final = Statement(
    """
    SELECT source, id, seq, phase, ended_on, record, ticket, tried
    FROM downloads WHERE listed AND seq > :seq ORDER BY seq LIMIT :limit
    """,
    ("seq", "limit"),
)
GATES: Final = Statement(
    "SELECT source, last_end_on, suspended_until_on, resume_interrupted FROM gates ORDER BY source"
)
LAST_SEQ: Final = Statement("SELECT max(seq) FROM downloads")

ATTEMPTS: Final = Statement(
    """
    SELECT attempt, started_on, ended_on, outcome, error, error_type
    FROM attempts WHERE source = :source AND id = :id ORDER BY attempt
    """,
    Key._fields,
)

FIND: Final = Statement(
    """
    SELECT source, id, seq, phase, ended_on, record, ticket, tried
    FROM downloads WHERE source = :source AND id = :id
    """,
    Key._fields,
)

HISTORY: Final = Statement(
    """
    SELECT source, id, seq, phase, ended_on, record, ticket, tried
    FROM downloads
    WHERE ended_on IS NOT NULL AND (ended_on, seq) < (:ended_on, :seq)
        AND (CAST(:source AS TEXT) IS NULL OR source = :source)
        AND (CAST(:phase AS TEXT) IS NULL OR phase = :phase)
    ORDER BY ended_on DESC, seq DESC LIMIT :limit
    """,
    ("ended_on", "seq", "source", "phase", "limit"),
)

# ---- pruning ---------------------------------------------------------------------------------------------------------

NEWEST_BEYOND: Final = Statement(
    """
    SELECT ended_on, seq FROM downloads WHERE NOT listed AND ended_on IS NOT NULL
    ORDER BY ended_on DESC, seq DESC LIMIT 1 OFFSET :max_rows
    """,
    ("max_rows",),
)

COUNT_OLD: Final = Statement(
    """
    SELECT count(*) FROM downloads
    WHERE NOT listed AND ended_on IS NOT NULL AND (ended_on, seq) <= (:ended_on, :seq)
    """,
    Cursor._fields,
)
PRUNE_ATTEMPTS: Final = Statement(
    """
    DELETE FROM attempts WHERE (source, id) IN (
        SELECT source, id FROM downloads
        WHERE NOT listed AND ended_on IS NOT NULL AND (ended_on, seq) <= (:ended_on, :seq)
    )
    """,
    Cursor._fields,
)
PRUNE: Final = Statement(
    """
    DELETE FROM downloads
    WHERE NOT listed AND ended_on IS NOT NULL AND (ended_on, seq) <= (:ended_on, :seq)
    """,
    Cursor._fields,
)
