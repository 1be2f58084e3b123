"""The attempts at one source: which download starts next, and what becomes of one whose impl has returned.

The shell calls every method under the source's one lock.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from haulier._engine import messages as m
from haulier._engine.core import timeouts
from haulier._engine.core.outcome import BackOff, Failed, Outcome, PutBack, StoppedEarly
from haulier._engine.core.queue import Tried
from haulier._engine.core.refusal import Refusal
from haulier._engine.ticket import ID
from haulier.transfer import Transfer

if TYPE_CHECKING:
    from haulier._engine.core.source import Source

__all__ = ["Attempts"]


class Attempts:
    """What is in flight at one source. Starts attempts from its queue, and settles them when their impls return."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._queue, self._gate, self._slots = source.queue, source.gate, source.slots
        self.in_flight: dict[str, Transfer] = {}
        """The attempts whose end the source still waits for, by download id."""
        self.are_guarded = timeouts.is_guarded(source.policy)
        """Whether the policy sets a time-out: then the supervisor looks at each attempt."""

    # ---- start -------------------------------------------------------------------------------------------------------

    def take(self, now: float, on: float) -> Transfer | float:
        """Start the next download if one may start; else the monotonic second at which to ask again.

        ``inf`` means: when something changes. ``on`` is ``now`` in UTC seconds.
        """
        queue, gate, source = self._queue, self._gate, self._source
        ids = queue.ids
        limit = 1 if gate.probing else self._slots.limit
        if not ids or source.refusal is not None or len(self.in_flight) >= limit:
            return self._pass_on(inf)
        if not gate.is_free:
            opens_at = gate.opens_at()
            if now < opens_at:
                return self._pass_on(opens_at)
        if source.turns is not None and not source.turns.take(source.owner):
            return inf
        ticket = None
        while ticket is None:
            if not ids:
                if source.turns is not None:
                    source.turns.give_back(source.owner)
                return inf
            download_id = ids.popleft()
            if not (queue.tried and queue.backs_off(download_id)):
                ticket = queue.pending.pop(download_id, None)
        transfer = Transfer(ticket, 1, {}, now, on)
        if queue.tried:
            self._continue_from_earlier(transfer)
        self.in_flight[download_id] = transfer
        if gate.is_free and not source.writes_starts:
            gate.started(now)
        else:
            gate.claim()
            transfer.claimed = True
        source.tell_store(transfer)
        if self.are_guarded:
            timeouts.begin(transfer, source.policy, now)
            self.guard(transfer, now)
        return transfer

    def _pass_on(self, at: float) -> float:
        """Return ``at``. A place that the engine keeps for this source goes to another one."""
        if self._source.turns is not None:
            self._source.turns.pass_on(self._source.owner)
        return at

    def _remove(self, transfer: Transfer) -> None:
        """Take an attempt out of those in flight, and count its end for the limit of the engine."""
        del self.in_flight[transfer.ticket[ID]]
        if self._source.turns is not None:
            self._source.turns.give_back(self._source.owner)

    def confirm(self, transfer: Transfer, now: float) -> None:
        """Count the start of a taken download from ``now``, when its impl is called or is certain never to be."""
        if transfer.claimed:
            transfer.claimed = False
            if self.are_guarded:
                timeouts.begin(transfer, self._source.policy, now)
            transfer.started_at = now
            self._gate.started(now, claimed=True)

    def take_back(self, transfer: Transfer, now: float, on: float) -> bool:
        """Undo a start whose impl is not called. False if the engine had given up on it: its thread then ends.

        The download goes back to the head of the queue. No attempt is spent, and the delay does not count anew.
        """
        transfer.has_ended = True
        if transfer.given_up:
            self._slots.bury_zombie()
            return False
        self._remove(transfer)
        if transfer.claimed:
            transfer.claimed = False
            self._gate.unclaim()
        if transfer.fenced:
            self.report_late_end(now, on)
        else:
            self._requeue(transfer, now, on)
        return True

    def _requeue(self, transfer: Transfer, now: float, on: float) -> None:
        """Put a download whose impl was not called back into the queue, or fail it if its source takes none.

        The store is told first, as in ``_keep``.
        """
        source, download_id, spent = self._source, transfer.ticket[ID], transfer.attempt - 1
        source.trace("taken_back", download_id)
        if source.refusal is not None and not source.keeps_queue:
            self._tell_moved("fail", transfer, _last_words(StoppedEarly(), source.refusal), on)
            return
        standing = None
        patch: dict[str, Any] = {"attempt": spent}
        if transfer.first_start is None:
            patch["started_at"] = None
        else:
            standing = m.Standing(spent, on + transfer.first_start - now, transfer.idle_s, on)
        source.tell_store(m.Moved("take_back", source.name, download_id, transfer, patch, on, standing))
        tried = Tried(spent, transfer.first_start, transfer.idle_s, transfer.cell, now, False)
        self._queue.keep(transfer.ticket, tried)
        if source.keeps_queue:
            source.trace("kept", download_id)
        self._queue.put_back(transfer.ticket)

    def _continue_from_earlier(self, transfer: Transfer) -> None:
        """Give an attempt the number, the times and the progress cell that earlier attempts left."""
        tried = self._queue.tried.pop(transfer.ticket[ID], None)
        if tried is not None:
            transfer.attempt = tried.attempts + 1
            transfer.first_start, transfer.idle_s = tried.first_start, tried.idle_s
            # One cell for all attempts, so that no patch goes to a cell that is not read any more.
            transfer.cell = tried.cell
            tried.cell.update(progress=0.0, transferred=0, speed=0, time_remaining=None)

    def guard(self, transfer: Transfer, now: float) -> None:
        """Have the supervisor look at the time-outs of an attempt."""
        source = self._source
        source.tell_supervisor(m.Guard(source.owner, transfer, timeouts.next_look(transfer, source.policy, now)))

    # ---- end ---------------------------------------------------------------------------------------------------------

    def settle_and_take(self, transfer: Transfer, outcome: Outcome, now: float, on: float) -> Transfer | None:
        """Settle a success and start the next download in one step and with one message, in the common case.

        None: the case is not that simple, and nothing was done. Call ``settle``, then ``take``.
        """
        queue, gate, in_flight, source = self._queue, self._gate, self.in_flight, self._source
        ids = queue.ids
        if not ids or transfer.fenced or not gate.is_free or type(outcome) is not m.Succeeded:
            return None
        if len(in_flight) > self._slots.limit or queue.tried or self.are_guarded or source.refusal is not None:
            return None
        if source.writes_starts or source.turns is not None:
            return None
        download_id = ids.popleft()
        ticket = queue.pending.pop(download_id, None)
        if ticket is None:
            return None  # withdrawn
        del in_flight[transfer.ticket[ID]]
        transfer.has_ended = True
        gate.end_and_start(now)
        if source.note is not None:  # saves the call where nothing is traced
            source.trace("end", transfer.ticket[ID], stamped=now)
        following = in_flight[download_id] = Transfer(ticket, 1, {}, now, on)
        outcome.on, outcome.following = on, following
        source.tell_store(outcome)
        return following

    def settle(self, transfer: Transfer, outcome: Outcome, now: float, on: float) -> bool:
        """Record what an impl returned. False if the engine had given up on it: its thread then ends."""
        download_id = transfer.ticket[ID]
        transfer.has_ended = True
        if transfer.given_up:
            self._slots.bury_zombie()
            return False
        self._remove(transfer)
        if transfer.claimed:
            self.confirm(transfer, now)
        gate, source = self._gate, self._source
        gate.ended(now)
        source.trace("end", download_id, stamped=now)
        if type(outcome) is PutBack:
            outcome = PutBack(gate.suspension_s(outcome.seconds))
            gate.suspend(now + outcome.seconds)
            source.trace("suspended", download_id, until=now + outcome.seconds)
        elif gate.probing and transfer.started_at >= gate.suspended_until:
            gate.end_probation()
        if transfer.fenced:
            self.report_late_end(now, on)
            return True
        if isinstance(outcome, m.Succeeded):
            outcome.on = on
            source.tell_store(outcome)
        else:
            self._conclude(transfer, outcome, now, on)
        return True

    def slot_died(self, transfer: Transfer, now: float) -> None:
        """Count delays from ``now``, when a slot dies with ``transfer`` in hand; the supervisor buries it later."""
        if self.in_flight.get(transfer.ticket[ID]) is transfer:
            self.confirm(transfer, now)
            self._gate.ended(now)

    def fail_crashed(self, transfer: Transfer, error: str, error_type: str, now: float, on: float) -> None:
        """Fail the download that a dead slot had in hand, unless its record has ended already."""
        if self.in_flight.get(transfer.ticket[ID]) is not transfer:
            return
        self._remove(transfer)
        if transfer.fenced:
            self.report_late_end(now, on)
        else:
            transfer.fenced = transfer.cancelled = True
            self._tell_moved("fail", transfer, {"error": error, "error_type": error_type}, on)

    def give_up(self, transfer: Transfer, error: str, error_type: str, now: float, on: float) -> None:
        """Stop waiting for the impl of an attempt: its record fails, and its late report is fenced."""
        transfer.given_up = True  # first: if this step is interrupted here, ``Source.repair`` lets go of it
        is_called = not (transfer.claimed and self._source.writes_starts)
        self._remove(transfer)
        source = self._source
        source.trace("gave_up", transfer.ticket[ID], stamped=now)
        self.confirm(transfer, now)
        self._gate.ended(now)
        self._slots.give_up_one()
        if transfer.fenced:
            self.report_late_end(now, on)
            return
        transfer.fenced = transfer.cancelled = True
        if not is_called and source.keeps_queue:
            self._requeue(transfer, now, on)
        elif source.resumes_interrupted:
            self._keep(transfer, PutBack(0.0), now, on)
        else:
            self._tell_moved("fail", transfer, {"error": error, "error_type": error_type}, on)

    def cancel(self, download_id: str, on: float) -> bool:
        """Cancel a running download: its result no longer counts. Returns False if it does not run or has ended."""
        transfer = self.in_flight.get(download_id)
        if transfer is None or transfer.fenced:
            return False
        self._source.trace("cancelled", download_id)
        transfer.cancelled = True
        self._tell_moved("cancel", transfer, None, on)
        transfer.fenced = True  # last: if this call is interrupted before, the end of the run is reported
        return True

    def forget(self, transfer: Transfer, now: float, on: float) -> None:
        """Let go of an attempt that no slot has in hand, after an interrupted step."""
        self.slot_died(transfer, now)
        self._remove(transfer)
        if transfer.fenced:
            self.report_late_end(now, on)
        transfer.fenced = transfer.cancelled = True

    def report_late_end(self, now: float, on: float) -> None:
        """Tell a durable store when a run ended whose record had ended before: the delay counts from this moment."""
        source = self._source
        if source.is_durable:
            until = self._gate.suspended_until
            source.tell_store(m.Paced(source.name, on, on + until - now if until > now else None))

    def _tell_moved(self, event: str, transfer: Transfer, patch: dict[str, Any] | None, on: float) -> None:
        source = self._source
        source.tell_store(m.Moved(event, source.name, transfer.ticket[ID], transfer, patch, on))

    def _conclude(
        self, transfer: Transfer, outcome: Failed | BackOff | PutBack | StoppedEarly, now: float, on: float
    ) -> None:
        """Tell the store what became of an attempt that did not succeed, or keep its download for another one."""
        source = self._source
        event = "fail"
        patch: dict[str, Any] | None = None
        if source.resumes_interrupted and _may_have_been_stopped(outcome):
            self._keep(transfer, PutBack(0.0), now, on)
            return
        if isinstance(outcome, Failed):
            patch = {"error_type": outcome.error_type}
            if outcome.error is not None:
                patch["error"] = outcome.error
        elif source.refusal is not None and (isinstance(outcome, StoppedEarly) or not source.keeps_queue):
            patch = _last_words(outcome, source.refusal)
        elif isinstance(outcome, StoppedEarly):
            event = "cancel"
        else:
            self._keep(transfer, outcome, now, on)
            return
        self._tell_moved(event, transfer, patch, on)
        if event == "cancel":
            self.report_late_end(now, on)  # otherwise the store believes that the run continues

    def _keep(self, transfer: Transfer, outcome: BackOff | PutBack, now: float, on: float) -> None:
        """Keep a download for another attempt: after its back-off, or at the head of the queue.

        The store is told first: if the step is interrupted in between, the store knows that the download waits.
        """
        source = self._source
        download_id = transfer.ticket[ID]
        spent = transfer.attempt if isinstance(outcome, BackOff) else transfer.attempt - 1
        due_at = now + outcome.seconds
        idle_s = transfer.idle_s + outcome.seconds
        first_start = transfer.first_start or transfer.started_at
        standing = m.Standing(spent, on + first_start - now, idle_s, on + due_at - now)
        patch: dict[str, Any]
        if isinstance(outcome, PutBack):
            event, until = "put_back", self._gate.suspended_until
            patch = {"attempt": spent, "next_attempt_at": on + until - now if until > now else None}
        else:
            event = "back_off"
            patch = {"error_type": outcome.error_type, "next_attempt_at": on + outcome.seconds}
            if outcome.error is not None:
                patch["error"] = outcome.error
        source.tell_store(m.Moved(event, source.name, download_id, transfer, patch, on, standing))
        backs_off = event == "back_off"
        self._queue.keep(transfer.ticket, Tried(spent, first_start, idle_s, transfer.cell, due_at, backs_off))
        if source.keeps_queue:
            source.trace("kept", download_id)
        if backs_off:
            source.tell_supervisor(m.Retry(source.owner, download_id, due_at))
        else:
            self._queue.put_back(transfer.ticket)


def _may_have_been_stopped(outcome: Outcome) -> bool:
    """Whether an outcome may come of being asked to stop: an impl says so, or returns nothing."""
    return isinstance(outcome, StoppedEarly) or (isinstance(outcome, Failed) and outcome.error is None)


def _last_words(outcome: BackOff | PutBack | StoppedEarly, refusal: Refusal) -> dict[str, Any]:
    """The error of a record that would get another attempt if its source still took downloads."""
    if isinstance(outcome, BackOff) and outcome.error is not None:
        return {"error": outcome.error, "error_type": outcome.error_type}
    if refusal.kind == "down":
        return {"error": f"source down: {refusal.reason}", "error_type": "SourceDown"}
    return {"error": "engine closed", "error_type": "EngineClosed"}
