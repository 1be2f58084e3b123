"""One record: two dicts and what the engine knows of its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from haulier._engine import messages as m
from haulier._engine.core.values import are_plain, own
from haulier._engine.ticket import (
    FIELDS,
    FILENAME,
    ID,
    QUEUED_AT,
    SOURCE,
    USERNAME,
    Success,
    Ticket,
    fields_of,
    is_success,
    make_success,
)
from haulier.records import STATE_OF_PHASE, TERMINAL_PHASES, TERMINAL_STATES, Phase, Record, first_record
from haulier.transfer import Transfer

__all__ = ["Entry", "Stored", "entry_of", "is_terminal", "phase_of", "record_of", "success_of", "view"]

NO_FILE: Final = "the impl returned no file path"


class Entry:
    """A record that was read or written. Before that, a cheaper value stands for it: see ``Stored``."""

    __slots__ = ("ended_on", "fixed", "is_nested", "is_noted", "overlay", "phase", "record", "standing", "transfer")

    def __init__(self, record: Record, phase: str | None, overlay: Record | None, is_nested: bool = False) -> None:
        self.record = record
        self.is_nested = is_nested
        """Whether the record may contain lists, dicts and the like, which readers must copy as well."""
        self.overlay = overlay
        """Progress that readers lay over the record. None until the download starts."""
        self.phase = phase
        """None for a record that ``add_record`` made: no engine runs it, and its state belongs to its callers."""
        self.transfer: Transfer | None = None
        """The attempt that runs now. A report from any other attempt is late."""
        self.fixed = False
        """Whether the state never changes again: the engine ended the download, or it was cancelled."""
        self.ended_on: float | None = None
        """When the download ended (UTC seconds); None if retention does not count it."""
        self.standing: m.Standing | None = None
        """The attempts so far, for a durable store. None if it has none to write."""
        self.is_noted = False
        """Whether the store knows that the record was written to since the last batch."""

    def go(self, phase: str, changes: Record) -> None:
        """Change the phase, with ``changes`` to the record. Takes over the dict ``changes``."""
        changes["state"], changes["phase"] = STATE_OF_PHASE[phase], phase
        self.record.update(changes)
        self.phase = phase
        self.fixed = phase in TERMINAL_PHASES

    def start(self, transfer: Transfer) -> None:
        """Note that a slot took the download."""
        self.transfer, self.overlay = transfer, transfer.cell
        self.record.pop("next_attempt_at", None)
        changes: Record = {"attempt": transfer.attempt, "started_at": transfer.started_on}
        for each in (self.record, self.overlay):
            if each.get("error") is not None or each.get("error_type") is not None:
                each.update(error=None, error_type=None)  # of the attempt before, which ``attempts`` lists
        self.go(Phase.RUNNING, changes)

    def move(self, phase: str, patch: Record | None, on: float) -> None:
        """Leave the phase 'running' or a waiting phase for ``phase``."""
        self.transfer = None
        record = self.record
        if self.overlay:
            record.update(self.overlay)
        changes: Record = dict(patch or ())
        if phase in TERMINAL_PHASES:
            changes["finished_at"], changes["time_remaining"] = on, None
            record.pop("next_attempt_at", None)
        if phase == Phase.SUCCEEDED:
            changes["progress"], changes["error_type"] = 100.0, None
            if "error" in record:
                changes["error"] = None
            if record.get("size"):
                changes["transferred"] = record["size"]
        elif phase == Phase.FAILED and not changes.get("error"):
            changes["error"] = record.get("error") or NO_FILE
        if self.overlay:
            # Set, not removed: a reader that copied the record before this must still find the progress.
            self.overlay.update({key: value for key, value in changes.items() if key in self.overlay})
        self.go(phase, changes)

    def accept_progress(self, patch: Mapping[str, Any], is_durable: bool) -> bool:
        """Write a patch straight into the overlay. Returns False if the patch must go through the store instead.

        A change of state or phase always goes through the store. So does a patch before the start, and with a durable
        store one that is not for a running download: only those are patched all the time.
        """
        if self.overlay is None or "phase" in patch:
            return False
        if is_durable and (self.phase not in (Phase.RUNNING, None) or self.is_terminal):
            return False
        if "state" in patch:
            if not self.fixed and patch["state"] != self.record.get("state"):
                return False
            patch = dict(patch)
            del patch["state"]
        for value in patch.values():  # ``are_plain``, in less than half of its time
            kind = type(value)
            if kind is not float and kind is not int and kind is not str and not are_plain((value,)):
                patch = own(patch)
                self.is_nested = True
                break
        self.overlay.update(patch)
        return True

    @property
    def is_terminal(self) -> bool:
        """Whether the download has ended."""
        if self.phase is not None:
            return self.phase in TERMINAL_PHASES
        state = self.record.get("state")
        # As plain text: a caller's own subclass of str may raise when it is compared.
        return isinstance(state, str) and str.__str__(state) in TERMINAL_STATES


Stored: TypeAlias = Ticket | Transfer | Success | Entry
"""What the ledger has for a download: its ticket while it is queued, the ``Transfer`` of its first attempt while that
runs, a ``Success`` after that, and an ``Entry`` once anything else happens. Most records of a busy engine come and go
without anybody reading them."""


def entry_of(stored: Ticket | Transfer | Success) -> Entry:
    """Make the ``Entry`` that says what ``stored`` says."""
    if isinstance(stored, Transfer):
        entry = _queued(stored.ticket, None)
        entry.start(stored)
    elif is_success(stored):
        ticket, attempt, started_on, path, on, progress = stored
        entry = _queued(ticket, dict(progress or ()))  # a copy: reading must not change it
        entry.go(Phase.RUNNING, {"attempt": attempt, "started_at": started_on})
        entry.move(Phase.SUCCEEDED, {"file_path": path}, on)
        entry.ended_on = on
    else:
        entry = _queued(cast("Ticket", stored), None)
    return entry


def _queued(ticket: Ticket, overlay: Record | None) -> Entry:
    fields = ticket[FIELDS]
    return Entry(record_of(ticket), Phase.QUEUED, overlay, fields is not None and not are_plain(fields))


def success_of(message: m.Succeeded) -> Success:
    """What the ledger keeps of a download that succeeded at its first attempt."""
    transfer = message.transfer
    return make_success(transfer.ticket, transfer.attempt, transfer.started_on, message.path, message.on, transfer.cell)


def record_of(ticket: Ticket) -> Record:
    """The first record of a dispatched download."""
    record = first_record(ticket[ID], ticket[SOURCE], ticket[FILENAME], ticket[USERNAME], ticket[QUEUED_AT])
    fields = fields_of(ticket)
    if fields is not None:
        record.update(fields)
        record["phase"] = Phase.QUEUED
    return record


def view(stored: Stored) -> Record:
    """A copy of the record, with the latest progress."""
    if not isinstance(stored, Entry):
        stored = entry_of(stored)
    record = stored.record.copy()
    if stored.overlay:
        record.update(stored.overlay)
    return own(record) if stored.is_nested else record


def phase_of(stored: Stored) -> str | None:
    """The phase; None for a record that ``add_record`` made."""
    if isinstance(stored, Entry):
        return stored.phase
    if isinstance(stored, Transfer):
        return Phase.RUNNING
    return Phase.SUCCEEDED if is_success(stored) else Phase.QUEUED


def is_terminal(stored: Stored) -> bool:
    """Whether the download has ended."""
    return is_success(stored) or (isinstance(stored, Entry) and stored.is_terminal)
