"""The mailbox of a source and its slots as scripts for simulated threads: what the shells do there.

Each mirrors the order in which its original touches what is shared; a change there belongs here too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

from tests.simulation.threads import FREE, LOCK, SeamDeque, SeamDict, Stage, Steps, Thread, Wait
from tests.simulation.witness import Witness

import haulier._engine.core.slots as core_slots
from haulier._engine import messages as m
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.outcome import Outcome
from haulier._engine.core.source import Source
from haulier.events import Discarded
from haulier.policies import Retention, SourcePolicy
from haulier.transfer import Transfer

__all__ = ["Slot", "SlotDied", "Slots"]


class SlotDied(BaseException):
    """Raised where the thread of a slot waits: it dies there, of ``cause``."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


class Slot:
    """A source actor."""

    thread: Thread

    def __init__(self) -> None:
        self.in_hand: Transfer | None = None
        """What it runs, until its end is reported."""
        self.outcome: Outcome | BaseException | None = None
        """What its impl comes back with, once it does."""
        self.left = False
        """Whether it ends in order."""
        self.is_reported = False
        """Whether the supervisor was told of its end."""

    @property
    def is_lost(self) -> bool:
        """Whether its thread has died, and nobody was told."""
        return self.thread.wait is None and not (self.is_reported or self.left)


_SEEN_WITHOUT_THE_LOCK: Final = frozenset({"live", "limit", "refusal", "resting"})


class _Seamed:
    """Lets other threads step in before each change of what they read without the lock."""

    @staticmethod
    def seam() -> None:
        """Let other threads step in."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SEEN_WITHOUT_THE_LOCK:
            self.seam()
        super().__setattr__(name, value)


class _Source(_Seamed, Source):
    """A source of the core, with seams."""


class _CoreSlots(_Seamed, core_slots.Slots):
    """The slots of a source of the core, with seams."""


class Slots(Stage):
    """One source, its mailbox, and the slots that take from it."""

    def __init__(
        self,
        policy: SourcePolicy,
        retention: Retention,
        patience_s: float,
        draw: Callable[[float, float], float],
    ) -> None:
        super().__init__()
        self.ledger = Ledger(retention)
        self.backlog: deque[Any] = deque()
        """Told to the store."""
        self.letters: deque[Any] = deque()
        """Told to the supervisor."""
        self.source = _Source("simulated", policy, draw, self.backlog.append, self._tell_supervisor)
        self.source.owner = self
        self.source.seam = self.seam  # type: ignore[method-assign]
        self.source.slots.__class__ = _CoreSlots
        self.source.slots.seam = self.seam  # type: ignore[attr-defined]
        self.source.queue.ids = SeamDeque(self.seam, lambda download_id: self.witness.arrived(download_id))
        self.source.queue.pending = SeamDict(self.seam)
        self.witness = Witness(self.source, self.ledger, self.clock)
        self.slots: dict[str, Slot] = {}
        """Those whose impl runs, by download id."""
        self.hired: list[Slot] = []
        """Those that live, or have died and are not buried yet; the oldest first."""
        self.bad_starts: deque[BaseException] = deque()
        """What the next slots die of as they start."""
        self._patience_s = patience_s
        self._armed = self._led = self._hiring = False
        self._rings = 0

    def look(self) -> None:
        """Have the witness look."""
        self.witness.look()

    def _tell_supervisor(self, message: Any) -> None:
        self.letters.append(message)
        if isinstance(message, m.Wake) and message.restart:
            self.witness.rests(message.at)

    # ---- on the callers' threads -------------------------------------------------------------------------------------

    def _ring(self) -> None:
        if self._armed:
            self._armed = False
            self._rings += 1

    def _changed(self) -> Steps:
        yield FREE
        self._ring()
        yield FREE
        if self.source.lacks_slots:
            yield from self._ask_to_hire()

    def _ask_to_hire(self) -> Steps:
        yield FREE
        if not self._hiring:
            self._hiring = True
            yield FREE
            self.letters.append(m.Hire(self))

    def _call_on_slots(self) -> Steps:
        yield FREE
        if self._armed:
            self._ring()
            return
        yield FREE
        if self.source.lacks_slots:
            yield from self._ask_to_hire()

    # ---- waiting for a download --------------------------------------------------------------------------------------

    def _next_download(self, slot: Slot) -> Steps:
        while self._led:
            yield Wait(ready=lambda: not self._led, at=self.clock.monotonic() + self._patience_s)
            if not self._led:
                break
            yield LOCK
            with self.held():
                slot.left = self.source.leave(inf, self.clock.monotonic(), self._patience_s)
            if slot.left:
                yield FREE
                return None
        self._led = True
        try:
            taken = yield from self._lead(slot)
        finally:
            self._led = False
        if taken is not None and self.source.queue.ids:
            yield from self._call_on_slots()
        return taken

    def _lead(self, slot: Slot) -> Steps:
        until = self.clock.monotonic() + self._patience_s
        while True:
            yield FREE
            self._armed = True
            yield LOCK
            with self.held():
                now = self.clock.monotonic()
                taken = self._take(now, slot)
                if isinstance(taken, Transfer):
                    self._armed = False
                elif now >= until or self.source.is_overstaffed:
                    self._armed = False  # before it is counted off: what is put from here on has somebody hired
                    slot.left = self.source.leave(taken, now, self._patience_s)
                    until = now + self._patience_s
                    if not slot.left:
                        continue
                    self.seam()
            if slot.left or isinstance(taken, Transfer):
                yield FREE
                return slot.in_hand
            yield Wait(ready=lambda: self._rings > 0, at=min(taken, until))
            self._rings = max(0, self._rings - 1)
            self._armed = False

    def _take(self, now: float, slot: Slot) -> Transfer | float:
        taken = self.source.attempts.take(now, self.clock.time())
        if isinstance(taken, Transfer):
            slot.in_hand = taken
            self.witness.took(taken)
        return taken

    def _report(self, transfer: Transfer, outcome: Outcome, slot: Slot) -> Steps:
        """The next download, if one may start at once; None also where the slot has left."""
        yield LOCK
        with self.held():
            now, on = self.clock.monotonic(), self.clock.time()
            was_zombie = self.source.attempts.in_flight.get(transfer.download_id) is not transfer
            slot.in_hand = following = self.source.attempts.settle_and_take(transfer, outcome, now, on)
            if following is not None:
                self.witness.settled(transfer, outcome, was_zombie)
                self.witness.took(following)
            else:
                slot.left = not self.source.attempts.settle(transfer, outcome, now, on)
                self.witness.settled(transfer, outcome, was_zombie)
                if not slot.left and not transfer.fenced:
                    self._take(now, slot)
        yield FREE
        if transfer.fenced and isinstance(outcome, m.Succeeded):
            self.backlog.append(Discarded(transfer.download_id, transfer.source, outcome.path, False, on))
            yield FREE
        if slot.in_hand is None:
            self._ring()
        elif self.source.queue.ids:
            yield from self._call_on_slots()
        return slot.in_hand

    # ---- a slot ------------------------------------------------------------------------------------------------------

    def hire(self) -> None:
        """Start a slot's thread."""
        slot = Slot()
        slot.thread = self.spawn("slot", self._slot(slot))
        self.hired.append(slot)

    def _slot(self, slot: Slot) -> Steps:
        try:
            yield FREE
            if self.bad_starts:
                raise SlotDied(self.bad_starts.popleft())
            while not slot.left:
                transfer = yield from self._next_download(slot)
                while transfer is not None:
                    outcome = yield from self._run(slot, transfer)
                    transfer = yield from self._report(transfer, outcome, slot)
        except SlotDied as death:
            yield from self._end(slot, death.cause)
        else:
            self.hired.remove(slot)

    def _run(self, slot: Slot, transfer: Transfer) -> Steps:
        slot.outcome = None
        if transfer.claimed:
            yield LOCK
            with self.held():
                self._ring()
                self.source.attempts.confirm(transfer, self.clock.monotonic())
            yield FREE
        self.witness.called(transfer)
        self.slots[transfer.download_id] = slot
        yield Wait(ready=lambda: slot.outcome is not None)
        if isinstance(slot.outcome, BaseException):
            raise SlotDied(slot.outcome)
        return slot.outcome

    def _end(self, slot: Slot, cause: BaseException) -> Steps:
        """Its thread dies, with whatever it has in hand."""
        if slot.left:
            self.hired.remove(slot)
            return
        transfer, at = slot.in_hand, self.clock.monotonic()
        self.witness.died(transfer)
        if transfer is not None:
            if self.slots.get(transfer.download_id) is slot:
                del self.slots[transfer.download_id]
            yield LOCK
            with self.held():
                self.source.attempts.slot_died(transfer, self.clock.monotonic())
                self.witness.fell(transfer)
        yield FREE
        self.letters.append(m.Ended(self, transfer, cause, slot, at))
        yield FREE
        slot.is_reported = True
