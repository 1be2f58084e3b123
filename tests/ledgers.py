"""Ledgers with a journal: make one, take downloads through it, and take the batch that it would write."""

from __future__ import annotations

from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.journal import Batch, Journal, Key
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.policies import Retention
from haulier.transfer import Transfer

A, B, C = ("tidal", "a"), ("tidal", "b"), ("tidal", "c")
ON = 1_000_000.0
"""UTC seconds at which attempts start."""


def make_ledger(keeps: bool = True, **retention: Any) -> Ledger:
    """Make a ledger whose journal keeps each source but ``volatile``; with ``keeps=False`` it keeps none."""
    return Ledger(Retention(**retention), Journal(lambda source: keeps and source != "volatile"))


def ticket(key: Key = A) -> Ticket:
    """Make the ticket of one download."""
    return make_ticket(key[1], key[0], display_name="A Song", filename="song.flac", username=key[0], queued_at=10.0)


def add(ledger: Ledger, *keys: Key) -> list[Ticket]:
    """Dispatch downloads, all with the source of the first key, in one message."""
    tickets = [ticket(key) for key in keys]
    ledger.apply(m.Add(keys[0][0], tickets, [f"text of {key[1]}" for key in keys]))
    return tickets


def start(ledger: Ledger, of: Ticket, attempt: int = 1, on: float = ON) -> Transfer:
    """Start an attempt."""
    transfer = Transfer(of, attempt, {}, started_at=5.0, started_on=on)
    ledger.apply(transfer)
    return transfer


def running(ledger: Ledger, key: Key = A) -> Transfer:
    """Dispatch and start a download, and take the batch that says so."""
    (made,) = add(ledger, key)
    transfer = start(ledger, made)
    write(ledger)
    return transfer


def moved(event: str, transfer: Transfer | None, key: Key = A, **more: Any) -> m.Moved:
    return m.Moved(event, *key, transfer, more.pop("patch", None), ON + 9.0, **more)


def journal_of(ledger: Ledger) -> Journal:
    assert ledger.journal is not None
    return ledger.journal


def write(ledger: Ledger) -> Batch:
    """Take what the journal would write now."""
    return journal_of(ledger).take_batch()


def entry_of(ledger: Ledger, key: Key = A) -> Any:
    """Return what the table keeps of a download: a ticket, a transfer, a tuple or an entry."""
    return ledger.table.buckets[key[0]][key[1]]
