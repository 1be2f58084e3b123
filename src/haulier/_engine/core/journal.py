"""What has changed since the last write to disk, and must be written next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf
from typing import NamedTuple, TypeAlias

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored
from haulier._engine.ticket import SUCCESS_ENDED_ON, Success, is_success
from haulier.records import OPEN_PHASES, TERMINAL_PHASES
from haulier.transfer import Transfer

__all__ = ["Attempted", "Batch", "Journal", "Key", "Pacing", "standing_of"]

Key: TypeAlias = tuple[str, str]
"""Source and id of a download."""


class Attempted(NamedTuple):
    """An attempt that has ended. ``outcome`` names a row of ``core.lifecycle.TABLE``; moments are UTC seconds."""

    source: str
    download_id: str
    attempt: int
    started_on: float
    ended_on: float
    outcome: str
    error: str | None
    error_type: str | None


class Pacing(NamedTuple):
    """The waits of a source that outlast the process, in UTC seconds. None: never."""

    last_end_on: float | None
    suspended_until_on: float | None


class Batch:
    """The changes since the last write. They are written in one transaction."""

    def __init__(self) -> None:
        self.new: dict[Key, tuple[int, str | None]] = {}
        """Downloads never written before: number, and ticket as text (None for a record that ``add_record`` made)."""
        self.touched: dict[Key, None] = {}
        """Downloads that are on disk and have changed."""
        self.gone: dict[Key, Stored] = {}
        """Ended records that left memory, with their final values: they stay as history."""
        self.forgotten: dict[Key, None] = {}
        """Downloads to delete from disk."""
        self.attempts: list[Attempted] = []
        self.paced: set[str] = set()
        """The sources whose ``Journal.pacing`` has changed."""
        self.is_urgent = False
        """Whether it holds more than the progress of downloads that have not ended."""

    def __bool__(self) -> bool:
        return bool(self.new or self.touched or self.gone or self.forgotten or self.attempts or self.paced)


class Journal:
    """What has changed since the last write, of the sources that ``is_durable(source)`` is true for."""

    def __init__(self, is_durable: Callable[[str], bool]) -> None:
        self.is_durable = is_durable
        self.batch = Batch()
        self.next_seq = 1
        """The number of the next download: they are numbered in the order of their dispatch."""
        self.pacing: dict[str, Pacing] = {}
        """What each source has to wait out, for every source that was ever used."""
        self._late_runs: Counter[str] = Counter()
        """How many runs of a source go on though their records have ended."""

    # ---- records -----------------------------------------------------------------------------------------------------

    def add(self, source: str, download_id: str, ticket: str | None) -> None:
        """Note a new record. ``ticket``: the ticket as text, None for a record that ``add_record`` made."""
        if not self.is_durable(source):
            return
        batch, key = self.batch, (source, download_id)
        if batch.gone or batch.forgotten or batch.touched:
            for each in (batch.gone, batch.forgotten, batch.touched):
                each.pop(key, None)
        seq = self.next_seq
        self.next_seq = seq + 1  # first: interrupted after it, a number is left out; before, it would be given twice
        batch.new[key] = (seq, ticket)
        batch.is_urgent = True

    def touch(self, source: str, download_id: str, urgent: bool = True) -> None:
        """Note that a record has changed. ``urgent``: it is written with the next batch, not within a second."""
        if not self.is_durable(source):
            return
        batch, key = self.batch, (source, download_id)
        if key not in batch.new:
            batch.touched[key] = None
        if urgent:
            batch.is_urgent = True

    def leave(self, source: str, download_id: str, stored: Stored) -> None:
        """Note that a record left memory.

        A download that has ended becomes history: its final value is kept until the next write. Anything else (a record
        that ``add_record`` made, a download that was removed before its end) leaves no trace.
        """
        if self.is_durable(source):
            self._become_history((source, download_id), stored)

    def stop_writing(self, source: str, download_id: str, stored: Stored) -> None:
        """Note that a record is not written any more: its source became one that is kept in memory alone."""
        self._become_history((source, download_id), stored)

    def _become_history(self, key: Key, stored: Stored) -> None:
        if is_success(stored) or (isinstance(stored, Entry) and stored.phase in TERMINAL_PHASES):
            self.batch.gone[key] = stored
        else:
            self._forget(key)

    def forget(self, source: str, download_id: str) -> None:
        """Leave no trace of a record."""
        if self.is_durable(source):
            self._forget((source, download_id))

    def _forget(self, key: Key) -> None:
        batch = self.batch
        for each in (batch.new, batch.touched, batch.gone):
            each.pop(key, None)
        batch.forgotten[key] = None
        batch.is_urgent = True

    def refuse(self, written: bool) -> list[Key]:
        """Take back the new downloads, which cannot be written. Returns their keys.

        ``written``: a write was tried with them, and may have reached the disk: a commit can fail in its last moment.
        """
        refused = [key for key, (_, ticket) in self.batch.new.items() if ticket is not None]
        for key in refused:
            if written:
                self._forget(key)
            else:
                del self.batch.new[key]
        return refused

    # ---- attempts and pacing -----------------------------------------------------------------------------------------

    def note(self, attempted: Attempted) -> None:
        """Note an attempt that has ended."""
        self.batch.attempts.append(attempted)
        self.batch.is_urgent = True

    def note_attempt(self, transfer: Transfer, message: m.Moved) -> None:
        """Note the attempt that ``message`` ended, and from when the delay of its source counts."""
        source, outcome, on, patch = message.source, message.event, message.on, message.patch or {}
        if not self.is_durable(source) or outcome == "take_back":
            return  # the impl of an attempt that was taken back was not called
        about = (transfer.attempt, transfer.started_on, on, outcome, patch.get("error"), patch.get("error_type"))
        self.note(Attempted(source, message.download_id, *about))
        self.pace(source, on, patch.get("next_attempt_at") if outcome == "put_back" else None)
        if outcome == "cancel":
            self._late_runs[source] += 1  # a cancelled run lasts until its impl has noticed

    def note_first_success(self, source: str, download_id: str, success: Success) -> None:
        """Note the attempt of a success that becomes an ``Entry``: until then its row says it."""
        if self.is_durable(source):
            _, attempt, started_on, _, on, _ = success
            self.note(Attempted(source, download_id, attempt, started_on, on, "succeed", None, None))

    def pace_first_success(self, source: str, success: Success) -> None:
        """Note from when the delay counts after a success at the first attempt."""
        if self.is_durable(source):
            self.pace(source, success[SUCCESS_ENDED_ON], None)

    def pace_anew(self, source: str, on: float) -> None:
        """Have a source that was used wait as if its last run had ended at ``on`` (UTC seconds)."""
        if self.is_durable(source) and source in self.pacing:
            self.pace(source, on, None)

    def end_late_run(self, message: m.Paced) -> None:
        """Note the end of a run whose record had ended before."""
        self._late_runs[message.source] = max(0, self._late_runs[message.source] - 1)
        self.pace(*message)
        self.batch.is_urgent = True

    def pace(self, source: str, last_end_on: float | None, suspended_until_on: float | None) -> None:
        """Note that a run at ``source`` has ended."""
        before = self.pacing.get(source)
        if suspended_until_on is None and before is not None:
            suspended_until_on = before.suspended_until_on
        self.pacing[source] = Pacing(last_end_on, suspended_until_on)
        self.batch.paced.add(source)

    def know(self, source: str) -> None:
        """Write what there is of ``source``, at the latest with the next batch."""
        self.pacing.setdefault(source, Pacing(None, None))
        self.batch.paced.add(source)

    def pacing_of(self, source: str) -> Pacing:
        """The pacing for the next process. A run that has not ended yet ends with this process."""
        pacing = self.pacing[source]
        return pacing._replace(last_end_on=inf) if self._late_runs[source] else pacing

    # ---- batches -----------------------------------------------------------------------------------------------------

    def take_batch(self) -> Batch:
        """Return the batch so far, and start the next one."""
        batch, self.batch = self.batch, Batch()
        return batch

    def put_back(self, batch: Batch) -> None:
        """Make ``batch``, which could not be written, the current one again, and add the changes since then."""
        later, self.batch = self.batch, batch
        batch.new.update(later.new)
        for key in (*later.new, *later.forgotten):
            for each in (batch.gone, batch.forgotten, batch.touched):
                each.pop(key, None)
        for key in later.forgotten:
            batch.new.pop(key, None)
        batch.forgotten.update(later.forgotten)
        batch.touched.update((key, None) for key in later.touched if key not in batch.new)
        batch.gone.update(later.gone)
        batch.attempts += later.attempts
        batch.paced |= later.paced
        batch.is_urgent |= later.is_urgent


def standing_of(stored: Stored) -> m.Standing | None:
    """Return the attempts so far of a download that has not ended; None before its first attempt."""
    transfer = stored if isinstance(stored, Transfer) else stored.transfer if isinstance(stored, Entry) else None
    if transfer is not None:
        first_at = transfer.started_at if transfer.first_start is None else transfer.first_start
        on = transfer.started_on
        return m.Standing(transfer.attempt, on + first_at - transfer.started_at, transfer.idle_s, on)
    return stored.standing if isinstance(stored, Entry) and stored.phase in OPEN_PHASES else None
