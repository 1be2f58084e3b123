"""How slots take downloads out of a mailbox, and report their outcomes.

All slots of a source take from one mailbox (Akka calls this a balancing pool). One of the waiting slots is the leader:
it alone watches the gate and the queue, and the others wait to become the leader. So new work wakes one slot, not all.
"""

from __future__ import annotations

import logging
import os
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from haulier._engine import messages as m
from haulier._engine.core.outcome import Outcome
from haulier._threads.lock import SafeLock
from haulier._threads.log import Log
from haulier.errors import StoreUnavailable
from haulier.events import Discarded
from haulier.transfer import Transfer

if TYPE_CHECKING:
    from haulier._engine.shells.mailbox import Mailbox

__all__ = ["Outlet"]

logger = Log("haulier.source")


class Outlet:
    """The way out of a mailbox. Slots call it on their own threads.

    ``slot.in_hand`` and ``slot.left`` change in the same step as the source does. So wherever a slot dies, the
    supervisor knows what died with it.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.leader = SafeLock()
        """Held by the one waiting slot that watches the gate and the queue."""
        self.is_dismissed = False
        """Whether the leader should leave, because the engine has too many waiting slots."""

    def report(self, transfer: Transfer, outcome: Outcome, slot: Any) -> Transfer | None:
        """Settle an attempt, and return the next download if one may start at once. Otherwise None."""
        mailbox = self._mailbox
        source = mailbox.source
        alive = True
        mailbox.lock.acquire()  # half the cost of 'with'
        try:
            mailbox.last_end = now = monotonic()
            on = time()
            taken: Transfer | float | None = source.attempts.settle_and_take(transfer, outcome, now, on)
            if taken is None:
                alive = source.attempts.settle(transfer, outcome, now, on)
                if alive and not transfer.fenced:
                    taken = source.attempts.take(now, on)
                slot.left = not alive
            following = slot.in_hand = taken if type(taken) is Transfer else None
        finally:
            mailbox.lock.release()
        if transfer.fenced and isinstance(outcome, m.Succeeded):
            self._discard(transfer, outcome.path)
        if following is None:
            self._mailbox.bell.ring()  # the leader may have waited for this slot to be free
        elif source.queue.ids and (self._mailbox.bell.armed or source.slots.live < source.slots.limit):
            self._mailbox.call_on_slots()
        return following

    def next_download(self, slot: Any) -> Transfer | None:
        """Wait for a download that may start, and return it. None: ``slot`` has left and must end."""
        if not self.leader.acquire(blocking=False) and not self._follow(slot):
            return None
        try:
            taken = self._lead(slot)
        finally:
            self.leader.release()
        if taken is not None and self._mailbox.source.queue.ids:
            self._mailbox.call_on_slots()
        return taken

    def _follow(self, slot: Any) -> bool:
        """Wait to become the leader. Returns False if ``slot`` has left instead."""
        mailbox = self._mailbox
        timeout_s = mailbox.patience_s if mailbox.idle.follower_may_wait(slot) else 0.0
        try:
            while not self.leader.acquire(timeout=timeout_s):
                with mailbox.lock:
                    slot.left = mailbox.source.leave(inf, monotonic(), mailbox.patience_s)
                    if slot.left:
                        return False
                timeout_s = mailbox.patience_s  # there is work for it
        finally:
            mailbox.idle.follower_wakes(slot)
        return True

    def _lead(self, slot: Any) -> Transfer | None:
        """Watch the gate and the queue until a download may start."""
        until = monotonic() + self._mailbox.patience_s
        told = inf
        self.is_dismissed = False
        while True:
            self._mailbox.bell.armed = True  # before looking: what is put after this look rings
            with self._mailbox.lock:
                now = monotonic()
                taken = self._mailbox.source.attempts.take(now, time())
                if isinstance(taken, Transfer):
                    slot.in_hand = taken
                    self._mailbox.bell.armed = False
                    return taken
                if now >= until or self.is_dismissed or self._mailbox.source.is_overstaffed:
                    # Disarmed before the slot is counted off: a later ``put`` hires another slot, or is seen below.
                    self._mailbox.bell.armed = False
                    patience_s = 0.0 if self.is_dismissed else self._mailbox.patience_s
                    self.is_dismissed = False
                    slot.left = self._mailbox.source.leave(taken, now, patience_s)
                    if slot.left:
                        return None
                    until = now + self._mailbox.patience_s
                    continue
            if taken not in (told, inf) and logger.isEnabledFor(logging.INFO):
                told = taken
                why = self._mailbox.source.gate.closed_by(now)
                logger.info("%s waits %.3f s for the end of its %s", self._mailbox.source.name, taken - now, why)
            self._mailbox.idle.leader_waits(self._mailbox)
            self._mailbox.bell.wait(min(taken, until) - now)
            self._mailbox.idle.leader_wakes(self._mailbox)

    def write_start(self, transfer: Transfer, slot: Any) -> bool:
        """Wait until the start of an attempt is on disk. Returns whether its impl may be called now.

        If not, the download has ended or is queued again, and ``slot`` has nothing in hand. If the store cannot write,
        the source holds its downloads back until it can.
        """
        mailbox, is_written = self._mailbox, True
        assert mailbox.ask_store is not None
        try:
            mailbox.ask_store(m.OnDisk())
        except StoreUnavailable:
            is_written = False
        with mailbox.lock:
            may_call = is_written and not (transfer.cancelled or transfer.given_up)
            if not may_call:
                if not is_written:
                    mailbox.intake.hold_back(unwell=True)  # otherwise it would be taken again at once
                slot.left = not mailbox.source.attempts.take_back(transfer, monotonic(), time())
                slot.in_hand = None
                mailbox.bell.ring()
        if not is_written:
            mailbox.tell_supervisor(m.StoreHealthChanged())  # ends the hold if the store writes again by now
        return may_call

    def _discard(self, transfer: Transfer, path: str) -> None:
        """Publish that an impl returned a file after its download had ended. Delete the file if the policy says so."""
        deleted = False
        if self._mailbox.source.policy.discard_cancelled:
            try:
                os.unlink(path)
                deleted = True
            except (OSError, ValueError) as error:
                logger.warning("could not delete a discarded file: %s", error)
        self._mailbox.tell_store(Discarded(transfer.download_id, transfer.source, path, deleted, time()))

    def confirm(self, transfer: Transfer) -> None:
        """Count delays between starts from now, when the impl is called."""
        with self._mailbox.lock:
            self._mailbox.bell.ring()  # first: as little as possible happens between the stamp and the call of the impl
            self._mailbox.source.attempts.confirm(transfer, monotonic())

    def slot_died(self, transfer: Transfer) -> None:
        """Note that the calling slot dies with ``transfer`` in hand."""
        with self._mailbox.lock:
            if self._mailbox.trace is not None:
                self._mailbox.trace.note("fell", source=self._mailbox.source.name, id=transfer.download_id)
            self._mailbox.source.attempts.slot_died(transfer, monotonic())

    def started(self, download_id: str) -> None:
        """Let the dispatch return that waits for this download: its impl is about to be called."""
        waiting = self._mailbox.intake.handoffs.pop(download_id, None)
        if waiting is not None:
            waiting.release()
