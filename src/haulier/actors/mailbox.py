"""The mailbox of a source: it outlives the actors that take from it, so a crash loses nothing that is queued.

As many source actors as the source has slots take from one mailbox (Akka's balancing pool). One of those that wait is
the leader: it alone watches the gate and the queue, the others wait for its place. So a ring wakes one, not all.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from functools import partial
from math import inf
from random import uniform
from threading import Lock, RLock
from time import monotonic, sleep, time
from typing import Any, Final, NoReturn

from haulier import messages as m
from haulier.actors.bell import Bell
from haulier.core.outcome import Outcome
from haulier.core.source import Source
from haulier.errors import HaulierError, QueueFull, StoreUnavailable, forked
from haulier.events import Discarded
from haulier.log import Log
from haulier.policies import SourcePolicy
from haulier.trace import Trace
from haulier.transfer import Transfer

__all__ = ["HANDOFF_S", "Mailbox"]

logger = Log("haulier.source")

HANDOFF_S: Final = 0.010
"""The longest that a dispatch waits for an idle source to pick its download up."""

IDLE_S: Final = 0.001
"""A source that has had nothing to do for so long counts as idle."""


class _NoLock:
    """The lock of a forked child: the thread that held the real one is not here."""

    def acquire(self, *_: object, **__: object) -> NoReturn:
        """Raise ``ForkedEngine``."""
        raise forked()

    release = _is_owned = __enter__ = acquire

    def __exit__(self, *_: object) -> None: ...


class Mailbox:
    """The shell around ``core.Source``: its lock, its bell, its waiting slots."""

    def __init__(
        self,
        name: str,
        policy: SourcePolicy,
        tell_store: Callable[[Any], None],
        tell_supervisor: Callable[[Any], None],
        patience_s: float,
        trace: Trace | None = None,
        ask_store: Callable[[Any], Any] | None = None,
    ) -> None:
        """``ask_store``: the store outlives the process."""
        self.source = Source(name, policy, uniform, tell_store, tell_supervisor)
        self.source.owner = self
        self.trace = trace
        if trace is not None:
            self.source.note = trace.note
        self.lock = RLock()
        """Reentrant for signal handlers and finalizers, which may call in the middle of a step of their own thread."""
        self.is_plain = False
        """Whether its records say nothing from the start but what every record says."""
        self.impl: m.Impl | None = None
        """What ``register_source`` gave."""
        self.common: m.Impl | None = None
        """The first impl that was dispatched here. A ticket leaves it out: with a function in it, it would be one more
        object for the cycle collector to visit."""
        self._tell_store = tell_store
        self._ask_store = ask_store
        self._needs_impl = False
        """Whether something found on disk is to be run by the impl that the source will be registered with."""
        self.give_way: Callable[[], None] = partial(sleep, 0)
        """What a slot does after some time without a break."""
        self.handoffs: dict[str, Lock] = {}
        """Dispatches that wait for their start, each at a lock that the slot releases."""
        self.hiring = False
        """The supervisor was told, and has not looked yet."""
        self.slots: set[Any] = set()
        """The source actors that live, or have died and are not buried yet."""
        self.tell_supervisor = tell_supervisor
        self._patience_s = patience_s
        self._leader = RLock()
        self._bell = Bell()
        self._last_end = -inf
        self.apply(policy)

    # ---- on the callers' threads -------------------------------------------------------------------------------------

    def put(self, ticket: m.Ticket) -> None:
        """Queue a download. Raises ``SourceDown``, ``QueueFull`` or ``EngineClosed``, and then nothing is stored."""
        try:
            self._put(ticket)
        except HaulierError:
            raise
        except BaseException:
            self._take_back((ticket,))
            raise

    def _put(self, ticket: m.Ticket) -> None:
        source, began = self.source, 0.0 if self.trace is None else monotonic()
        if source.refusal is not None:
            raise source.refusal.error(source.name)
        if source.policy.max_queued is None:
            source.put(ticket)
        else:
            self._put_bounded(ticket, source.policy.max_queued)
        if source.refusal is not None:
            self._withdraw_late(ticket)
        if self.trace is not None:
            self.trace.note("queued", source=source.name, id=ticket[0], began=began)
        if self._bell.armed or source.live < source.limit:
            self.call_on_slots()

    def put_many(self, tickets: Collection[m.Ticket]) -> None:
        """``put`` for many: all of them or none."""
        began = 0.0 if self.trace is None else monotonic()
        try:
            with self.lock:  # so that nothing starts, and nobody closes, before all are there
                self._check_room(len(tickets))
                for ticket in tickets:
                    self.source.put(ticket)
            self._queued(tickets, began)
        except HaulierError:
            raise
        except BaseException:
            self._take_back(tickets)
            raise

    def put_kept(self, tickets: Collection[m.Ticket], texts: Collection[str]) -> None:
        """Queue downloads that are to survive the process, once they are on disk: all of them or none.

        Raises what ``put`` does, and ``StoreUnavailable``.
        """
        source, began = self.source, 0.0 if self.trace is None else monotonic()
        assert self._ask_store is not None
        try:
            with self.lock:
                self._check_room(len(tickets))
                source.announce(tickets)
            try:
                self._ask_store(m.Add(source.name, tickets, texts))
            except StoreUnavailable as error:  # they have been refused: the store has none of them
                with self.lock:
                    source.renounce(tickets)
                    if source.refusal is not None and source.refusal.kind == "closed":
                        raise source.refusal.error(source.name) from error
                raise
            with self.lock:
                refusal = source.refusal
                if refusal is None or refusal.kind == "closed":  # then they are kept for the next start
                    source.enqueue(tickets)
                    refusal = None
                else:
                    source.renounce(tickets)
            if refusal is not None:
                for ticket in tickets:
                    self._tell_store(m.Forget(source.name, ticket[0]))
                self._ask_store(m.Sync())
                raise refusal.error(source.name)
            self.release()
            self._queued(tickets, began)
        except HaulierError:
            raise
        except BaseException:
            self._take_back(tickets)
            raise

    def _check_room(self, count: int) -> None:
        """Raise what keeps ``count`` more downloads from being queued. Under the lock."""
        source = self.source
        if source.refusal is not None:
            raise source.refusal.error(source.name)
        most = source.policy.max_queued
        if most is not None and len(source.pending) + count > most:
            raise QueueFull(f"{len(source.pending)} downloads wait at source {source.name!r}, and {most} may")

    def _queued(self, tickets: Collection[m.Ticket], began: float) -> None:
        """They are in the queue."""
        if self.trace is not None:
            for ticket in tickets:
                self.trace.note("queued", source=self.source.name, id=ticket[0], began=began)
        self.call_on_slots()

    def _take_back(self, tickets: Collection[m.Ticket]) -> None:
        """A signal handler raised, or memory ran out: whoever called has no ids."""
        with self.lock:
            for download_id in self.source.renounce(tickets):
                self._tell_store(m.Forget(self.source.name, download_id))
                if self.trace is not None:
                    self.trace.note("refused", source=self.source.name, id=download_id)
        self._interrupted()

    def _put_bounded(self, ticket: m.Ticket, most: int) -> None:
        with self.lock:
            if len(self.source.pending) >= most:
                raise QueueFull(f"{most} downloads wait at source {self.source.name!r} already")
            self.source.put(ticket)

    def _withdraw_late(self, ticket: m.Ticket) -> None:
        """The source was closed while the download was being queued: refuse it, unless it was seen to already."""
        with self.lock:
            refusal = self.source.refusal
            if refusal is not None and self.source.take_back(ticket[0]):
                raise refusal.error(self.source.name)

    def put_and_wait(self, ticket: m.Ticket) -> None:
        """The same, and come back once a slot is about to call the impl, in ``HANDOFF_S`` at the latest."""
        started = self.handoffs[ticket[0]] = Lock()
        started.acquire()
        try:
            self.put(ticket)
            started.acquire(timeout=HANDOFF_S)
        finally:
            self.handoffs.pop(ticket[0], None)

    @property
    def is_idle(self) -> bool:
        """Whether a download that came now would start at once, and none has ended just before."""
        source = self.source
        if source.pending or source.in_flight or source.resting:
            return False
        now = monotonic()
        return now - self._last_end > IDLE_S and source.gate.closed_by(now) is None

    def staff(self) -> None:
        """Have slots hired up to the limit, as far as there is work."""
        if not self.hiring:
            self.hiring = True
            self.tell_supervisor(m.Hire(self))

    def has(self, download_id: str) -> bool:
        """Whether a download waits or runs here; without the lock, so that one that is just being taken is not seen."""
        source = self.source
        return download_id in source.pending or download_id in source.in_flight

    def cancel(self, download_id: str) -> bool:
        """Cancel a download; False where it is not here, or over."""
        try:
            with self.lock:
                return self.source.cancel(download_id, time())
        except BaseException:
            self._interrupted()
            raise

    def apply(self, policy: SourcePolicy) -> None:
        """Take over another policy, at once. Raises ``ValueError`` where ``durable`` differs and something waits."""
        with self.lock:
            source = self.source
            if policy.durable != source.policy.durable and (source.pending or source.in_flight):
                raise ValueError(f"durable cannot change while downloads of {source.name!r} are on their way")
            self.is_kept = source.keeps = self._ask_store is not None and policy.durable
            self.change(lambda source: source.apply(policy))
        self.is_plain = not (policy.username or policy.thread_name or policy.record_fields)

    def change(self, how: Callable[[Source], object]) -> None:
        """Change the rules of the source in one step, and have everybody who waits look again."""
        try:
            with self.lock:
                how(self.source)
                if self.trace is not None:
                    source = self.source
                    self.trace.note("rules", source=source.name, limit=source.limit, **source.gate.rules())
            self.changed()
        except BaseException:
            self._interrupted()
            raise

    def changed(self) -> None:
        """The limit, the gate or the refusal changed: have everybody who waits look again."""
        self._bell.ring()
        if self.source.lacks_slots:
            self.staff()

    def _interrupted(self) -> None:
        """A step was broken off in its middle: have the supervisor make good what it left undone."""
        self.tell_supervisor(m.Audit(0.0, thorough=True))

    def hold(self, needs_impl: bool) -> None:
        """A download was found on disk: nothing starts here before ``release``; while the engine is being made."""
        self._needs_impl = self._needs_impl or needs_impl
        if not self.source.gate.holds:
            self.change(lambda source: source.gate.hold("unregistered", True))

    def found(self, download_id: str, attempts: int) -> None:
        """A download that was found on disk waits here, after so many attempts; while the engine is being made."""
        if self.trace is not None:
            self.trace.note("found", source=self.source.name, id=download_id, attempts=attempts)

    def release(self) -> None:
        """Somebody has made the source known: go on with what was found on disk, if there is an impl for it."""
        if "unregistered" in self.source.gate.holds and (self.impl is not None or not self._needs_impl):
            self.change(lambda source: source.gate.hold("unregistered", False))

    def hold_back(self, unwell: bool) -> None:
        """Start nothing that is to survive the process while what comes of it cannot be written down; or go on."""
        unwell = unwell and self.is_kept
        if unwell != ("store" in self.source.gate.holds):
            self.change(lambda source: source.gate.hold("store", unwell))

    # ---- on the supervisor's thread ----------------------------------------------------------------------------------

    def lost_slots(self) -> list[Any]:
        """The source actors whose thread has died, and nobody was told. Those that had left before are forgotten."""
        dead = [slot for slot in self.slots.copy() if not slot.thread.is_alive()]
        self.slots.difference_update(slot for slot in dead if slot.left)
        return [slot for slot in dead if not (slot.is_reported or slot.left)]

    def bury(self, ended: m.Ended) -> bool:
        """A slot died: what it had in hand fails, and its place is free. False where that was seen to before."""
        with self.lock:
            if ended.slot not in self.slots:
                return False
            if not ended.slot.is_reported and ended.transfer is not None:
                self.source.fell(ended.transfer, monotonic())
            cause = ended.cause or RuntimeError("it ended")
            self.source.crashed(ended.transfer, cause, monotonic(), time(), ended.at)
            self.slots.discard(ended.slot)
            self.hiring = False  # it may have died as it was about to have somebody hired
        return True

    # ---- on the slots' threads ---------------------------------------------------------------------------------------

    # What a slot has in hand, and whether it has left, it learns in the very step in which the source does: wherever it
    # dies then, its source and its supervisor know what died with it.

    def report(self, transfer: Transfer, outcome: Outcome, slot: Any) -> Transfer | None:
        """An impl returned to ``slot``. The next download, if one may start at once; None also where it has left."""
        source = self.source
        alive = True
        self.lock.acquire()  # half as dear as 'with'
        try:
            self._last_end = now = monotonic()
            on = time()
            taken: Transfer | float | None = source.turn(transfer, outcome, now, on)
            if taken is None:
                alive = source.settle(transfer, outcome, now, on)
                if alive and not transfer.fenced:
                    taken = source.take(now, on)
                slot.left = not alive
            following = slot.in_hand = taken if type(taken) is Transfer else None
        finally:
            self.lock.release()
        if transfer.fenced and isinstance(outcome, m.Landed):
            self._discard(transfer, outcome.path)
        if following is None:
            self._bell.ring()  # the leader may have waited for this slot to be free
        elif source.queue and (self._bell.armed or source.live < source.limit):
            self.call_on_slots()
        return following

    def next_download(self, slot: Any) -> Transfer | None:
        """Wait for a download that may start. None: ``slot`` has left, and is to end."""
        while not self._leader.acquire(timeout=self._patience_s):
            with self.lock:
                slot.left = self.source.leave(inf, monotonic(), self._patience_s)
                if slot.left:
                    return None
        try:
            taken = self._lead(slot)
        finally:
            self._leader.release()
        if taken is not None and self.source.queue:
            self.call_on_slots()
        return taken

    def call_on_slots(self) -> None:
        """There is work: see that the leader looks at it, or that somebody is hired."""
        if self._bell.armed:
            self._bell.ring()
        elif self.source.lacks_slots:
            self.staff()

    def _lead(self, slot: Any) -> Transfer | None:
        """Watch the gate and the queue until a download may start."""
        until = monotonic() + self._patience_s
        told = inf
        while True:
            self._bell.armed = True  # before looking: what is put after this look rings
            with self.lock:
                now = monotonic()
                taken = self.source.take(now, time())
                if isinstance(taken, Transfer):
                    slot.in_hand = taken
                    self._bell.armed = False
                    return taken
                if now >= until or self.source.is_overstaffed:
                    # Disarmed before it is counted off: whoever puts from now on has somebody hired, or is seen.
                    self._bell.armed = False
                    slot.left = self.source.leave(taken, now, self._patience_s)
                    if slot.left:
                        return None
                    until = now + self._patience_s
                    continue
            if taken not in (told, inf) and logger.isEnabledFor(logging.INFO):
                told = taken
                why = self.source.gate.closed_by(now)
                logger.info("%s waits %.3f s for the end of its %s", self.source.name, taken - now, why)
            self._bell.wait(min(taken, until) - now)

    def _discard(self, transfer: Transfer, path: str) -> None:
        """A file landed for a download that had ended before."""
        deleted = False
        if self.source.policy.discard_cancelled:
            try:
                os.unlink(path)
                deleted = True
            except (OSError, ValueError) as error:
                logger.warning("could not delete a discarded file: %s", error)
        self._tell_store(Discarded(transfer.download_id, transfer.source, path, deleted, time()))

    def confirm(self, transfer: Transfer) -> None:
        """The impl is called now: delays between starts count from here."""
        with self.lock:
            self._bell.ring()  # first: between the stamp and the call there is to be as little as can be
            self.source.confirm(transfer, monotonic())

    def forsake(self) -> None:
        """This is a copy in a forked child: whoever needs the lock is told, an impl that returns here among them."""
        self.lock = self._leader = _NoLock()  # type: ignore[assignment]

    def let_go(self) -> None:
        """The calling slot ends: what it holds still, having been torn out of a wait, it holds no longer."""
        for lock in (self.lock, self._leader):
            while lock._is_owned():  # type: ignore[attr-defined]
                lock.release()

    def fell(self, transfer: Transfer) -> None:
        """The calling slot dies with ``transfer`` in hand."""
        with self.lock:
            if self.trace is not None:
                self.trace.note("fell", source=self.source.name, id=transfer.download_id)
            self.source.fell(transfer, monotonic())

    def started(self, download_id: str) -> None:
        """The impl is about to be called: let the dispatch that waits for it go."""
        waiting = self.handoffs.pop(download_id, None)
        if waiting is not None:
            waiting.release()
