"""A ledger that remembers what has changed since it was last written down, and what is to be written."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from math import inf
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, Stored
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.shelf import End
from haulier._engine.ticket import ID, SOURCE, SUCCESS_ENDED_ON, is_success
from haulier.events import Changed
from haulier.policies import Retention
from haulier.records import OPEN_PHASES, TERMINAL_PHASES, Phase, Record, State
from haulier.transfer import Transfer

__all__ = ["Attempted", "DurableLedger", "Journal", "Key", "Pacing", "Page", "standing_of"]

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
    """What a source has to wait out, also after a restart of the process: UTC seconds, None for 'never'."""

    last_end_on: float | None
    suspended_until_on: float | None


class Page:
    """What is written down at once."""

    def __init__(self) -> None:
        self.new: dict[Key, tuple[int, str | None]] = {}
        """Number and ticket (as text; None for a record that ``add_record`` made) of what was never written."""
        self.touched: dict[Key, None] = {}
        self.gone: dict[Key, Stored] = {}
        """What left memory, having ended: it stays as history."""
        self.forgotten: dict[Key, None] = {}
        """What leaves no trace."""
        self.attempts: list[Attempted] = []
        self.paced: set[str] = set()
        """The sources of which ``Journal.pacing`` has changed."""
        self.is_urgent = False
        """Whether there is more in it than the progress of what is not over."""

    def __bool__(self) -> bool:
        return bool(self.new or self.touched or self.gone or self.forgotten or self.attempts or self.paced)


class Journal:
    """What has changed since it was last written down."""

    def __init__(self) -> None:
        self.page = Page()
        self.next_seq = 1
        """Downloads are numbered in the order of their dispatch."""
        self.pacing: dict[str, Pacing] = {}
        """Of each source that was ever used."""
        self._loose: Counter[str] = Counter()
        """Runs whose record is over, and which go on: how many, by source."""

    def add(self, key: Key, ticket: str | None) -> None:
        """Something new."""
        page = self.page
        if page.gone or page.forgotten or page.touched:
            for each in (page.gone, page.forgotten, page.touched):
                each.pop(key, None)
        seq = self.next_seq
        self.next_seq = seq + 1  # first: torn after it, a number is left out; before, it would be given twice
        page.new[key] = (seq, ticket)
        page.is_urgent = True

    def touch(self, key: Key, urgent: bool = True) -> None:
        """It says something else now."""
        page = self.page
        if key not in page.new:
            page.touched[key] = None
        if urgent:
            page.is_urgent = True

    def leave(self, key: Key, held: Stored) -> None:
        """It left memory, having ended; as it was then, it is yet to be written where it is new or touched."""
        self.page.gone[key] = held

    def forget(self, key: Key) -> None:
        """It is as if it had never been."""
        page = self.page
        for each in (page.new, page.touched, page.gone):
            each.pop(key, None)
        page.forgotten[key] = None
        page.is_urgent = True

    def note(self, attempted: Attempted) -> None:
        """An attempt has ended."""
        self.page.attempts.append(attempted)
        self.page.is_urgent = True

    def pace(self, source: str, last_end_on: float | None, suspended_until_on: float | None) -> None:
        """A run at ``source`` has ended."""
        before = self.pacing.get(source)
        if suspended_until_on is None and before is not None:
            suspended_until_on = before.suspended_until_on
        self.pacing[source] = Pacing(last_end_on, suspended_until_on)
        self.page.paced.add(source)

    def known(self, source: str) -> None:
        """Write down what there is of ``source``, at the latest with what comes next."""
        self.pacing.setdefault(source, Pacing(None, None))
        self.page.paced.add(source)

    def loosen(self, source: str, by: int) -> None:
        """A run whose record is over goes on (1), or has ended (-1)."""
        self._loose[source] = max(0, self._loose[source] + by)

    def pacing_of(self, source: str) -> Pacing:
        """As it is to be found by another process: something that runs to the end of this one ends then."""
        pacing = self.pacing[source]
        return pacing._replace(last_end_on=inf) if self._loose[source] else pacing

    def turn(self) -> Page:
        """The page so far, to be written; what happens from now on comes on the next one."""
        page, self.page = self.page, Page()
        return page

    def put_back(self, page: Page) -> None:
        """``page`` could not be written: what happened since is added to it."""
        later, self.page = self.page, page
        page.new.update(later.new)
        for key in (*later.new, *later.forgotten):
            for each in (page.gone, page.forgotten, page.touched):
                each.pop(key, None)
        for key in later.forgotten:
            page.new.pop(key, None)
        page.forgotten.update(later.forgotten)
        page.touched.update((key, None) for key in later.touched if key not in page.new)
        page.gone.update(later.gone)
        page.attempts += later.attempts
        page.paced |= later.paced
        page.is_urgent |= later.is_urgent


class DurableLedger(Ledger):
    """A ledger with a journal, in which only those sources are that ``keeps(source)`` is true for."""

    def __init__(self, retention: Retention, keeps: Callable[[str], bool]) -> None:
        super().__init__(retention)
        self.journal = Journal()
        self._keeps = keeps
        self.handlers.update(
            {m.Add: self._add, m.Registered: self._registered, m.Paced: self._paced, m.Stirred: self._stirred}
        )

    # ---- what was found ----------------------------------------------------------------------------------------------

    def restore(self, source: str, download_id: str, held: Stored, ended_on: float | None) -> None:
        """Put back what was written down by an engine before this one; then ``restored``."""
        self.buckets.setdefault(source, {})[download_id] = held
        if isinstance(held, Entry):
            held.fixed = held.phase in TERMINAL_PHASES or (
                held.phase is None and held.record.get("state") == State.CANCELLED
            )
            held.ended_on = ended_on
        if ended_on is not None:
            self._ended.append((source, download_id, ended_on))
            self._terminal += 1

    def restored(self) -> None:
        """All has been put back."""
        self._ended = deque(sorted(self._ended, key=itemgetter(2)))

    # ---- a download's life -------------------------------------------------------------------------------------------

    def _touch(self, source: str, download_id: str) -> None:
        if self._keeps(source) and download_id in self.buckets.get(source, ()):
            self.journal.touch((source, download_id))

    def _add(self, message: m.Add) -> None:
        for ticket, text in zip(message.tickets, message.texts, strict=True):
            self._added(ticket)
            self.journal.add((ticket[SOURCE], ticket[ID]), text)
        if message.source not in self.journal.pacing:
            self.journal.known(message.source)

    def refuse(self, tried: bool) -> None:
        """Take back the downloads that are new: they cannot be written, so nobody is to hear of them.

        ``tried``: that was found out with them, so that they may be there: a commit can fail in its last moment.
        """
        new = self.journal.page.new
        refused = [key for key, (_, ticket) in new.items() if ticket is not None]
        for source, download_id in refused:
            super()._forget(m.Forget(source, download_id))
            if tried:
                self.journal.forget((source, download_id))
            else:
                del new[source, download_id]
        if self.events:
            ids = {download_id for _, download_id in refused}
            told = (event for event in self.events if not (isinstance(event, Changed) and event.download_id in ids))
            self.events = deque(told)

    def _started(self, transfer: Transfer) -> None:
        super()._started(transfer)
        self._touch(transfer.ticket[SOURCE], transfer.ticket[ID])

    def _moved(self, message: m.Moved) -> None:
        source, download_id, transfer = message.source, message.download_id, message.transfer
        entry = self._entry(source, download_id)
        counts = entry is not None and transfer is entry.transfer
        super()._moved(message)
        if not counts or entry is None:
            return
        entry.standing = message.standing
        self._touch(source, download_id)
        if transfer is not None and self._keeps(source):
            self._attempted(transfer, message)

    def _attempted(self, transfer: Transfer, message: m.Moved) -> None:
        source, outcome, on, patch = message.source, message.event, message.on, message.patch or {}
        about = (transfer.attempt, transfer.started_on, on, outcome, patch.get("error"), patch.get("error_type"))
        self.journal.note(Attempted(source, message.download_id, *about))
        self.journal.pace(source, on, patch.get("next_attempt_at") if outcome == "put_back" else None)
        if outcome == "cancel":
            self.journal.loosen(source, 1)  # what is cancelled runs on until its impl has noticed

    def _over(self, source: str, download_id: str, phase: str, end: End) -> None:
        if is_success(end) and self._keeps(source):  # no ``_moved`` tells of a success at the first attempt
            self.journal.pace(source, end[SUCCESS_ENDED_ON], None)
        super()._over(source, download_id, phase, end)

    def _entry(self, source: str, download_id: str) -> Entry | None:
        held = self.buckets.get(source, {}).get(download_id)
        if is_success(held) and self._keeps(source):
            # A row that it still is says so itself; from now on it is a record like others.
            _, attempt, started_on, _, on, _ = held
            self.journal.note(Attempted(source, download_id, attempt, started_on, on, "succeed", None, None))
        return super()._entry(source, download_id)

    def _paced(self, message: m.Paced) -> None:
        self.journal.loosen(message.source, -1)
        self.journal.pace(*message)
        self.journal.page.is_urgent = True

    def _note_end(self, source: str, download_id: str, end: End) -> None:
        self._touch(source, download_id)  # first: where nothing ended is kept in memory, it leaves at once
        super()._note_end(source, download_id, end)

    def put_right(self) -> None:
        """The same; and all that is more than queued is written down as it is, since nobody knows what of it was.

        Where a run has ended, nobody knows when: its source waits as if that were now.
        """
        super().put_right()
        for source, bucket in self.buckets.items():
            for download_id, held in bucket.items():
                if is_success(held) or not isinstance(held, tuple):
                    self._touch(source, download_id)
            if self._keeps(source) and source in self.journal.pacing:
                self.journal.pace(source, self.now, None)

    # ---- what callers write ------------------------------------------------------------------------------------------

    def _put(self, message: m.Put) -> None:
        source, download_id, _ = message
        known = download_id in self.buckets.get(source, ())
        super()._put(message)
        if known:
            self._touch(source, download_id)
        elif self._keeps(source) and download_id in self.buckets[source]:
            self.journal.add((source, download_id), None)

    def _patch(self, message: m.Patch) -> None:
        source, download_id = message.source, message.download_id
        before = self._state_of(source, download_id)
        super()._patch(message)
        if self._state_of(source, download_id) != before or not self._is_live(source, download_id):
            self._touch(source, download_id)
        else:
            self._stirred(m.Stirred(source, download_id))

    def _state_of(self, source: str, download_id: str) -> object:
        held = self.buckets.get(source, {}).get(download_id)
        return held.record.get("state") if isinstance(held, Entry) else None

    def _is_live(self, source: str, download_id: str) -> bool:
        """Whether it is likely to be written to again and again: it runs, or is its callers' own and not over."""
        held = self.buckets.get(source, {}).get(download_id)
        return isinstance(held, Entry) and held.phase in (Phase.RUNNING, None) and not held.is_terminal

    def _stirred(self, message: m.Stirred) -> None:
        if self._keeps(message.source) and message.download_id in self.buckets.get(message.source, ()):
            self.journal.touch((message.source, message.download_id), urgent=False)

    def _cancel(self, message: m.Cancel) -> bool:
        found = self.find(None, message.download_id)
        cancelled = super()._cancel(message)
        if cancelled and found is not None:
            self._touch(found[0], message.download_id)
        return cancelled

    def _forget(self, message: m.Forget) -> None:
        super()._forget(message)
        if self._keeps(message.source):
            self.journal.forget((message.source, message.download_id))

    # ---- sources, and what leaves memory -----------------------------------------------------------------------------

    def _registered(self, message: m.Registered) -> None:
        if self._keeps(message.source):
            self.journal.known(message.source)
            return
        for download_id, held in self.buckets.get(message.source, {}).items():
            self._become_history((message.source, download_id), held)  # nothing of it is written down from now on

    def _left(self, source: str, download_id: str, held: Stored) -> None:
        if self._keeps(source):
            self._become_history((source, download_id), held)

    def _drop(self, source: str, download_id: str) -> Record:
        record = super()._drop(source, download_id)
        self.journal.page.is_urgent = True  # somebody asked for it, where nobody cares when retention comes to it
        return record

    def _become_history(self, key: Key, held: Stored) -> None:
        if is_success(held) or (isinstance(held, Entry) and held.phase in TERMINAL_PHASES):
            self.journal.leave(key, held)
        else:
            self.journal.forget(key)  # its callers' own, no download; or taken out before it ended


def standing_of(held: Stored) -> m.Standing | None:
    """How far a download has come that is not over; None before its first attempt."""
    transfer = held if isinstance(held, Transfer) else held.transfer if isinstance(held, Entry) else None
    if transfer is not None:
        first_at = transfer.started_at if transfer.first_start is None else transfer.first_start
        on = transfer.started_on
        return m.Standing(transfer.attempt, on + first_at - transfer.started_at, transfer.idle_s, on)
    return held.standing if isinstance(held, Entry) and held.phase in OPEN_PHASES else None
