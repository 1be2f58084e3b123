"""The supervisor and the store as scripts for simulated threads, over the slots of one source: see ``slots``."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from tests.simulation.slots import Slots
from tests.simulation.threads import FREE, LOCK, Steps, Wait

from haulier._engine import messages as m
from haulier._engine.core.agenda import Agenda
from haulier.policies import Retention, SourcePolicy
from haulier.transfer import Transfer

__all__ = ["Shells"]

NO_THREAD_S: Final = 0.25
"""Until the next try, where the machine would not give a thread."""

AUDIT_S: Final = 5.0
"""The longest until somebody looks whether a slot has died unheard. Nobody looks here while none has: an audit has
everybody look again, which would make good a lost wake-up, too."""


class Shells(Slots):
    """One source, with everybody who works at it."""

    def __init__(
        self,
        policy: SourcePolicy,
        retention: Retention,
        patience_s: float,
        draw: Callable[[float, float], float],
    ) -> None:
        super().__init__(policy, retention, patience_s, draw)
        self.no_threads = 0
        """So many of the next hires fail, as on a machine at its limit."""
        self._agenda: Agenda[Any] = Agenda()
        self.spawn("store", self._store())
        self.spawn("supervisor", self._supervisor())

    # ---- the store ---------------------------------------------------------------------------------------------------

    def _store(self) -> Steps:
        while True:
            yield Wait(free=False, ready=lambda: bool(self.backlog))
            self.ledger.table.now = self.clock.time()
            self.ledger.apply(self.backlog[0])
            self.backlog.popleft()
            self.ledger.table.expire()
            self.witness.look_at_records()

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
            case m.Ended():
                yield from self._bury(message)
            case m.Retry(_, download_id, at):
                yield LOCK
                with self.held():
                    self.source.queue.retry_due(download_id, at)
                    self.witness.due(download_id)
                yield from self._changed()
            case m.Guard():
                yield from self._guard(message)
            case m.Wake(_, at, restart):
                yield FREE
                if restart and self.source.slots.end_rest(at):
                    self.witness.rested(at)
                yield from self._changed()
            case m.Audit():
                for slot in [slot for slot in self.hired if slot.is_lost]:
                    yield from self._bury(m.Ended(self, slot.in_hand, RuntimeError("its thread died"), slot))
            case _:
                raise AssertionError(f"the supervisor does not know {message}")

    def _hire(self) -> Steps:
        self._hiring = False
        while True:
            yield LOCK
            with self.held():
                if not self.source.reserve_slot():
                    return
            if self.no_threads:
                self.no_threads -= 1
                yield LOCK
                with self.held():
                    self.source.slots.count_off()
                at = self.clock.monotonic() + NO_THREAD_S
                self._agenda.add(at, m.Wake(self, at))
                self.witness.no_thread(at)
                return
            self.hire()

    def _bury(self, ended: m.Ended) -> Steps:
        yield LOCK
        with self.held():
            transfer, slot, now = ended.transfer, ended.slot, self.clock.monotonic()
            if slot in self.hired:
                if not slot.is_reported and transfer is not None:
                    self.source.attempts.slot_died(transfer, now)
                    self.witness.fell(transfer)
                was_zombie = (
                    transfer is not None and self.source.attempts.in_flight.get(transfer.download_id) is not transfer
                )
                cause = ended.cause or RuntimeError("it ended")
                self.source.crashed(transfer, cause, now, self.clock.time(), ended.at)
                self.witness.crashed(transfer, was_zombie, now if ended.at is None else ended.at)
                self.hired.remove(slot)
                self._hiring = False
        yield from self._changed()

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
