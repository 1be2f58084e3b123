"""Restore records, queues and the remaining delay of each source from disk, while the engine is made."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from math import inf
from time import monotonic, time
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry
from haulier._engine.core.journal import Attempted, Journal, Pacing
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.queue import Tried
from haulier._engine.shells.calling import LateImpl
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.rows import stored_in
from haulier._engine.shells.tickets import NamedImpl, ticket_of
from haulier._engine.storage.codec import decode
from haulier._engine.storage.protocol import Row, Storage
from haulier._engine.ticket import ID, IMPL, SOURCE, Impl, Ticket
from haulier.records import TERMINAL_PHASES, Phase

__all__ = ["Recovery"]

logger = logging.getLogger("haulier.store")

INTERRUPTED: Final = "interrupted: the program ended while it ran"


class _Registered(LateImpl):
    """Stands for the impl that the source will be registered with."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def find(self) -> Impl:
        """Return the source's impl. Raises ``LookupError`` if it was registered without one."""
        if self._mailbox.impl is None:
            raise LookupError(f"source {self._mailbox.source.name!r} is not registered with an impl")
        return self._mailbox.impl


class Recovery:
    """Fills a ledger and the mailboxes of its sources before any thread uses them."""

    def __init__(
        self, storage: Storage, ledger: Ledger, journal: Journal, mailbox_of: Callable[[str], Mailbox]
    ) -> None:
        self._ledger, self._journal, self._mailbox_of = ledger, journal, mailbox_of
        self._set_back: dict[str, float] = {}
        """By source: how far the wall clock was set back, in seconds. Known if a stored end is later than now."""
        self._loaded = storage.load()
        self._resumes = {gate.source for gate in self._loaded.gates if gate.resume_interrupted}
        self._impls: dict[tuple[str, str | None], LateImpl] = {}
        """Shared by all tickets that name the same impl."""
        self._interrupted: Counter[str] = Counter()
        self._lost: list[m.Moved] = []
        self._now, self._on = monotonic(), time()
        ledger.table.now = self._on
        journal.next_seq = self._loaded.next_seq
        for source, last_end_on, suspended_until_on, _ in self._loaded.gates:
            if last_end_on is not None and self._on < last_end_on < inf:
                self._set_back[source] = last_end_on - self._on
                journal.batch.paced.add(source)
            if suspended_until_on is not None:
                suspended_until_on -= self._set_back.get(source, 0.0)
            journal.pacing[source] = Pacing(_earlier(last_end_on, self._on), suspended_until_on)

    def run(self) -> None:
        """Queue again what waited. Fail what ran, or queue it again if its source resumes interrupted downloads.

        Raises ``StoreUnavailable`` if a row is damaged.
        """
        for row in self._loaded.rows:
            self._restore(row)
        self._ledger.table.restored()
        for moved in self._lost:  # only now: retention must know all earlier ends first
            self._ledger.apply(moved)
        self._ledger.table.expire()  # this engine may keep fewer than the one before
        for source, count in self._interrupted.items():
            logger.warning("%s: %d downloads were interrupted when the last process ended", source, count)
            self._mailbox_of(source).source.gate.resume_at(
                self._now
            )  # when the runs ended is unknown: count the delay from now
            self._journal.pace(source, self._on, None)

    def pace(self, mailbox: Mailbox) -> None:
        """Let a source wait out the rest of its delay and suspension, by wall clock.

        Monotonic seconds cannot be stored: they start anew with the machine.
        """
        pacing = self._journal.pacing.get(mailbox.source.name)
        if pacing is None:
            return
        now, on = monotonic(), time()
        last_end = -inf if pacing.last_end_on is None else now - max(0.0, on - pacing.last_end_on)
        until = -inf if pacing.suspended_until_on is None else now + pacing.suspended_until_on - on
        mailbox.source.gate.resume_at(last_end, until if until > now else -inf)

    def _restore(self, row: Row) -> None:
        ticket = None
        if row.ticket is not None and row.phase is not None and row.phase not in TERMINAL_PHASES:
            ticket = ticket_of(row.id, row.source, row.ticket, lambda name: self._impl(row.source, name))
        stored = stored_in(row, ticket)
        self._ledger.table.restore(row.source, row.id, stored, row.ended_on)
        if ticket is None:
            return
        standing = None if row.tried is None else m.Standing(*decode(row.tried))
        if standing is not None and row.source in self._set_back:
            set_back = self._set_back[row.source]
            standing = standing._replace(first_on=standing.first_on - set_back, on=standing.on - set_back)
            self._journal.touch(row.source, row.id, urgent=False)
        if row.phase == Phase.RUNNING:
            standing = self._interrupt(row, standing or m.Standing(1, self._on, 0.0, self._on))
        if standing is not None and isinstance(stored, Entry):
            stored.standing = standing
        if row.source in self._resumes or row.phase != Phase.RUNNING:
            self._queue(ticket, standing, backs_off=row.phase == Phase.BACKING_OFF)

    def _interrupt(self, row: Row, standing: m.Standing) -> m.Standing:
        """End the attempt that ran when the last process ended. Its download fails, or is queued again."""
        self._interrupted[row.source] += 1
        what = (INTERRUPTED, "Interrupted")
        about = (standing.attempts, standing.on, self._on, "interrupted", *what)
        self._journal.note(Attempted(row.source, row.id, *about))
        if row.source in self._resumes:
            self._ledger.apply(m.Moved("put_back", row.source, row.id, None, None, self._on))
        else:
            patch = dict(zip(("error", "error_type"), what, strict=True))
            self._lost.append(m.Moved("fail", row.source, row.id, None, patch, self._on))
        return standing._replace(on=self._on)

    def _queue(self, ticket: Ticket, standing: m.Standing | None, backs_off: bool) -> None:
        """Queue a download again, or let it back off for as long as it still had to."""
        mailbox = self._mailbox_of(ticket[SOURCE])
        source, attempts = mailbox.source, 0
        mailbox.intake.hold(needs_impl=isinstance(ticket[IMPL], _Registered))
        backs_off = backs_off and standing is not None and standing.on > self._on
        if standing is not None:
            attempts = standing.attempts
            first_start = self._now - max(0.0, self._on - standing.first_on)
            due_at = self._now + max(0.0, standing.on - self._on)
            source.queue.keep(ticket, Tried(attempts, first_start, standing.idle_s, {}, due_at, backs_off))
        mailbox.intake.found(ticket[ID], attempts)
        if backs_off:
            mailbox.tell_supervisor(m.Retry(mailbox, ticket[ID], due_at))
        else:
            source.queue.announce((ticket,))
            source.queue.enqueue((ticket,))

    def _impl(self, source: str, name: str | None) -> Any:
        key = (source, None) if name is None else ("", name)
        impl = self._impls.get(key)
        if impl is None:
            impl = _Registered(self._mailbox_of(source)) if name is None else NamedImpl(name)
            self._impls[key] = impl
        return impl


def _earlier(moment: float | None, now: float) -> float | None:
    """Replace a time after ``now`` by ``now``: the clock was set back, or the run ended with the process (``inf``)."""
    return None if moment is None else min(moment, now)
