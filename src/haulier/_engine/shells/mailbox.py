"""The mailbox of a source. It outlives the actors that take from it, so a crash loses no queued download.

It guards the source's rules (``core.source``) with a lock. Downloads come in through ``intake``, and slots take them
out through ``outlet``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from math import inf
from random import uniform
from time import monotonic, sleep, time
from typing import Any, NoReturn

from haulier._engine import messages as m
from haulier._engine.core.source import Source
from haulier._engine.shells.idle import IdleSlots
from haulier._engine.shells.intake import Intake
from haulier._engine.shells.outlet import Outlet
from haulier._engine.ticket import Impl
from haulier._threads.bell import Bell
from haulier._threads.lock import SafeLock
from haulier._threads.locks import release_all
from haulier.errors import forked
from haulier.policies import SourcePolicy
from haulier.trace import Trace

__all__ = ["Mailbox"]


class _NoLock:
    """The lock of a forked child, where the thread that held the real lock does not exist."""

    def acquire(self, *_: object, **__: object) -> NoReturn:
        """Raise ``ForkedEngine``."""
        raise forked()

    release = _is_owned = __enter__ = acquire

    def __exit__(self, *_: object) -> None: ...


class Mailbox:
    """A source with its lock, its bell and its slots."""

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
        """``ask_store``: asks a durable store; None if records are in memory alone."""
        self.source = Source(name, policy, uniform, tell_store, tell_supervisor)
        self.source.owner = self
        self.trace = trace
        if trace is not None:
            self.source.note = trace.note
        self.lock = SafeLock()
        """Reentrant, because a signal handler or a finalizer may call in the middle of its own thread's step."""
        self.is_plain = False
        """Whether the policy adds nothing to the first record of a download."""
        self.judges_results = False
        """Whether the retry policy looks at every path that an impl returns."""
        self.impl: Impl | None = None
        """The impl that ``register_source`` was given."""
        self.common: list[Impl] = []
        """The first few impls that were dispatched here. A ticket has an index into this list and not the function, so
        that the cycle collector need not visit the ticket."""
        self.tell_store = tell_store
        self.ask_store = ask_store
        self.give_way: Callable[[], None] = partial(sleep, 0)
        """Lets other threads run. A slot calls it after some time without a break."""
        self.idle = IdleSlots()
        """Counts the waiting slots. All mailboxes of an engine share one."""
        self.hiring = False
        """Whether a ``Hire`` message is on its way to the supervisor."""
        self.slots: set[Any] = set()
        """The source actors that live, or have died without being buried yet."""
        self.tell_supervisor = tell_supervisor
        self.patience_s = patience_s
        self.bell = Bell()
        self.last_end = -inf
        """When an impl last returned, in monotonic seconds."""
        self.intake = Intake(self)
        self.outlet = Outlet(self)
        self.apply(policy)

    # ---- on the callers' threads -------------------------------------------------------------------------------------

    def call_on_slots(self) -> None:
        """Wake the leader for new work, or hire a slot if there is none."""
        if self.bell.armed:
            self.bell.ring()
        elif self.source.lacks_slots:
            self.hire()

    def hire(self) -> None:
        """Ask the supervisor to hire slots up to the limit, if there is work for them."""
        if not self.hiring:
            self.hiring = True
            self.tell_supervisor(m.Hire(self))

    def has(self, download_id: str) -> bool:
        """Whether a download waits or runs here. Takes no lock, so it misses a download that is just being taken."""
        source = self.source
        return download_id in source.queue.pending or download_id in source.attempts.in_flight

    def cancel(self, download_id: str) -> bool:
        """Cancel a download. Returns False if it is not here or has ended."""
        try:
            with self.lock:
                return self.source.cancel(download_id, time())
        except BaseException:
            self.repair_later()
            raise

    def apply(self, policy: SourcePolicy) -> None:
        """Apply another policy at once.

        Raises ``ValueError`` if ``durable`` would change while downloads wait or run.
        """
        with self.lock:
            source = self.source
            if policy.durable != source.policy.durable and (source.queue.pending or source.attempts.in_flight):
                raise ValueError(f"durable cannot change while downloads of {source.name!r} wait or run")
            self.is_durable = source.is_durable = self.ask_store is not None and policy.durable
            self.change(lambda source: source.apply(policy))
        self.judges_results = policy.retry.looks_at_paths
        self.is_plain = not (policy.username or policy.thread_name or policy.record_fields)

    def change(self, how: Callable[[Source], object]) -> None:
        """Change the rules of the source in one step, and let waiting slots look again."""
        try:
            with self.lock:
                how(self.source)
                if self.trace is not None:
                    source = self.source
                    self.trace.note("rules", source=source.name, limit=source.slots.limit, **source.gate.rules())
            self.changed()
        except BaseException:
            self.repair_later()
            raise

    def changed(self) -> None:
        """Let waiting slots look again, because the limit, the gate or the refusal changed."""
        self.bell.ring()
        if self.source.lacks_slots:
            self.hire()

    def repair_later(self) -> None:
        """Ask the supervisor to repair the source after an interrupted step."""
        self.tell_supervisor(m.Audit(0.0, thorough=True))

    # ---- on the supervisor's thread ----------------------------------------------------------------------------------

    def lost_slots(self) -> list[Any]:
        """Find the source actors whose threads died without a report. Forget those that had left before."""
        dead = [slot for slot in self.slots.copy() if not slot.thread.is_alive()]
        self.slots.difference_update(slot for slot in dead if slot.left)
        return [slot for slot in dead if not (slot.is_reported or slot.left)]

    def bury(self, ended: m.Ended) -> bool:
        """Fail what a dead slot had in hand, and free its place. Returns False if that was done before."""
        with self.lock:
            if ended.slot not in self.slots:
                return False
            if not ended.slot.is_reported and ended.transfer is not None:
                self.source.attempts.slot_died(ended.transfer, monotonic())
            cause = ended.cause or RuntimeError("it ended")
            self.source.crashed(ended.transfer, cause, monotonic(), time(), ended.at)
            self.slots.discard(ended.slot)
            self.hiring = False  # it may have died between setting this and sending Hire
        return True

    def repair(self, unfinished: Collection[str]) -> list[str]:
        """Correct the source after an interrupted step. Returns those of ``unfinished`` that it has lost."""
        with self.lock:
            slots = [slot for slot in self.slots.copy() if not slot.left]
            zombies = sum(slot.is_zombie for slot in slots)
            in_hand = {slot.in_hand for slot in slots}
            return self.source.repair(unfinished, in_hand, len(slots) - zombies, zombies, monotonic(), time())

    # ---- where a thread, or a process, ends --------------------------------------------------------------------------

    def forsake(self) -> None:
        """Make every use of the lock raise ``ForkedEngine``, in the copy of a forked child."""
        self.lock = self.outlet.leader = _NoLock()  # type: ignore[assignment]

    def let_go(self) -> None:
        """Release the locks that the calling slot still holds as it ends, because a step was interrupted."""
        release_all(self.lock, self.outlet.leader)
