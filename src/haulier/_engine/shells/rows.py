"""Convert downloads to rows of a storage, and back.

- A download that waits for its first attempt is written as its ticket alone.
- A download that succeeded at its first attempt, as nearly all do, is written as eight values. Its record and its
  attempt follow from them. Writing the whole record would be half of what a download costs.
- Any other download is written as its whole record.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from haulier._engine.core.entry import Entry, Stored, entry_of, phase_of, view
from haulier._engine.core.journal import standing_of
from haulier._engine.core.retention import ended_on
from haulier._engine.core.values import are_plain
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
"""The record column of a download whose record follows from its ticket."""

_SUCCESS: Final = "["
"""The first character of a success at the first attempt: ``[attempt, started_on, queued_at, filename, username, path,
the caller's fields, progress]``. A whole record begins with ``{``."""


class Written(NamedTuple):
    """The columns of a download that change: all but its key, its place in the order and its ticket."""

    phase: str | None
    ended_on: float | None
    record: str
    tried: str | None


_QUEUED: Final = Written(Phase.QUEUED, None, UNTOUCHED, None)


def written(stored: Stored) -> Written:
    """Convert a download. Values that cannot be stored, which a plugin wrote past the checks, are left out."""
    if is_success(stored):
        return Written(Phase.SUCCEEDED, stored[SUCCESS_ENDED_ON], _success_text(stored), None)
    if type(stored) is tuple:
        return _QUEUED
    if isinstance(stored, Entry):
        stored.is_noted = False  # first: a later write sends a message again
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
    """Convert a row to what the ledger stores. ``ticket``: of a download that has not ended.

    Raises ``StoreUnavailable`` if the row is damaged.
    """
    if _is_success_row(row):
        return _success_in(row)
    if ticket is not None and row.record == UNTOUCHED:
        if row.phase == Phase.QUEUED:
            return ticket
        entry = entry_of(ticket)
        entry.phase = row.phase
        return entry
    record = _decoded(row)
    if type(record) is not dict:
        raise StoreUnavailable(f"the database is damaged: invalid record of {row.id} at {row.source}")
    return Entry(record, row.phase, {} if row.phase is None else None, not are_plain(record.values()))


def history_row(row: Row) -> HistoryRow:
    """Convert the row of an ended download for ``DownloadEngine.history``."""
    record = view(_success_in(row)) if _is_success_row(row) else _decoded(row)
    assert row.ended_on is not None
    return HistoryRow(row.source, row.id, row.seq, row.phase, row.ended_on, record)


def attempt_in(row: Row) -> Attempt | None:
    """The attempt that the row itself holds: that of a success at the first attempt. Otherwise None."""
    if not _is_success_row(row):
        return None
    _, attempt, started_on, _, on, _ = _success_in(row)
    return Attempt(row.source, row.id, attempt, started_on, on, "succeed", None, None)


def _is_success_row(row: Row) -> bool:
    return row.record.startswith(_SUCCESS)


def _success_in(row: Row) -> Success:
    values = _decoded(row)
    if len(values) != 8 or row.ended_on is None:
        raise StoreUnavailable(f"the database is damaged: invalid record of {row.id} at {row.source}")
    attempt, started_on, queued_at, filename, username, path, fields, cell = values
    ticket = make_ticket(
        row.id, row.source, filename=filename, username=username, fields=flat_fields(fields), queued_at=queued_at
    )
    return make_success(ticket, attempt, started_on, path, row.ended_on, cell)


def _decoded(row: Row) -> Any:
    try:
        return decode(row.record)
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{error} (record of {row.id} at {row.source})") from error


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
        logger.warning("a value of a record is not stored: %s", error)
        return False
    return True
