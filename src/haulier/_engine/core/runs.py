"""The runs at a source: which download starts next, and what becomes of the one that has ended.

The shell calls every method under the source's one lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.gate import Gate
from haulier._engine.core.outcome import Again, Failed, Outcome, PutBack, Stopped
from haulier._engine.core.queue import Line, Tried
from haulier._engine.core.refusal import Refusal
from haulier._engine.ticket import ID
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer

__all__ = ["Runs", "progress_of"]


class Runs(Line):
    """A line, and what of it is in flight."""

    def __init__(
        self,
        name: str,
        policy: SourcePolicy,
        draw: Callable[[float, float], float],
        tell_store: Callable[[Any], None],
        tell_supervisor: Callable[[Any], None],
    ) -> None:
        super().__init__(name, tell_store)
        self.owner: Any = self
        self.policy = policy
        self.limit = policy.concurrency
        self.gate = Gate(policy, draw)
        self.in_flight: dict[str, Transfer] = {}
        self.zombies = 0
        """Impls that were given up on and have not returned."""
        self.refusal: Refusal | None = None
        self.keeps = False
        """Whether what waits here outlives the engine."""
        self.note: Callable[..., None] | None = None
        """Where what happens is traced, if it is."""
        self._guarded = policy.timeout is not None or policy.stall_timeout is not None
        self._tell_supervisor = tell_supervisor

    def apply(self, policy: SourcePolicy) -> None:
        """Take over another policy, at once."""
        self.policy = policy
        self._guarded = policy.timeout is not None or policy.stall_timeout is not None
        self.limit = policy.concurrency
        self.gate.apply(policy)

    def cancel(self, download_id: str, on: float) -> bool:
        """Cancel a download that waits (it never starts) or runs (its result no longer counts)."""
        if self.withdraw(download_id):
            self._trace("withdrawn", download_id)
            self._tell_store(m.Moved("cancel", self.name, download_id, None, None, on))
            return True
        transfer = self.in_flight.get(download_id)
        if transfer is None or transfer.fenced:
            return False
        self._trace("cancelled", download_id)
        transfer.cancelled = True
        self._tell_store(m.Moved("cancel", self.name, download_id, transfer, None, on))
        transfer.fenced = True  # last: had this call been interrupted before, the end of the run would be told
        return True

    def lost(self, download_ids: Iterable[str]) -> list[str]:
        """Which of ``download_ids``, of which the store says that they have not ended, nobody has here."""
        return [each for each in download_ids if each not in self.pending and each not in self.in_flight]

    def _trace(self, event: str, download_id: str, **more: float) -> None:
        if self.note is not None:
            self.note(event, source=self.name, id=download_id, **more)

    # ---- one download ------------------------------------------------------------------------------------------------

    def take(self, now: float, on: float) -> Transfer | float:
        """Start the next download, if one may start; else the monotonic second at which to ask again.

        ``inf``: when something changes. ``on`` is ``now`` in UTC seconds.
        """
        queue, gate = self.queue, self.gate
        if not queue or self.refusal is not None or len(self.in_flight) >= (1 if gate.probing else self.limit):
            return inf
        if not gate.is_free:
            opens_at = gate.opens_at()
            if now < opens_at:
                return opens_at
        ticket = None
        while ticket is None:
            if not queue:
                return inf
            download_id = queue.popleft()
            if not (self.tried and self.backs_off(download_id)):
                ticket = self.pending.pop(download_id, None)
        transfer = Transfer(ticket, 1, {}, now, on)
        if self.tried:
            self._resume(transfer)
        self.in_flight[download_id] = transfer
        if gate.is_free:
            gate.started(now)
        else:
            gate.claim()
            transfer.claimed = True
        self._tell_store(transfer)
        if self._guarded:
            self._guard(transfer, now)
        return transfer

    def confirm(self, transfer: Transfer, now: float) -> None:
        """The impl of a download is called at ``now``, or never will be: delays between starts count from here."""
        if transfer.claimed:
            transfer.claimed = False
            if transfer.deadline is not None:
                transfer.deadline += now - transfer.started_at
            transfer.started_at = now
            self.gate.started(now, claimed=True)

    def _resume(self, transfer: Transfer) -> None:
        """Go on where the earlier attempts at the same download ended."""
        tried = self.tried.pop(transfer.ticket[ID], None)
        if tried is not None:
            transfer.attempt = tried.attempts + 1
            transfer.first_start, transfer.idle_s = tried.first_start, tried.idle_s
            # The same cell, so that no patch is written to one that nobody reads any more.
            transfer.cell = tried.cell
            tried.cell.update(progress=0.0, transferred=0, speed=0, time_remaining=None)

    def _guard(self, transfer: Transfer, now: float) -> None:
        """Have the supervisor look after the time-outs of an attempt."""
        transfer.moved, transfer.moved_at = progress_of(transfer), now
        if self.policy.timeout is not None:
            transfer.deadline = now + self.policy.timeout
        self._tell_supervisor(m.Guard(self.owner, transfer, self._look_at(transfer, now)))

    def turn(self, transfer: Transfer, outcome: Outcome, now: float, on: float) -> Transfer | None:
        """``settle`` and ``take`` in one step and one message, where a download landed and the next may start at once.

        None: it is not that simple, and nothing has been done.
        """
        gate, queue, in_flight = self.gate, self.queue, self.in_flight
        if not queue or transfer.fenced or not gate.is_free or type(outcome) is not m.Succeeded:
            return None
        if len(in_flight) > self.limit or self.tried or self._guarded or self.refusal is not None:
            return None
        download_id = queue.popleft()
        ticket = self.pending.pop(download_id, None)
        if ticket is None:
            return None  # withdrawn
        del in_flight[transfer.ticket[ID]]
        transfer.over = True
        gate.turned(now)
        if self.note is not None:  # nobody is called for nothing here
            self._trace("end", transfer.ticket[ID], stamped=now)
        following = in_flight[download_id] = Transfer(ticket, 1, {}, now, on)
        outcome.on, outcome.following = on, following
        self._tell_store(outcome)
        return following

    def settle(self, transfer: Transfer, outcome: Outcome, now: float, on: float) -> bool:
        """An impl returned. False where it had been given up on: its slot was counted off, its thread is to end."""
        download_id = transfer.ticket[ID]
        transfer.over = True
        if transfer.given_up:
            self.zombies -= 1
            return False
        del self.in_flight[download_id]
        if transfer.claimed:
            self.confirm(transfer, now)
        gate = self.gate
        gate.ended(now)
        self._trace("end", download_id, stamped=now)
        if type(outcome) is PutBack:
            gate.suspend(now + outcome.seconds)
            self._trace("suspended", download_id, until=now + outcome.seconds)
        elif gate.probing and transfer.started_at >= gate.suspended_until:
            gate.proved()
        if transfer.fenced:
            self._note_end(now, on)
            return True
        if isinstance(outcome, m.Succeeded):
            outcome.on = on
            self._tell_store(outcome)
        else:
            self._conclude(transfer, outcome, now, on)
        return True

    def _note_end(self, now: float, on: float) -> None:
        """A run ended of which the store was told that it is over: where delays outlive the process, it is to know."""
        if self.keeps:
            until = self.gate.suspended_until
            self._tell_store(m.Paced(self.name, on, on + until - now if until > now else None))

    def _conclude(self, transfer: Transfer, outcome: Failed | Again | PutBack | Stopped, now: float, on: float) -> None:
        event = "fail"
        patch: dict[str, Any] | None = None
        if self._resumes and _gave_way(outcome):
            self._keep(transfer, PutBack(0.0), now, on)
            return
        if isinstance(outcome, Failed):
            patch = {"error_type": outcome.error_type}
            if outcome.error is not None:
                patch["error"] = outcome.error
        elif self.refusal is not None and (isinstance(outcome, Stopped) or not self._is_kept_open):
            patch = self._last_words(outcome, self.refusal)
        elif isinstance(outcome, Stopped):
            event = "cancel"
        else:
            self._keep(transfer, outcome, now, on)
            return
        self._tell_store(m.Moved(event, self.name, transfer.ticket[ID], transfer, patch, on))
        if event == "cancel":
            self._note_end(now, on)  # else it would be taken for one that runs on

    @property
    def _is_kept_open(self) -> bool:
        """Whether the engine is closed, and what is not over goes on when it is made again."""
        return self.keeps and self.refusal is not None and self.refusal.kind == "closed"

    @property
    def _resumes(self) -> bool:
        """The same, also with what was asked to stop."""
        return self._is_kept_open and self.policy.resume_interrupted

    @staticmethod
    def _last_words(outcome: Again | PutBack | Stopped, refusal: Refusal) -> dict[str, Any]:
        """What a record says where only the source's end keeps it from another attempt."""
        if isinstance(outcome, Again) and outcome.error is not None:
            return {"error": outcome.error, "error_type": outcome.error_type}
        if refusal.kind == "down":
            return {"error": f"source down: {refusal.reason}", "error_type": "SourceDown"}
        return {"error": "engine closed", "error_type": "EngineClosed"}

    def _keep(self, transfer: Transfer, outcome: Again | PutBack, now: float, on: float) -> None:
        """Keep a download for another attempt: after its back-off, or as the first once the suspension is over.

        The store hears of it first: what is torn between is known to wait, and to have nobody.
        """
        download_id = transfer.ticket[ID]
        spent = transfer.attempt if isinstance(outcome, Again) else transfer.attempt - 1
        due_at = now + outcome.seconds
        idle_s = transfer.idle_s + outcome.seconds
        first_start = transfer.first_start or transfer.started_at
        standing = m.Standing(spent, on + first_start - now, idle_s, on + due_at - now)
        patch: dict[str, Any]
        if isinstance(outcome, PutBack):
            event, until = "put_back", self.gate.suspended_until
            patch = {"attempt": spent, "next_attempt_at": on + until - now if until > now else None}
        else:
            event = "back_off"
            patch = {"error_type": outcome.error_type, "next_attempt_at": on + outcome.seconds}
            if outcome.error is not None:
                patch["error"] = outcome.error
        self._tell_store(m.Moved(event, self.name, download_id, transfer, patch, on, standing))
        backs_off = event == "back_off"
        self.keep(transfer.ticket, Tried(spent, first_start, idle_s, transfer.cell, due_at, backs_off))
        if self._is_kept_open:
            self._trace("kept", download_id)
        if backs_off:
            self._tell_supervisor(m.Retry(self.owner, download_id, due_at))
        else:
            self.put_back(transfer.ticket)

    def _look_at(self, transfer: Transfer, now: float) -> float:
        """When to look after an attempt next: often enough to see a stall within a quarter of its time."""
        stall = self.policy.stall_timeout
        return min(transfer.deadline or inf, inf if stall is None else now + stall / 4)


def _gave_way(outcome: Outcome) -> bool:
    """Whether it may be what came of being asked to stop: an impl may say so, or just come back with nothing."""
    return isinstance(outcome, Stopped) or (isinstance(outcome, Failed) and outcome.error is None)


def progress_of(transfer: Transfer) -> tuple[Any, Any]:
    """What a stall is told by: the bytes that are here, and the percent."""
    return transfer.cell.get("transferred"), transfer.cell.get("progress")
