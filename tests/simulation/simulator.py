"""One source with its slots, callers, supervisor and store, as threads that take a step only when told.

The rules are the classes of the engine's core. Around them stands a script of the engine's threads. Whoever drives a
simulator (Hypothesis, say) chooses who steps next, and when time passes. A ``Witness`` watches and raises
``AssertionError`` when a promise is broken::

    simulator = Simulator(SourcePolicy(concurrency=2, delay=1.0))
    call = simulator.dispatch()
    simulator.settle_down()
    simulator.end(call.download_id, path="file.bin")
    simulator.finish()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

from tests.simulation.answers import TOLERANCE_S
from tests.simulation.shells import AUDIT_S, Shells
from tests.simulation.slots import Slot, SlotDied
from tests.simulation.threads import FREE, LOCK, Steps

from haulier._engine import messages as m
from haulier._engine.core.entry import view
from haulier._engine.core.outcome import Outcome, judge
from haulier._engine.ticket import ID, QUEUED_AT, Ticket, make_ticket
from haulier.errors import HaulierError
from haulier.policies import Retention, SourcePolicy
from haulier.records import Record
from haulier.transfer import Transfer

__all__ = ["Dispatch", "Simulator"]


@dataclass(eq=False)
class Dispatch:
    """A call of ``dispatch``, under way or over."""

    download_id: str
    error: HaulierError | None = None
    """What it raised."""


class Simulator(Shells):
    """A source under ``policy``, at rest, with nothing queued.

    ``patience_s``: after how long an idle slot leaves. ``draw``: for the jitter (default: the lower factor).
    ``listening``: have the ledger note events.
    """

    def __init__(
        self,
        policy: SourcePolicy | None = None,
        *,
        retention: Retention | None = None,
        patience_s: float = 32.0,
        draw: Callable[[float, float], float] = min,
        listening: bool = False,
    ) -> None:
        super().__init__(policy or SourcePolicy(), retention or Retention(), patience_s, draw)
        self._numbers, self._moments = count(1), count()
        self.known: list[str] = []
        """Ids that somebody may know by now: the store has been told of them."""
        if listening:
            self.ledger.apply(m.Listen(active=True))

    def next_due(self) -> float:
        """Also the moment at which a download is to start, as it was explained."""
        due, promised = super().next_due(), self.witness.answers.next_promise()
        return due if due <= promised + TOLERANCE_S else promised

    # ---- turns -------------------------------------------------------------------------------------------------------

    def settle_down(self) -> None:
        """Fair turns for everybody until nobody has anything to do before time passes."""
        self.rest()
        self.look_at_rest()

    def look_at_rest(self) -> None:
        """Have the witness look, while nobody has anything to do before time passes."""
        self.witness.look_at_rest()
        working = sum(slot.in_hand is None or not slot.in_hand.given_up for slot in self.hired)
        assert self.source.slots.live == working, f"{self.source.slots.live} slots are counted, and there are {working}"

    def pass_time(self, seconds: float) -> None:
        """Let time pass; everybody has their turn whenever they are due."""
        until = self.clock.monotonic() + seconds
        self.settle_down()
        while self.next_due() <= until:
            self.clock.advance_to(self.next_due())
            self.settle_down()
        self.clock.advance_to(until)

    def finish(self) -> None:
        """No faults any more, fair turns, every impl succeeds: then every download ends, and every slot leaves."""
        self.interruptions.clear()
        for _ in range(1_000):
            self.settle_down()
            for download_id in list(self.slots):
                self.end(download_id, path="at-last.bin")
            if self.runnable():
                continue
            if self.next_due() == inf:
                self.witness.look_at_end()
                assert not self.hired, f"{len(self.hired)} slots never leave"
                assert not self.source.queue.pending, f"{list(self.source.queue.pending)} are still kept"
                return
            self.clock.advance_to(self.next_due())
        raise AssertionError("it never comes to an end")

    def record(self, download_id: str) -> Record | None:
        """A copy of a record, as the store has it by now."""
        held = self.ledger.table.buckets.get("simulated", {}).get(download_id)
        return None if held is None else view(held)

    # ---- downloads ---------------------------------------------------------------------------------------------------

    def dispatch(self) -> Dispatch:
        """Begin to dispatch a download, on a thread of its own."""
        call = Dispatch(f"download-{next(self._numbers)}")
        self.spawn(f"dispatch of {call.download_id}", self._put(call))
        return call

    def _put(self, call: Dispatch) -> Steps:
        yield FREE
        download_id, source = call.download_id, self.source
        name = f"{download_id}.bin"
        # No two in the same moment: which of them has waited longest would be anybody's guess.
        on = self.clock.time() + next(self._moments) * 1e-6
        ticket = make_ticket(download_id, "simulated", None, name, name, "simulated", queued_at=on)
        self.witness.accepted.add(download_id)
        if source.refusal is not None:
            return self._refuse(call, source.refusal.error(source.name))
        if source.policy.max_queued is None:
            yield from self._queue(ticket)
        else:
            yield LOCK
            with self.held():
                error = source.refuses(1)
                if error is not None:
                    return self._refuse(call, error)
                self.witness.dispatched(download_id, ticket[QUEUED_AT])
                source.queue.put(ticket)
                self.known.append(download_id)
                self.witness.trimmed(download_id)
                source.trim((ticket,), self.clock.time())
        yield FREE
        if source.refusal is not None:
            yield LOCK
            with self.held():
                refusal = source.refusal
                if refusal is not None and source.queue.take_back(download_id):
                    return self._refuse(call, refusal.error(source.name))
        yield from self._call_on_slots()
        return None

    def _queue(self, ticket: Ticket) -> Steps:
        """``Source.put``, a step at a time."""
        yield FREE
        self.source.queue.pending[ticket[ID]] = ticket
        self.witness.dispatched(ticket[ID], ticket[QUEUED_AT])
        yield FREE
        self.backlog.append(ticket)
        self.known.append(ticket[ID])
        yield FREE
        self.source.queue.ids.append(ticket[ID])

    def _refuse(self, call: Dispatch, error: HaulierError) -> None:
        call.error = error
        self.witness.refused(call.download_id)

    def cancel(self, download_id: str) -> bool:
        """Cancel a download."""
        with self.held():
            waits = download_id not in self.source.attempts.in_flight
            cancelled = self.source.cancel(download_id, self.clock.time())
            if cancelled:
                self.witness.cancelled(download_id, waits)
        return cancelled

    def end(self, download_id: str, path: str | None = None, error: BaseException | None = None) -> None:
        """Have the impl of a running download return ``path`` or raise ``error``."""
        slot = self.slots.pop(download_id)
        transfer = slot.in_hand
        assert transfer is not None
        is_crash = error is not None and not isinstance(error, Exception)
        slot.outcome = error if is_crash else self._judged(transfer, path, error)
        self.witness.returned(transfer)

    def _judged(self, transfer: Transfer, path: str | None, error: Any) -> Outcome:
        first = transfer.started_at if transfer.first_start is None else transfer.first_start
        elapsed_s = self.clock.monotonic() - first
        outcome = judge(self.source.policy, transfer.attempt, path or None, error, elapsed_s, transfer.idle_s)
        return m.Succeeded(transfer, path or "") if outcome is None else outcome

    def kill(self, slot: Slot, cause: BaseException) -> None:
        """Have the thread of one of the ``hired`` slots die of ``cause`` where it waits, whatever it waits for.

        Nothing happens where it has died already. Where it was dying already, only an audit notices that.
        """
        if slot.thread.wait is not None:
            self.advance(slot.thread, SlotDied(cause))
            if slot.is_lost:
                self.letters.append(m.Audit(self.clock.monotonic() + AUDIT_S))

    # ---- settings ----------------------------------------------------------------------------------------------------

    def set_concurrency(self, limit: int) -> None:
        """As ``worker.set_concurrency``."""
        self.source.slots.limit = limit
        self.witness.set_rules(limit=limit)
        self.spawn("set_concurrency", self._changed())

    def set_delay(self, seconds: float) -> None:
        """As ``worker.set_delay``."""
        self.source.gate.set_delay(seconds)
        self.witness.set_rules(delay=seconds)
        self.spawn("set_delay", self._changed())

    def set_paused(self, paused: bool) -> None:
        """As ``engine.pause`` and ``engine.resume``."""
        self.source.gate.set_paused(paused)
        self.witness.set_rules(paused=paused)
        self.spawn("set_paused", self._changed())

    def revive(self) -> None:
        """As ``engine.revive``."""
        self.source.revive()
        self.witness.revived()
        self.spawn("revive", self._changed())

    def close(self) -> None:
        """As the beginning of ``engine.close``: nothing starts any more, and what runs is asked to stop."""
        with self.held():
            self.source.close(self.clock.time())
            self.witness.closed()
        self.spawn("close", self._changed())

    def give_up(self) -> None:
        """As the end of ``engine.close``: what still runs is given up on."""
        with self.held():
            for transfer in list(self.source.attempts.in_flight.values()):
                self._give_up(transfer, "engine closed", "EngineClosed")
