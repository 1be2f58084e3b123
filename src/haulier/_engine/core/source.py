"""One source, whole: its parts, and what becomes of it when something goes wrong.

The parts are ``queue`` (what waits), ``gate`` (when the next may start), ``slots`` (how many may run) and ``attempts``
(what runs). The shell calls every method under the source's one lock, but for ``queue.put``.

A step tells the store and the supervisor through two callables, in its middle, instead of returning a list of effects.
The order of the two matters for what an interrupted step leaves behind. The simulators pass callables of their own,
and so run the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from typing import Any, Final

from haulier._engine import messages as m
from haulier._engine.core import timeouts
from haulier._engine.core.attempts import Attempts
from haulier._engine.core.gate import Gate
from haulier._engine.core.outcome import text_of
from haulier._engine.core.queue import Queue
from haulier._engine.core.refusal import Refusal
from haulier._engine.core.slots import Slots
from haulier._engine.core.turns import EngineLimit
from haulier._engine.ticket import ID, Ticket
from haulier.errors import HaulierError, QueueFull
from haulier.policies import SourcePolicy
from haulier.transfer import Transfer

__all__ = ["Source"]

DROPPED: Final = "dropped: the queue was full, and it had waited longest"


class Source:
    """The rules of one source.

    ``draw(low, high)`` gives a factor for the jitter. ``tell_store`` and ``tell_supervisor`` send a message. Messages
    to the supervisor name the source by ``owner``.
    """

    def __init__(
        self,
        name: str,
        policy: SourcePolicy,
        draw: Callable[[float, float], float],
        tell_store: Callable[[Any], None],
        tell_supervisor: Callable[[Any], None],
    ) -> None:
        self.name = name
        self.owner: Any = self
        self.policy = policy
        self.tell_store = tell_store
        self.tell_supervisor = tell_supervisor
        self.refusal: Refusal | None = None
        """Why the source takes no downloads at all; None while it takes them."""
        self.is_durable = False
        """Whether what waits here survives the process."""
        self.writes_starts = False
        """Whether each start must be on disk before its impl is called: ``SourcePolicy.at_most_once``."""
        self.note: Callable[..., None] | None = None
        """Writes one line of the trace; None where nothing is traced."""
        self.turns: EngineLimit | None = None
        """The limit of the whole engine; None if it has none."""
        self.queue = Queue(name, tell_store)
        self.gate = Gate(policy, draw)
        self.slots = Slots(policy)
        self.attempts = Attempts(self)

    def apply(self, policy: SourcePolicy) -> None:
        """Apply another policy at once."""
        self.policy = policy
        self.writes_starts = self.is_durable and policy.at_most_once
        self.attempts.are_guarded = timeouts.is_guarded(policy)
        self.gate.apply(policy)
        self.slots.apply(policy)

    def trace(self, event: str, download_id: str, **more: float) -> None:
        """Write a line about a download to the trace, if there is one."""
        if self.note is not None:
            self.note(event, source=self.name, id=download_id, **more)

    # ---- what waits --------------------------------------------------------------------------------------------------

    def refuses(self, count: int) -> HaulierError | None:
        """Return the exception that ``count`` more downloads must raise; None if they may be queued.

        With ``on_full='drop_oldest'`` a full queue refuses nothing: ``trim`` makes room once they are queued.
        """
        if self.refusal is not None:
            return self.refusal.error(self.name)
        most, waiting = self.policy.max_queued, len(self.queue.pending)
        if most is None or waiting + count <= most:
            return None
        if count > most:
            return QueueFull(
                f"{count} downloads do not fit into the queue of source {self.name!r} at once: max_queued is {most}; "
                f"dispatch at most {most} at a time, or raise max_queued"
            )
        if self.policy.on_full == "drop_oldest":
            return None
        return QueueFull(
            f"the queue of source {self.name!r} is full: {waiting} downloads wait, max_queued is {most}; "
            "wait for some to end, or raise max_queued"
        )

    def trim(self, new: Collection[Ticket], on: float) -> None:
        """With ``on_full='drop_oldest'``, fail the downloads that have waited longest until the queue fits again.

        Called only once the ``new`` downloads are queued, so that a failing dispatch drops nothing. None of ``new`` is
        dropped.
        """
        most = self.policy.max_queued
        if most is None or self.policy.on_full != "drop_oldest" or self.refusal is not None:
            return
        for download_id in self.queue.oldest_beyond(most, {ticket[ID] for ticket in new}):
            if self.queue.withdraw(download_id):
                self._fail_waiting(download_id, DROPPED, "QueueFull", on)

    def sweep(self, error: str, error_type: str, on: float) -> None:
        """Fail every download that waits."""
        for download_id in self.queue.withdraw_all():
            self._fail_waiting(download_id, error, error_type, on)

    def _fail_waiting(self, download_id: str, error: str, error_type: str, on: float) -> None:
        """Tell the store that a download which was just withdrawn has failed. ``on``: UTC seconds."""
        self.trace("withdrawn", download_id)
        patch = {"error": error, "error_type": error_type}
        self.tell_store(m.Moved("fail", self.name, download_id, transfer=None, patch=patch, on=on))

    def cancel(self, download_id: str, on: float) -> bool:
        """Cancel a download that waits (it never starts) or runs (its result no longer counts)."""
        if self.queue.withdraw(download_id):
            self.trace("withdrawn", download_id)
            self.tell_store(m.Moved("cancel", self.name, download_id, transfer=None, patch=None, on=on))
            return True
        return self.attempts.cancel(download_id, on)

    # ---- what goes wrong ---------------------------------------------------------------------------------------------

    def crashed(
        self, transfer: Transfer | None, cause: BaseException, now: float, on: float, at: float | None = None
    ) -> None:
        """Bury a slot that died ``at`` (None: now) of ``cause``, with ``transfer`` in hand or with none.

        ``attempts.slot_died`` was called for the transfer before.
        """
        reason, error_type = text_of(cause, "worker crash: "), type(cause).__name__
        if transfer is not None and transfer.given_up:
            self.slots.bury_zombie()
            return
        if transfer is not None:
            self.attempts.fail_crashed(transfer, reason, error_type, now, on)
        self.slots.count_off()
        if self.refusal is not None:
            return
        if self.policy.on_crash == "error_queued":
            self.sweep(reason, error_type, on)
        too_many = self.slots.rest(now if at is None else at, cause)
        if too_many is not None:
            self.go_down(too_many.reason, on)
        else:
            # Until the end of the longest rest so far: if an earlier one was longer, no other Wake would end it.
            self.tell_supervisor(m.Wake(self.owner, self.slots.resting_until, restart=True))

    def go_down(self, reason: str, on: float) -> None:
        """Take no downloads until ``revive``, and fail those that wait."""
        self.refusal = Refusal("down", reason)
        self.sweep(f"source down: {reason}", "SourceDown", on)

    def revive(self) -> None:
        """Take downloads again after having been down."""
        if self.refusal is not None and self.refusal.kind == "down":
            self.refusal = None
            self.slots.forget_crashes()

    def close(self, on: float) -> None:
        """Close with the engine: what waits fails, or is kept for the next start; what runs is asked to stop."""
        self.refusal = Refusal("closed", "the engine is closed")
        if self.is_durable:
            for download_id in self.queue.pending.copy():
                self.trace("kept", download_id)
        else:
            self.sweep("engine closed", "EngineClosed", on)
        for transfer in self.attempts.in_flight.values():
            transfer.cancelled = True

    @property
    def keeps_queue(self) -> bool:
        """Whether the engine is closed, and the next engine on the same store continues what has not ended."""
        return self.is_durable and self.refusal is not None and self.refusal.kind == "closed"

    @property
    def resumes_interrupted(self) -> bool:
        """Whether runs that are asked to stop now are queued again at the next start."""
        return self.keeps_queue and self.policy.resume_interrupted

    def overdue(self, transfer: Transfer, now: float) -> str | float | None:
        """Check the time-outs of an attempt. Returns the reason why it is overdue, or when to look again, or None."""
        if self.attempts.in_flight.get(transfer.ticket[ID]) is not transfer:
            return None
        if transfer.claimed and self.writes_starts:  # its start is being written: its impl is not called yet
            return timeouts.begin(transfer, self.policy, now)
        return timeouts.overdue(transfer, self.policy, now)

    def give_up(self, transfer: Transfer, reason: str, error_type: str, now: float, on: float) -> None:
        """Give up on a run: its record fails, its thread is a zombie. Too many zombies bring the source down."""
        self.attempts.give_up(transfer, reason, error_type, now, on)
        zombies = self.slots.zombies
        if self.refusal is None and zombies > self.policy.max_zombies:
            self.go_down(f"{zombies} hung impls, more than max_zombies allows", on)

    def repair(
        self, unfinished: Collection[str], in_hand: Collection[Transfer], live: int, zombies: int, now: float, on: float
    ) -> list[str]:
        """Correct the counts and the queue after an interrupted step, from what can be seen.

        ``unfinished``: ids that have not ended, says the store. ``in_hand``: the attempts that slots run. ``live`` and
        ``zombies`` count the slots. An attempt that no slot runs, or that was given up on, is forgotten.

        Returns the ids among ``unfinished`` that neither wait nor run.
        """
        in_flight = self.attempts.in_flight
        for transfer in [each for each in in_flight.values() if each.given_up or each not in in_hand]:
            self.attempts.forget(transfer, now, on)
        if self.turns is not None:
            self.turns.recount(self.owner, len(in_flight))
        self.gate.claims = sum(each.claimed for each in in_flight.values())
        self.slots.live, self.slots.zombies = live, zombies
        self.queue.requeue_stranded(unfinished)
        self.remind(now)
        return self.missing(unfinished)

    def remind(self, now: float) -> None:
        """Send the supervisor every message that is due later again: it may have lost one."""
        if self.slots.resting:
            self.tell_supervisor(m.Wake(self.owner, self.slots.resting_until, restart=True))
        for download_id, tried in self.queue.tried.items():
            if tried.backs_off:
                self.tell_supervisor(m.Retry(self.owner, download_id, tried.due_at))
        if self.attempts.are_guarded:
            for transfer in self.attempts.in_flight.values():
                self.attempts.guard(transfer, now)

    def missing(self, download_ids: Iterable[str]) -> list[str]:
        """Return those of ``download_ids`` that neither wait nor run here."""
        return [each for each in download_ids if each not in self.queue.pending and each not in self.attempts.in_flight]

    # ---- hiring ------------------------------------------------------------------------------------------------------

    def reserve_slot(self) -> bool:
        """Count one more slot if there is work for it. Returns whether the caller must hire one."""
        lacks = self.lacks_slots
        if lacks:
            self.slots.count_on()
        return lacks

    @property
    def lacks_slots(self) -> bool:
        """Whether the source should hire: there is work for one more slot, and the source does not rest."""
        return not self.slots.resting and self._has_work

    @property
    def _has_work(self) -> bool:
        """Whether there is work for one more slot than there are."""
        if self.refusal is not None or self.gate.is_closed:
            return False
        if not self.slots.has_place_for(len(self.attempts.in_flight) + len(self.queue.ids)):
            return False
        return self.turns is None or self.turns.admits(self.owner)

    def pass_on_unless_wanted(self) -> None:
        """Pass on a place that the engine keeps for this source, if it can start nothing now or has no slot for it."""
        wanted = self.queue.ids and self.slots.live > len(self.attempts.in_flight)
        if self.turns is not None and not (wanted and self.refusal is None and not self.gate.is_closed):
            self.turns.pass_on(self.owner)

    def leave(self, opens_at: float, now: float, patience_s: float) -> bool:
        """Decide whether a slot that found nothing to start until ``opens_at`` may leave. Then it is counted off.

        While the source rests after a crash, no slot could be hired in its place. So it stays if there is work.
        """
        slots = self.slots
        slots.count_off()
        if self.refusal is not None or slots.live >= slots.limit:
            return True
        if self.queue.ids and now + patience_s < opens_at < inf and not slots.resting:
            if opens_at != slots.woken_at:
                self.tell_supervisor(m.Wake(self.owner, opens_at))  # a slot is hired when the gate opens
                slots.woken_at = opens_at
            return True
        # Count off first, then look for work. ``queue.put`` does it in the other order, so one of the two notices.
        stays = self._has_work
        if stays:
            slots.count_on()
        return not stays

    @property
    def is_overstaffed(self) -> bool:
        """Whether a free slot is one too many."""
        return self.refusal is not None or self.slots.is_overstaffed
