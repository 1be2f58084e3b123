"""The mailbox of a source: it outlives the actors that take from it, so a crash loses nothing that is queued.

As many source actors as the source has slots take from one mailbox (Akka's balancing pool). One of those that wait is
the leader: it alone watches the gate and the queue, the others wait for its place. So a ring wakes one, not all.
"""

from __future__ import annotations

import logging
import os
from math import inf
from time import monotonic, time
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.outcome import Outcome
from haulier._engine.shells.intake import Intake
from haulier._threads.log import Log
from haulier.events import Discarded
from haulier.transfer import Transfer

__all__ = ["Mailbox"]

logger = Log("haulier.source")


class Mailbox(Intake):
    """The way out: all that slots do with it, on their own threads.

    What a slot has in hand, and whether it has left, it learns in the very step in which the source does: wherever it
    dies then, its source and its supervisor know what died with it.
    """

    def report(self, transfer: Transfer, outcome: Outcome, slot: Any) -> Transfer | None:
        """An impl returned to ``slot``. The next download, if one may start at once; None also where it has left."""
        source = self.source
        alive = True
        self.lock.acquire()  # half as dear as 'with'
        try:
            self._last_end = now = monotonic()
            on = time()
            taken: Transfer | float | None = source.attempts.settle_and_take(transfer, outcome, now, on)
            if taken is None:
                alive = source.attempts.settle(transfer, outcome, now, on)
                if alive and not transfer.fenced:
                    taken = source.attempts.take(now, on)
                slot.left = not alive
            following = slot.in_hand = taken if type(taken) is Transfer else None
        finally:
            self.lock.release()
        if transfer.fenced and isinstance(outcome, m.Succeeded):
            self._discard(transfer, outcome.path)
        if following is None:
            self._bell.ring()  # the leader may have waited for this slot to be free
        elif source.queue.ids and (self._bell.armed or source.slots.live < source.slots.limit):
            self.call_on_slots()
        return following

    def next_download(self, slot: Any) -> Transfer | None:
        """Wait for a download that may start. None: ``slot`` has left, and is to end."""
        while not self._leader.acquire(timeout=self._patience_s):
            with self.lock:
                slot.left = self.source.leave(inf, monotonic(), self._patience_s)
                if slot.left:
                    return None
        try:
            taken = self._lead(slot)
        finally:
            self._leader.release()
        if taken is not None and self.source.queue.ids:
            self.call_on_slots()
        return taken

    def _lead(self, slot: Any) -> Transfer | None:
        """Watch the gate and the queue until a download may start."""
        until = monotonic() + self._patience_s
        told = inf
        while True:
            self._bell.armed = True  # before looking: what is put after this look rings
            with self.lock:
                now = monotonic()
                taken = self.source.attempts.take(now, time())
                if isinstance(taken, Transfer):
                    slot.in_hand = taken
                    self._bell.armed = False
                    return taken
                if now >= until or self.source.is_overstaffed:
                    # Disarmed before it is counted off: whoever puts from now on has somebody hired, or is seen.
                    self._bell.armed = False
                    slot.left = self.source.leave(taken, now, self._patience_s)
                    if slot.left:
                        return None
                    until = now + self._patience_s
                    continue
            if taken not in (told, inf) and logger.isEnabledFor(logging.INFO):
                told = taken
                why = self.source.gate.closed_by(now)
                logger.info("%s waits %.3f s for the end of its %s", self.source.name, taken - now, why)
            self._bell.wait(min(taken, until) - now)

    def _discard(self, transfer: Transfer, path: str) -> None:
        """A file landed for a download that had ended before."""
        deleted = False
        if self.source.policy.discard_cancelled:
            try:
                os.unlink(path)
                deleted = True
            except (OSError, ValueError) as error:
                logger.warning("could not delete a discarded file: %s", error)
        self._tell_store(Discarded(transfer.download_id, transfer.source, path, deleted, time()))

    def confirm(self, transfer: Transfer) -> None:
        """The impl is called now: delays between starts count from here."""
        with self.lock:
            self._bell.ring()  # first: between the stamp and the call there is to be as little as can be
            self.source.attempts.confirm(transfer, monotonic())

    def fell(self, transfer: Transfer) -> None:
        """The calling slot dies with ``transfer`` in hand."""
        with self.lock:
            if self.trace is not None:
                self.trace.note("fell", source=self.source.name, id=transfer.download_id)
            self.source.attempts.slot_died(transfer, monotonic())

    def started(self, download_id: str) -> None:
        """The impl is about to be called: let the dispatch that waits for it go."""
        waiting = self.handoffs.pop(download_id, None)
        if waiting is not None:
            waiting.release()
