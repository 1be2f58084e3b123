"""Downloads as rows of a storage: what is written of one, and what that is read as.

Of one that waits for its first attempt the ticket says all. Of one that landed at its first, as nearly all do, a few
values do, from which the record and the attempt follow: the whole record would be half of what a download costs.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from haulier._engine.core.entry import Entry, Stored, phase_of, record_of, view
from haulier._engine.core.journal import standing_of
from haulier._engine.core.retention import ended_on
from haulier._engine.storage.codec import decode, encode, encode_text
from haulier._engine.storage.protocol import Row
from haulier._engine.ticket import (
    FILENAME,
    QUEUED_AT,
    SUCCESS_ENDED_ON,
    USERNAME,
    Success,
    Ticket,
    fields_of,
    flat_fields,
    is_success,
    make_success,
    make_ticket,
)
from haulier.errors import StoreUnavailable
from haulier.records import Attempt, HistoryRow, Phase, Record

__all__ = ["attempt_in", "history_row", "stored_in", "written"]

logger = logging.getLogger("haulier.store")

UNTOUCHED: Final = "{}"
"""The record of a download that says no more than its ticket does."""

_SUCCESS: Final = "["
"""How the text of one begins that landed at its first attempt: ``[attempt, started_on, queued_at, filename, username,
path, the caller's fields, progress]``."""


class Written(NamedTuple):
    """What is written of a download, its ticket and its place aside."""

    phase: str | None
    ended_on: float | None
    record: str
    tried: str | None


_QUEUED: Final = Written(Phase.QUEUED, None, UNTOUCHED, None)


def written(stored: Stored) -> Written:
    """What is to be written. What a plugin put there past the checks, and cannot be written down, is left out."""
    if is_success(stored):
        return Written(Phase.SUCCEEDED, stored[SUCCESS_ENDED_ON], _success_text(stored), None)
    if type(stored) is tuple:
        return _QUEUED
    if isinstance(stored, Entry):
        stored.is_noted = False  # first: what is written to it from here on is values anew
    standing = standing_of(stored)
    tried = None if standing is None else str(list(standing))
    return Written(phase_of(stored), ended_on(stored), _text(view(stored)), tried)


def _success_text(stored: Success) -> str:
    ticket, attempt, started_on, path, _, cell = stored
    filename, username, queued_at = ticket[FILENAME], ticket[USERNAME], ticket[QUEUED_AT]
    fields = fields_of(ticket)
    try:
        texts = f"{encode_text('filename', filename)},{encode_text('username', username)},{encode_text('path', path)}"
        more = (
            "null,null" if fields is None and cell is None else f"{encode('field', fields)},{encode('progress', cell)}"
        )
        return f"[{attempt},{started_on!r},{queued_at!r},{texts},{more}]"
    except Exception:
        about = [attempt, started_on, queued_at, filename, username, _storable({"file_path": path}).get("file_path")]
        return encode("record", [*about, _storable(fields or {}), _storable(cell or {})])


def stored_in(row: Row, ticket: Ticket | None) -> Stored:
    """What the ledger had of it. ``ticket``: of one that is not over. Raises ``StoreUnavailable`` for a damaged row."""
    if _is_success_row(row):
        return _success_in(row)
    if ticket is not None and row.record == UNTOUCHED:
        return ticket if row.phase == Phase.QUEUED else Entry(record_of(ticket), row.phase, None)
    return Entry(_decoded(row), row.phase, {} if row.phase is None else None)


def history_row(row: Row) -> HistoryRow:
    """A row that is over, as programs see it."""
    record = view(_success_in(row)) if _is_success_row(row) else _decoded(row)
    assert row.ended_on is not None
    return HistoryRow(row.source, row.id, row.seq, row.phase, row.ended_on, record)


def attempt_in(row: Row) -> Attempt | None:
    """The attempt that is values in the row itself: the first, which landed."""
    if not _is_success_row(row):
        return None
    _, attempt, started_on, _, on, _ = _success_in(row)
    return Attempt(row.source, row.id, attempt, started_on, on, "succeed", None, None)


def _is_success_row(row: Row) -> bool:
    return row.record.startswith(_SUCCESS)


def _success_in(row: Row) -> Success:
    values = _decoded(row)
    if len(values) != 8 or row.ended_on is None:
        raise StoreUnavailable(f"the database is damaged: what it has of {row.id} at {row.source} makes no sense")
    attempt, started_on, queued_at, filename, username, path, fields, cell = values
    ticket = make_ticket(
        row.id, row.source, filename=filename, username=username, fields=flat_fields(fields), queued_at=queued_at
    )
    return make_success(ticket, attempt, started_on, path, row.ended_on, cell)


def _decoded(row: Row) -> Any:
    try:
        return decode(row.record)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error}, that of {row.id} at {row.source}") from error


def _text(record: Record) -> str:
    try:
        return encode("record", record)
    except Exception:
        return encode("record", _storable(record))


def _storable(record: Record) -> Record:
    return {key: value for key, value in record.items() if _is_storable(key, value)}


def _is_storable(key: Any, value: Any) -> bool:
    try:
        encode("record", {key: value})
    except Exception as error:
        logger.warning("a part of a record is not stored: %s", error)
        return False
    return True
