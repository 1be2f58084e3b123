"""The actors of one engine: started in order, stopped in reverse."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from time import time
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core.journal import Journal
from haulier._engine.core.ledger import Ledger
from haulier._engine.shells.closing import end, left
from haulier._engine.shells.durable import DurableStore
from haulier._engine.shells.idle import IdleSlots
from haulier._engine.shells.mailbox import Mailbox
from haulier._engine.shells.recovery import Recovery
from haulier._engine.shells.store import Store, StoreActor
from haulier._engine.shells.supervisor import SupervisorActor, SupervisorInbox
from haulier._engine.shells.turns import SharedTurns
from haulier._engine.storage.codec import check_name
from haulier._engine.storage.protocol import Storage
from haulier._threads.lock import SafeLock
from haulier._threads.subscription import Subscription
from haulier.errors import EngineClosed, StoreUnavailable, UnknownSource
from haulier.events import Changed, Event, Removed
from haulier.policies import Retention, SourcePolicy
from haulier.records import TERMINAL_PHASES
from haulier.trace import Trace

__all__ = ["System"]

JOIN_S: Final = 2.0
"""The longest that ``close`` waits for haulier's own threads once their work is done."""


class System:
    """The store, the supervisor, and a mailbox for each source. Nothing here refers to the engine that owns it."""

    def __init__(
        self,
        retention: Retention,
        policy: SourcePolicy,
        patience_s: float,
        trace: Trace | None = None,
        storage: Storage | None = None,
    ) -> None:
        """``policy``: of sources that are not registered. They share it: there may be one for each of 100,000 hosts."""
        self._policy = policy
        self.is_durable = storage is not None
        self.ledger: Ledger
        self.store: Store
        self._recovery: Recovery | None = None
        if storage is None:
            self.ledger = Ledger(retention)
            self.store = Store(self.ledger)
        else:
            journal = Journal(self.is_durable_source)
            self.ledger = ledger = Ledger(retention, journal)
            self.store = store = DurableStore(ledger, journal, storage, retention, self._resumes)
            store.health_changed = self._store_health_changed
            self._recovery = Recovery(storage, ledger, journal, self.mailbox)
        self.supervisor = SupervisorInbox()
        self.mailboxes: dict[str, Mailbox] = {}
        self.aliases: dict[str, str] = {}
        self.is_open = True
        """Whether new downloads are accepted."""
        self.closing = False
        self._closing = SafeLock()
        self._patience_s = patience_s
        self._idle = IdleSlots()
        self.turns: SharedTurns | None = None
        """The limit of the whole engine; None until ``limit_running`` sets one."""
        self.subscriptions: tuple[Subscription, ...] = ()
        self._lock = SafeLock()
        self._closed = False
        self.trace = trace
        self.store.publish = self._publish
        self.store.ended = self._store_ended
        self.store.damaged = self._store_damaged
        try:
            if trace is not None:
                self.store.tell(m.Listen(active=True))
                self.store.drain()
            if self._recovery is not None:
                self._recovery.run()
            StoreActor(self.store).begin()
            SupervisorActor(self.supervisor, self).begin()
        except BaseException:  # 'can't start new thread': the caller gets no engine to close
            self.store.stop()
            if trace is not None:
                trace.close()
            raise

    # ---- sources -----------------------------------------------------------------------------------------------------

    def name_of(self, source_name: object) -> str:
        """Return the name for a name or an alias. Raises ``TypeError`` or ``ValueError`` for an invalid name."""
        if not isinstance(source_name, str):
            raise TypeError(f"source_name must be a str, not {source_name!r}")
        if not source_name:
            raise ValueError("source_name must not be empty")
        return self.aliases.get(source_name, source_name)

    def mailbox(self, source_name: object) -> Mailbox:
        """Return the mailbox of a source. The first call for a source makes it."""
        name = self.name_of(source_name)
        mailbox = self.mailboxes.get(name)
        if mailbox is not None:
            return mailbox
        if self.is_durable:
            check_name("source_name", name)
        with self._lock:
            self.check_open()
            if name not in self.mailboxes:
                tell = (self.store.tell, self.supervisor.tell)
                ask = self.store.ask if self.is_durable else None
                mailbox = Mailbox(name, self._policy, *tell, self._patience_s, self.trace, ask)
                mailbox.give_way = self.store.give_way
                mailbox.idle = self._idle
                mailbox.source.turns = self.turns
                if self._recovery is not None:
                    self._recovery.pace(mailbox)
                self.mailboxes[name] = mailbox
            return self.mailboxes[name]

    def known(self, source_name: object) -> Mailbox:
        """Return the mailbox of a source that exists. Raises ``UnknownSource`` if it was never registered or used."""
        name = self.name_of(source_name)
        mailbox = self.mailboxes.get(name)
        if mailbox is None:
            self.check_open()
            from difflib import get_close_matches  # here: its import costs every program 5 ms

            close = get_close_matches(name, [*self.mailboxes, *self.aliases], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ": register it first"
            raise UnknownSource(f"there is no source {name!r}{hint}")
        return mailbox

    def limit_running(self, limit: int | None) -> None:
        """Let at most ``limit`` downloads of all sources run at once, from now on. None: no limit."""
        with self._lock:
            if self.turns is None:
                if limit is None:
                    return
                self.turns = SharedTurns()
                for mailbox in self.sources():
                    with mailbox.lock:
                        mailbox.source.turns = self.turns
                        self.turns.recount(mailbox, len(mailbox.source.attempts.in_flight))
        self.turns.set_limit(limit)

    def alias(self, name: str, aliases: tuple[str, ...]) -> None:
        """Let each of ``aliases`` name the source ``name``. Raises ``ValueError`` if one is taken."""
        with self._lock:
            self.check_open()
            for alias in aliases:
                self.name_of(alias)
                if alias == name or self.aliases.get(alias, name) != name or alias in self.mailboxes:
                    raise ValueError(f"alias {alias!r} is already the name or an alias of another source")
            self.aliases.update(dict.fromkeys(aliases, name))

    def check_open(self) -> None:
        """Raise ``EngineClosed`` or ``StoreUnavailable`` if the engine accepts no downloads."""
        if not self.is_open:
            if self.closing:
                raise EngineClosed("the engine is closed: it takes no more downloads")
            raise StoreUnavailable("the record store has died")

    def refuse(self) -> bool:
        """Accept no more downloads, because the engine closes. Returns False if it did so before."""
        with self._lock:
            first, self.closing, self.is_open = not self.closing, True, False
        return first

    def _store_ended(self) -> None:
        self.is_open = False

    def _store_damaged(self) -> None:
        self.supervisor.tell(m.Audit(0.0, thorough=True))

    def _store_health_changed(self) -> None:
        self.supervisor.tell(m.StoreHealthChanged())

    def is_durable_source(self, source: str) -> bool:
        """Whether the records of ``source`` are written to disk."""
        mailbox = self.mailboxes.get(source)
        return self.is_durable if mailbox is None else mailbox.is_durable

    def _resumes(self, source: str) -> bool:
        mailbox = self.mailboxes.get(source)
        return mailbox is not None and mailbox.source.policy.resume_interrupted

    # ---- for the supervisor ------------------------------------------------------------------------------------------

    @property
    def is_unwell(self) -> bool:
        """Whether the store cannot write at present."""
        return self.store.failure is not None

    def sources(self) -> Iterable[Mailbox]:
        """The mailboxes of all sources."""
        return list(self.mailboxes.values())

    def ask_store(self, message: Any) -> Any:
        """Ask the store, and return its reply."""
        return self.store.ask(message)

    # ---- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, subscription: Subscription) -> None:
        """Start sending events to ``subscription``."""
        with self._lock:
            self.subscriptions += (subscription,)
        self.store.ask(m.Listen(active=True))

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop sending events to ``subscription`` once those sent so far are delivered."""
        self.store.ask(m.Sync())
        with self._lock:
            self.subscriptions = tuple(s for s in self.subscriptions if s is not subscription)
            if not self.subscriptions and self.trace is None:
                # Told, not asked: waiting for the store with this lock held could deadlock with a finalizer there.
                self.store.tell(m.Listen(active=False))

    def _publish(self, event: Event) -> None:
        if self.trace is not None:
            _traced(self.trace, event)
        for subscription in self.subscriptions:
            subscription.offer(event)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self, deadline: float | None, join_s: float = JOIN_S) -> None:
        """Stop everything; see ``DownloadEngine.close``. One caller does it at a time, and the next takes over.

        ``join_s``: how long to wait for haulier's own threads.
        """
        self.refuse()
        mine = threading.current_thread()
        if self.is_ours(mine):
            if not self._closing.acquire(blocking=False):
                return  # another thread closes the engine, and may wait for this one
        elif not self._closing.acquire(timeout=-1 if deadline is None else left(deadline)):
            return
        try:
            if not self._closed:
                end(self, deadline, mine, join_s)
                self._closed = True
        finally:
            self._closing.release()

    def is_ours(self, thread: threading.Thread) -> bool:
        """Whether ``thread`` is one of the engine's own, which must not wait for itself."""
        if any(subscription.thread is thread for subscription in self.subscriptions):
            return True
        return any(slot.thread is thread for mailbox in self.sources() for slot in mailbox.slots.copy())

    @property
    def interrupts_itself(self) -> bool:
        """Whether the calling thread is in the middle of another step of this engine.

        Then the caller is a signal handler or a finalizer, and must not wait for the locks of that step.
        """
        locks = [self._lock, *(mailbox.lock for mailbox in self.sources())]
        if self.trace is not None:
            locks.append(self.trace.lock)
        return self.store.is_applying or any(lock._is_owned() for lock in locks)  # type: ignore[attr-defined]

    def abandoned(self) -> bool:
        """End an engine that the program dropped, if it has nothing left to do. Returns whether it was ended.

        Runs on the supervisor's thread.
        """
        sources = [mailbox.source for mailbox in list(self.mailboxes.values())]
        # Without an engine, no source can be resumed or registered any more.
        if any(source.attempts.in_flight or (source.queue.pending and not source.gate.is_closed) for source in sources):
            return False
        self.refuse()
        for mailbox in list(self.mailboxes.values()):
            with mailbox.lock:
                mailbox.source.close(time())
            mailbox.changed()
        for subscription in self.subscriptions:
            subscription.close(0.0)
        self.supervisor.stop()
        self.store.stop()
        self._closed = True
        if self.trace is not None:
            if self.store.thread is not None:
                self.store.thread.join(JOIN_S)  # its last events belong in the trace
            self.trace.close(self.store.is_whole)
        return True


def _traced(trace: Trace, event: Event) -> None:
    if isinstance(event, Changed) and event.phase in TERMINAL_PHASES:
        trace.note("over", source=event.source, id=event.download_id, phase=event.phase)
    elif isinstance(event, Removed):
        trace.note("removed", source=event.source, id=event.download_id)
