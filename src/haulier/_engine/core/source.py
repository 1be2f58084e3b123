"""One source, whole: who serves it, and what becomes of it when something goes wrong.

The shell calls every method under the source's one lock, but for ``put``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import inf
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.outcome import PutBack, text_of
from haulier._engine.core.refusal import Refusal
from haulier._engine.core.restarts import GiveUp, Restarts
from haulier._engine.core.runs import Runs, progress_of
from haulier._engine.ticket import ID
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer

__all__ = ["Source"]


class Source(Runs):
    """The rules of one source: its line, its runs, its slots.

    ``tell_store`` and ``tell_supervisor`` send messages that name it by ``owner``.
    """

    def __init__(
        self,
        name: str,
        policy: SourcePolicy,
        draw: Callable[[float, float], float],
        tell_store: Callable[[Any], None],
        tell_supervisor: Callable[[Any], None],
    ) -> None:
        super().__init__(name, policy, draw, tell_store, tell_supervisor)
        self.restarts = Restarts(policy.restart)
        self.live = 0
        """Slots that are hired: source actors that live or are about to."""
        self.resting_until = -inf
        self.resting = False
        """A crashed source waits before it is started again."""
        self._woken_at = inf
        """The last moment for which the supervisor was told to wake it."""

    def apply(self, policy: SourcePolicy) -> None:
        """Take over another policy, at once."""
        super().apply(policy)
        self.restarts.policy = policy.restart

    # ---- what goes wrong ---------------------------------------------------------------------------------------------

    def fell(self, transfer: Transfer, now: float) -> None:
        """A slot dies with ``transfer`` in hand: delays count from now, whenever the supervisor comes to bury it."""
        if self.in_flight.get(transfer.ticket[ID]) is transfer:
            self.confirm(transfer, now)
            self.gate.ended(now)

    def crashed(
        self, transfer: Transfer | None, cause: BaseException, now: float, on: float, at: float | None = None
    ) -> None:
        """A slot died ``at`` (None: now), with ``transfer`` in hand, of which ``fell`` has been told, or none."""
        reason = f"worker crash: {text_of(cause)}"
        patch = {"error": reason, "error_type": type(cause).__name__}
        if transfer is not None and transfer.given_up:
            self.zombies -= 1  # its slot was counted off then
            return
        if transfer is not None and self.in_flight.get(transfer.ticket[ID]) is transfer:
            del self.in_flight[transfer.ticket[ID]]
            if transfer.fenced:
                self._note_end(now, on)
            else:
                transfer.fenced = transfer.cancelled = True
                self._tell_store(m.Moved("fail", self.name, transfer.ticket[ID], transfer, patch, on))
        self.live -= 1
        if self.refusal is not None:
            return
        if self.policy.on_crash == "error_queued":
            self.sweep(reason, type(cause).__name__, on)
        verdict = self.restarts.crashed(now if at is None else at, cause)
        if isinstance(verdict, GiveUp):
            self.go_down(verdict.reason, on)
        else:
            self.resting, self.resting_until = True, max(self.resting_until, verdict.at)
            # Not at ``verdict.at``: where an earlier rest was longer, and is over, nobody else would end this one.
            self._tell_supervisor(m.Wake(self.owner, self.resting_until, restart=True))

    def sweep(self, error: str, error_type: str, on: float) -> None:
        """Fail everything that waits."""
        for download_id in self.withdraw_all():
            self._trace("withdrawn", download_id)
            patch = {"error": error, "error_type": error_type}
            self._tell_store(m.Moved("fail", self.name, download_id, None, patch, on))

    def go_down(self, reason: str, on: float) -> None:
        """Take nothing any more until ``revive``."""
        self.refusal = Refusal("down", reason)
        self.sweep(f"source down: {reason}", "SourceDown", on)

    def close(self, on: float) -> None:
        """The engine closes: what waits is failed, or kept for the next start; what runs is asked to stop."""
        self.refusal = Refusal("closed", "the engine is closed")
        if self.keeps:
            for download_id in self.pending.copy():
                self._trace("kept", download_id)
        else:
            self.sweep("engine closed", "EngineClosed", on)
        for transfer in self.in_flight.values():
            transfer.cancelled = True

    def revive(self) -> None:
        """Take downloads again after having been down."""
        if self.refusal is not None and self.refusal.kind == "down":
            self.refusal = None
            self.resting, self.resting_until = False, -inf
            self.restarts.forget()

    def overdue(self, transfer: Transfer, now: float) -> str | float | None:
        """Whether an attempt took too long: the reason, or when to look again, or None when it is over."""
        if self.in_flight.get(transfer.ticket[ID]) is not transfer:
            return None
        if transfer.deadline is not None and now >= transfer.deadline:
            return f"timed out after {transfer.deadline - transfer.started_at:g} s"
        stall = self.policy.stall_timeout  # not for what is all here: a check, or a conversion, moves no bytes
        moved = progress_of(transfer)
        if moved != transfer.moved:
            transfer.moved, transfer.moved_at = moved, now
        elif stall is not None and moved[1] != 100.0 and now - transfer.moved_at >= stall:
            return f"stalled: no progress for {stall:g} s"
        return self._look_at(transfer, now)

    def give_up(self, transfer: Transfer, reason: str, error_type: str, now: float, on: float) -> None:
        """Give up on a run that is in flight: its record fails, its late report is fenced, its thread is a zombie."""
        transfer.given_up = True  # first: whoever is torn in here leaves what ``put_right`` lets go of
        del self.in_flight[transfer.ticket[ID]]
        self._trace("gave_up", transfer.ticket[ID], stamped=now)
        self.confirm(transfer, now)
        self.gate.ended(now)
        self.zombies += 1
        self.live -= 1
        if transfer.fenced:
            self._note_end(now, on)
        else:
            transfer.fenced = transfer.cancelled = True
            if self._resumes:
                self._keep(transfer, PutBack(0.0), now, on)
            else:
                patch = {"error": reason, "error_type": error_type}
                self._tell_store(m.Moved("fail", self.name, transfer.ticket[ID], transfer, patch, on))
        if self.refusal is None and self.zombies > self.policy.max_zombies:
            self.go_down(f"{self.zombies} hung impls, more than max_zombies allows", on)

    def put_right(
        self, unfinished: Collection[str], in_hand: Collection[Transfer], live: int, zombies: int, now: float, on: float
    ) -> list[str]:
        """Somebody was torn in the middle of a step: go by what is, whatever was counted.

        ``unfinished``: what the store says has not ended. ``in_hand``: what the slots have; so many of them are
        ``live``, so many are ``zombies``. What is in flight and in nobody's hand, or given up on, is let go of.

        Which of ``unfinished`` nobody has.
        """
        for transfer in [each for each in self.in_flight.values() if each.given_up or each not in in_hand]:
            self.fell(transfer, now)
            del self.in_flight[transfer.ticket[ID]]
            if transfer.fenced:
                self._note_end(now, on)
            transfer.fenced = transfer.cancelled = True
        self.gate.claims = sum(each.claimed for each in self.in_flight.values())
        self.live, self.zombies = live, zombies
        self.find_stranded(unfinished)
        self.remind(now)
        return self.lost(unfinished)

    def remind(self, now: float) -> None:
        """Tell the supervisor once more of all that it has to see to: it may have lost something."""
        if self.resting:
            self._tell_supervisor(m.Wake(self.owner, self.resting_until, restart=True))
        for download_id, tried in self.tried.items():
            if tried.backs_off:
                self._tell_supervisor(m.Retry(self.owner, download_id, tried.due_at))
        if self._guarded:
            for transfer in self.in_flight.values():
                self._tell_supervisor(m.Guard(self.owner, transfer, self._look_at(transfer, now)))

    # ---- slots -------------------------------------------------------------------------------------------------------

    def reserve(self) -> bool:
        """Count one more slot, if there is work for one more; the caller then has it hired."""
        lacks = self.lacks_slots
        self.live += lacks
        return lacks

    @property
    def lacks_slots(self) -> bool:
        """Whether somebody is to be hired: there is work for one more slot, and the source does not rest."""
        return not self.resting and self._has_work

    @property
    def _has_work(self) -> bool:
        """Whether there is work for one more slot than there are."""
        if self.refusal is not None or self.gate.is_closed:
            return False
        return self.live < self.limit and self.live < len(self.in_flight) + len(self.queue)

    def leave(self, opens_at: float, now: float, patience_s: float) -> bool:
        """Whether a slot that found nothing to do until ``opens_at`` may go; it is counted off then.

        While the source rests after the crash of another one, nobody would be hired in its place: it stays where there
        is work to come.
        """
        self.live -= 1
        if self.refusal is not None or self.live >= self.limit:
            return True
        if self.queue and now + patience_s < opens_at < inf and not self.resting:
            if opens_at != self._woken_at:
                self._tell_supervisor(m.Wake(self.owner, opens_at))  # somebody will be hired when the gate opens
                self._woken_at = opens_at
            return True
        # Counted off first and looked for work after: ``put`` does it the other way round, so one of the two sees.
        stays = self._has_work
        self.live += stays
        return not stays

    @property
    def is_overstaffed(self) -> bool:
        """Whether a slot that is free is one too many."""
        return self.refusal is not None or self.live > self.limit
