"""The shells of ``haulier.actors`` as scripts for simulated threads: mailbox, slots, supervisor and store.

Each mirrors the order in which its original touches what is shared; a change there belongs here too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

from haulier import messages as m
from haulier.core.agenda import Agenda
from haulier.core.ledger import Ledger
from haulier.core.outcome import Outcome
from haulier.core.source import Source
from haulier.policies import Retention, SourcePolicy
from haulier.testing.turns import FREE, LOCK, SeamDeque, SeamDict, Stage, Steps, Wait
from haulier.testing.witness import Witness
from haulier.transfer import Transfer

__all__ = ["Shells", "Slot"]

NO_THREAD_S: Final = 0.25
"""Until the next try, where the machine would not give a thread."""


class Slot:
    """A source actor; ``outcome`` is what its impl comes back with, once it does."""

    def __init__(self) -> None:
        self.transfer: Transfer | None = None
        self.outcome: Outcome | BaseException | None = None


class Shells(Stage):
    """One source, with everybody who works at it."""

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
        self.source = Source("simulated", policy, draw, self.backlog.append, self.letters.append)
        self.source.owner = self
        self.source.queue = SeamDeque(self.seam, lambda download_id: self.witness.arrivals.append(download_id))
        self.source.pending = SeamDict(self.seam)
        self.witness = Witness(self.source, self.ledger, self.clock.monotonic)
        self.slots: dict[str, Slot] = {}
        """Those whose impl runs, by download id."""
        self.no_threads = 0
        """So many of the next hires fail, as on a machine at its limit."""
        self.bad_starts: deque[BaseException] = deque()
        """What the next slots die of as they start."""
        self._agenda: Agenda[Any] = Agenda()
        self._patience_s = patience_s
        self._armed = self._led = self._hiring = False
        self._rings = 0
        self.spawn("store", self._store())
        self.spawn("supervisor", self._supervisor())

    def look(self) -> None:
        """Have the witness look."""
        self.witness.look()

    # ---- the store ---------------------------------------------------------------------------------------------------

    def _store(self) -> Steps:
        while True:
            yield Wait(free=False, ready=lambda: bool(self.backlog))
            self.ledger.now = self.clock.time()
            self.ledger.apply(self.backlog[0])
            self.backlog.popleft()
            self.ledger.expire()
            self.witness.look_at_records()

    # ---- the mailbox -------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        if self._armed:
            self._armed = False
            self._rings += 1

    def _changed(self) -> Steps:
        yield FREE
        self._ring()
        yield FREE
        if self.source.lacks_slots:
            yield from self._staff()

    def _staff(self) -> Steps:
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
            yield from self._staff()

    def _next_download(self) -> Steps:
        while self._led:
            yield Wait(ready=lambda: not self._led, at=self.clock.monotonic() + self._patience_s)
            if not self._led:
                break
            yield LOCK
            with self.held():
                left = self.source.leave(inf, self.clock.monotonic(), self._patience_s)
            if left:
                return None
        self._led = True
        taken = yield from self._lead()
        self._led = False
        yield FREE
        if taken is not None and self.source.queue:
            yield from self._call_on_slots()
        return taken

    def _lead(self) -> Steps:
        until = self.clock.monotonic() + self._patience_s
        while True:
            yield FREE
            self._armed = True
            yield LOCK
            with self.held():
                now = self.clock.monotonic()
                taken = self._take(now)
                if isinstance(taken, Transfer):
                    self._armed = False
                    return taken
                if now >= until or self.source.is_overstaffed:
                    self._armed = False  # before it is counted off: what is put from here on has somebody hired
                    if self.source.leave(taken, now, self._patience_s):
                        self.seam()
                        return None
                    until = now + self._patience_s
                    continue
            yield Wait(ready=lambda: self._rings > 0, at=min(taken, until))
            self._rings = max(0, self._rings - 1)
            self._armed = False

    def _take(self, now: float) -> Transfer | float:
        taken = self.source.take(now, self.clock.time())
        if isinstance(taken, Transfer):
            self.witness.took(taken)
        return taken

    def _report(self, transfer: Transfer, outcome: Outcome) -> Steps:
        yield LOCK
        alive = True
        taken: Transfer | float | None
        with self.held():
            now, on = self.clock.monotonic(), self.clock.time()
            was_zombie = self.source.in_flight.get(transfer.download_id) is not transfer
            taken = self.source.turn(transfer, outcome, now, on)
            if taken is not None:
                self.witness.settled(transfer, outcome, was_zombie)
                self.witness.took(taken)
            else:
                alive = self.source.settle(transfer, outcome, now, on)
                self.witness.settled(transfer, outcome, was_zombie)
                if alive and not transfer.fenced:
                    taken = self._take(now)
        if isinstance(taken, Transfer):
            yield FREE
            if self.source.queue:
                yield from self._call_on_slots()
            return taken
        yield FREE
        self._ring()
        return self if alive else None

    # ---- a slot ------------------------------------------------------------------------------------------------------

    def _slot(self, slot: Slot) -> Steps:
        yield FREE
        if self.bad_starts:
            self.letters.append(m.Ended(self, None, self.bad_starts.popleft()))
            return
        while True:
            transfer = yield from self._next_download()
            while isinstance(transfer, Transfer):
                slot.transfer, slot.outcome = transfer, None
                if transfer.claimed:
                    yield LOCK
                    with self.held():
                        self.source.confirm(transfer, self.clock.monotonic())
                    yield FREE
                    self._ring()
                self.witness.called(transfer)
                self.slots[transfer.download_id] = slot
                yield Wait(ready=lambda: slot.outcome is not None)
                outcome: Any = slot.outcome
                if isinstance(outcome, BaseException):
                    yield LOCK
                    with self.held():
                        self.source.fell(transfer, self.clock.monotonic())
                        self.witness.fell(transfer)
                    yield FREE
                    self.letters.append(m.Ended(self, transfer, outcome))
                    return
                transfer = yield from self._report(transfer, outcome)
            if transfer is None:
                return

    # ---- the supervisor ----------------------------------------------------------------------------------------------

    def _supervisor(self) -> Steps:
        while True:
            yield Wait(ready=lambda: bool(self.letters), at=self._agenda.next_at() or inf)
            message = self._agenda.pop_due(self.clock.monotonic())
            if message is None and self.letters:
                message = self.letters.popleft()
                if isinstance(message, m.Due) and message.at > self.clock.monotonic():
                    self._agenda.add(message.at, message)
                    continue
            if message is not None:
                yield from self._handle(message)

    def _handle(self, message: Any) -> Steps:
        match message:
            case m.Hire():
                yield from self._hire()
            case m.Ended(_, transfer, cause):
                yield LOCK
                with self.held():
                    self._bury(transfer, cause or RuntimeError("it ended"))
                yield from self._changed()
            case m.Retry(_, download_id, _):
                yield LOCK
                with self.held():
                    self.source.retry_due(download_id)
                    self.witness.due(download_id)
                yield from self._changed()
            case m.Guard():
                yield from self._guard(message)
            case m.Wake(_, at, restart):
                yield FREE
                if restart and at >= self.source.resting_until:
                    self.source.resting = False
                yield from self._changed()
            case _:
                raise AssertionError(f"the supervisor does not know {message}")

    def _hire(self) -> Steps:
        self._hiring = False
        while True:
            yield LOCK
            with self.held():
                if not self.source.reserve():
                    return
            if self.no_threads:
                self.no_threads -= 1
                yield LOCK
                with self.held():
                    self.source.live -= 1
                at = self.clock.monotonic() + NO_THREAD_S
                self._agenda.add(at, m.Wake(self, at))
                self.witness.no_thread_until = at
                return
            self.spawn("slot", self._slot(Slot()))

    def _bury(self, transfer: Transfer | None, cause: BaseException) -> None:
        was_zombie = transfer is not None and self.source.in_flight.get(transfer.download_id) is not transfer
        self.source.crashed(transfer, cause, self.clock.monotonic(), self.clock.time())
        self.witness.crashed(transfer, was_zombie)

    def _guard(self, guard: m.Guard) -> Steps:
        yield LOCK
        with self.held():
            verdict = self.source.overdue(guard.transfer, self.clock.monotonic())
            if isinstance(verdict, str):
                self._give_up(guard.transfer, verdict, "TimeoutError")
        if isinstance(verdict, str):
            yield from self._changed()
        elif verdict is not None:
            self._agenda.add(verdict, guard._replace(at=verdict))

    def _give_up(self, transfer: Transfer, reason: str, error_type: str) -> None:
        self.source.give_up(transfer, reason, error_type, self.clock.monotonic(), self.clock.time())
        self.witness.given_up(transfer)
