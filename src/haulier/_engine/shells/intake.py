"""How downloads come into a mailbox: on the callers' threads, or from disk while the engine is made."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from haulier._engine import messages as m
from haulier._engine.shells.backlog import StoreDied
from haulier._engine.ticket import ID, Ticket
from haulier.errors import HaulierError, StoreUnavailable

if TYPE_CHECKING:
    from haulier._engine.shells.mailbox import Mailbox

__all__ = ["HANDOFF_S", "Intake"]

HANDOFF_S: Final = 0.010
"""The longest that a dispatch waits for an idle source to pick its download up."""

IDLE_S: Final = 0.001
"""A source counts as idle after so many seconds without work."""


class Intake:
    """The way into a mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.handoffs: dict[str, Lock] = {}
        """By id: the lock at which a dispatch waits for its start. The slot releases it."""
        self._needs_impl = False
        """Whether a download that was restored from disk needs the impl that its source will be registered with."""

    def put(self, ticket: Ticket) -> None:
        """Queue a download. Raises ``SourceDown``, ``QueueFull`` or ``EngineClosed``, and then nothing is stored."""
        mailbox = self._mailbox
        source, began = mailbox.source, 0.0 if mailbox.trace is None else monotonic()
        try:
            if source.refusal is not None:
                raise source.refusal.error(source.name)
            if source.policy.max_queued is None:
                source.queue.put(ticket)
            else:
                self._put_bounded(ticket)
            if source.refusal is not None:
                self._withdraw_late(ticket)
            if mailbox.trace is not None:
                mailbox.trace.note("queued", source=source.name, id=ticket[ID], began=began)
            if mailbox.bell.armed or source.slots.live < source.slots.limit:
                mailbox.call_on_slots()
        except HaulierError:
            raise
        except BaseException:
            self._take_back((ticket,))
            raise

    def put_many(self, tickets: Collection[Ticket]) -> None:
        """Queue many downloads: all of them or none. Raises what ``put`` does."""
        began = 0.0 if self._mailbox.trace is None else monotonic()
        try:
            with self._mailbox.lock:  # so that nothing starts, and nobody closes, before all are there
                self._check_room(len(tickets))
                for ticket in tickets:
                    self._mailbox.source.queue.put(ticket)
                self._mailbox.source.trim(tickets, time())
            self._queued(tickets, began)
        except HaulierError:
            raise
        except BaseException:
            self._take_back(tickets)
            raise

    def put_kept(self, tickets: Collection[Ticket], texts: Collection[str]) -> None:
        """Queue durable downloads once they are on disk: all of them or none.

        Raises what ``put`` does, and ``StoreUnavailable`` if they cannot be written.
        """
        source, began = self._mailbox.source, 0.0 if self._mailbox.trace is None else monotonic()
        assert self._mailbox.ask_store is not None
        try:
            with self._mailbox.lock:
                self._check_room(len(tickets))
                source.queue.announce(tickets)
            try:
                self._mailbox.ask_store(m.Add(source.name, tickets, texts))
            except StoreUnavailable as error:  # the store has refused them
                with self._mailbox.lock:
                    renounced = source.queue.renounce(tickets)
                    if isinstance(error, StoreDied):  # it may have stored them
                        for download_id in renounced:
                            self._mailbox.tell_store(m.Forget(source.name, download_id))
                    if source.refusal is not None and source.refusal.kind == "closed":
                        raise source.refusal.error(source.name) from error
                raise
            with self._mailbox.lock:
                refusal = source.refusal
                if refusal is None or refusal.kind == "closed":  # then they are kept for the next start
                    source.queue.enqueue(tickets)
                    source.trim(tickets, time())
                    refusal = None
                else:
                    source.queue.renounce(tickets)
            if refusal is not None:
                for ticket in tickets:
                    self._mailbox.tell_store(m.Forget(source.name, ticket[ID]))
                self._mailbox.ask_store(m.Sync())
                raise refusal.error(source.name)
            self.release()
            self._queued(tickets, began)
        except HaulierError:
            raise
        except BaseException:
            self._take_back(tickets)
            raise

    def _check_room(self, count: int) -> None:
        """Raise the reason why ``count`` more downloads cannot be queued, if any. Call it with the lock held."""
        error = self._mailbox.source.refuses(count)
        if error is not None:
            raise error

    def _queued(self, tickets: Collection[Ticket], began: float) -> None:
        """Trace that downloads were queued, and wake a slot."""
        if self._mailbox.trace is not None:
            for ticket in tickets:
                self._mailbox.trace.note("queued", source=self._mailbox.source.name, id=ticket[ID], began=began)
        self._mailbox.call_on_slots()

    def _take_back(self, tickets: Collection[Ticket]) -> None:
        """Undo a dispatch that an exception interrupted (from a signal handler, say): its caller gets no ids."""
        with self._mailbox.lock:
            for download_id in self._mailbox.source.queue.renounce(tickets):
                self._mailbox.tell_store(m.Forget(self._mailbox.source.name, download_id))
                if self._mailbox.trace is not None:
                    self._mailbox.trace.note("refused", source=self._mailbox.source.name, id=download_id)
        self._mailbox.repair_later()

    def _put_bounded(self, ticket: Ticket) -> None:
        with self._mailbox.lock:
            self._check_room(1)
            self._mailbox.source.queue.put(ticket)
            self._mailbox.source.trim((ticket,), time())

    def _withdraw_late(self, ticket: Ticket) -> None:
        """Refuse a download whose source was closed while it was being queued, unless a slot has taken it."""
        with self._mailbox.lock:
            refusal = self._mailbox.source.refusal
            if refusal is not None and self._mailbox.source.queue.take_back(ticket[ID]):
                raise refusal.error(self._mailbox.source.name)

    def put_and_wait(self, ticket: Ticket) -> None:
        """Queue a download, and return when a slot is about to call its impl, after ``HANDOFF_S`` at the latest."""
        started = self.handoffs[ticket[ID]] = Lock()
        started.acquire()
        try:
            self.put(ticket)
            started.acquire(timeout=HANDOFF_S)
        finally:
            self.handoffs.pop(ticket[ID], None)

    @property
    def is_idle(self) -> bool:
        """Whether a download would start at once, and no other has ended within ``IDLE_S``."""
        source = self._mailbox.source
        if source.queue.pending or source.attempts.in_flight or source.slots.resting or source.turns is not None:
            return False
        now = monotonic()
        return now - self._mailbox.last_end > IDLE_S and source.gate.closed_by(now) is None

    def hold(self, needs_impl: bool) -> None:
        """Start nothing before ``release``: a download was restored from disk. Called while the engine is made."""
        self._needs_impl = self._needs_impl or needs_impl
        if not self._mailbox.source.gate.holds:
            self._mailbox.change(lambda source: source.gate.hold("unregistered", True))

    def found(self, download_id: str, attempts: int) -> None:
        """Trace that a download was restored from disk, after so many attempts. Called while the engine is made."""
        if self._mailbox.trace is not None:
            self._mailbox.trace.note("found", source=self._mailbox.source.name, id=download_id, attempts=attempts)

    def release(self) -> None:
        """Start restored downloads, since the source was registered, unless they need an impl that it lacks."""
        if "unregistered" in self._mailbox.source.gate.holds and (
            self._mailbox.impl is not None or not self._needs_impl
        ):
            self._mailbox.change(lambda source: source.gate.hold("unregistered", False))

    def hold_back(self, unwell: bool) -> None:
        """Start no durable downloads while the store cannot write (``unwell``); start them again when it can."""
        unwell = unwell and self._mailbox.is_durable
        if unwell != ("store" in self._mailbox.source.gate.holds):
            self._mailbox.change(lambda source: source.gate.hold("store", unwell))
