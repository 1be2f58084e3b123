"""The mailbox of a source: it outlives the actors that take from it, so a crash loses nothing that is queued.

It puts the source's rules (``core.source``) under a lock. Its parts are ``intake``, by which downloads come in, and
``outlet``, by which slots take them out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from math import inf
from random import uniform
from threading import RLock
from time import monotonic, sleep, time
from typing import Any, NoReturn

from haulier._engine import messages as m
from haulier._engine.core.source import Source
from haulier._engine.shells.intake import Intake
from haulier._engine.shells.outlet import Outlet
from haulier._engine.ticket import Impl
from haulier._threads.bell import Bell
from haulier._threads.locks import release_all
from haulier.errors import forked
from haulier.policies import SourcePolicy
from haulier.trace import Trace

__all__ = ["Mailbox"]


class _NoLock:
    """The lock of a forked child: the thread that held the real one is not here."""

    def acquire(self, *_: object, **__: object) -> NoReturn:
        """Raise ``ForkedEngine``."""
        raise forked()

    release = _is_owned = __enter__ = acquire

    def __exit__(self, *_: object) -> None: ...


class Mailbox:
    """A source under its lock, with its bell and its slots; and how its rules are changed."""

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
        self.impl: Impl | None = None
        """What ``register_source`` gave."""
        self.common: list[Impl] = []
        """The first few impls that were dispatched here. A ticket has the place of one in this list: with a function in
        it, it would be one more object for the cycle collector to visit."""
        self.tell_store = tell_store
        self.ask_store = ask_store
        self.give_way: Callable[[], None] = partial(sleep, 0)
        """What a slot does after some time without a break."""
        self.hiring = False
        """The supervisor was told, and has not looked yet."""
        self.slots: set[Any] = set()
        """The source actors that live, or have died and are not buried yet."""
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
        """There is work: see that the leader looks at it, or that somebody is hired."""
        if self.bell.armed:
            self.bell.ring()
        elif self.source.lacks_slots:
            self.hire()

    def hire(self) -> None:
        """Have slots hired up to the limit, as far as there is work."""
        if not self.hiring:
            self.hiring = True
            self.tell_supervisor(m.Hire(self))

    def has(self, download_id: str) -> bool:
        """Whether a download waits or runs here; without the lock, so that one that is just being taken is not seen."""
        source = self.source
        return download_id in source.queue.pending or download_id in source.attempts.in_flight

    def cancel(self, download_id: str) -> bool:
        """Cancel a download; False where it is not here, or over."""
        try:
            with self.lock:
                return self.source.cancel(download_id, time())
        except BaseException:
            self.repair_later()
            raise

    def apply(self, policy: SourcePolicy) -> None:
        """Take over another policy, at once. Raises ``ValueError`` where ``durable`` differs and something waits."""
        with self.lock:
            source = self.source
            if policy.durable != source.policy.durable and (source.queue.pending or source.attempts.in_flight):
                raise ValueError(f"durable cannot change while downloads of {source.name!r} are on their way")
            self.is_durable = source.is_durable = self.ask_store is not None and policy.durable
            self.change(lambda source: source.apply(policy))
        self.is_plain = not (policy.username or policy.thread_name or policy.record_fields)

    def change(self, how: Callable[[Source], object]) -> None:
        """Change the rules of the source in one step, and have everybody who waits look again."""
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
        """The limit, the gate or the refusal changed: have everybody who waits look again."""
        self.bell.ring()
        if self.source.lacks_slots:
            self.hire()

    def repair_later(self) -> None:
        """Have the supervisor repair what an interrupted step left undone."""
        self.tell_supervisor(m.Audit(0.0, thorough=True))

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
                self.source.attempts.slot_died(ended.transfer, monotonic())
            cause = ended.cause or RuntimeError("it ended")
            self.source.crashed(ended.transfer, cause, monotonic(), time(), ended.at)
            self.slots.discard(ended.slot)
            self.hiring = False  # it may have died as it was about to have somebody hired
        return True

    def repair(self, unfinished: Collection[str]) -> list[str]:
        """Correct the source after an interrupted step. Returns the ``unfinished`` downloads that nobody has."""
        with self.lock:
            slots = [slot for slot in self.slots.copy() if not slot.left]
            zombies = sum(slot.is_zombie for slot in slots)
            in_hand = {slot.in_hand for slot in slots}
            return self.source.repair(unfinished, in_hand, len(slots) - zombies, zombies, monotonic(), time())

    # ---- where a thread, or a process, ends --------------------------------------------------------------------------

    def forsake(self) -> None:
        """Make every use of the lock raise ``ForkedEngine``: this is a copy in a forked child."""
        self.lock = self.outlet.leader = _NoLock()  # type: ignore[assignment]

    def let_go(self) -> None:
        """Release the locks that the calling slot still holds as it ends, because a wait was interrupted."""
        release_all(self.lock, self.outlet.leader)
