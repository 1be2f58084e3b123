"""One download in a ledger: run it, patch it, end it and read its record."""

from __future__ import annotations

from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.entry import view
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.records import Record
from haulier.transfer import Transfer

ID = "an-id"
TICKET: Ticket = make_ticket(ID, "tidal", display_name="A Song", filename="song.flac", username="tidal", queued_at=10.0)


def hear(record: Record) -> None:
    """A callback; the ledger never calls it, the shell does."""


def hear_too(record: Record) -> None:
    """A second callback, different from ``hear``."""


def record(ledger: Ledger) -> Record:
    """Read the download's record, as callers see it."""
    found = ledger.table.find(None, ID)
    assert found is not None
    return view(found[1])


def running(ledger: Ledger) -> Transfer:
    """Dispatch the download and start it."""
    transfer = Transfer(TICKET, 1, {}, 1.0, 20.0)
    ledger.apply(TICKET)
    ledger.apply(transfer)
    return transfer


def patch(ledger: Ledger, **changes: Any) -> None:
    """Patch the download's record as a caller does."""
    ledger.apply(m.Patch("tidal", ID, changes))


def moved(event: str, transfer: Transfer | None = None) -> m.Moved:
    """Make the message that tells the ledger of a lifecycle event of the download."""
    return m.Moved(event, "tidal", ID, transfer, None, 30.0)
