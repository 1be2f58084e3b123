"""A record store that writes down what it applies, and says nothing of it before: one transaction for a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from time import monotonic, time
from typing import Any, Final

import tenacity

from haulier._engine import messages as m
from haulier._engine.core.entry import Stored, phase_of
from haulier._engine.core.journal import Batch as Changes
from haulier._engine.core.journal import Journal, Key
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.retry import call_state
from haulier._engine.shells.backlog import Ask, StoreDied
from haulier._engine.shells.rows import attempt_in, history_row, written
from haulier._engine.shells.store import Store
from haulier._engine.storage.protocol import Batch, Change, GateRow, Row, Storage
from haulier.errors import StoreUnavailable
from haulier.policies import Retention
from haulier.records import Attempt, Phase

__all__ = ["DurableStore"]

logger = logging.getLogger("haulier.store")

WAIT: Final = tenacity.wait_exponential(multiplier=0.1, max=5.0)
"""Between two tries to write, while that fails."""

PROGRESS_S: Final = 1.0
"""The longest that progress is in memory alone. A commit for each patch would be one for every 2 KiB."""

PRUNE_S: Final = 60.0
"""Between two looks at whether the history is too long or too old."""

_OF_THE_DISK: Final = (m.History, m.Attempts, m.Written)
"""Questions that are answered when all is written."""

_DIED: Final = StoreDied("the record store died while it wrote")


class DurableStore(Store):
    """The store of an engine whose records outlive it."""

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        storage: Storage,
        retention: Retention,
        resumes: Callable[[str], bool],
    ) -> None:
        """``resumes(source)``: whether what is in flight there is queued again after an interruption."""
        super().__init__(ledger)
        self.storage = storage
        self.health_changed: Callable[[], None] = lambda: None
        """Called when ``failure`` has become something, or None again."""
        self._journal = journal
        self._retention = retention
        self._resumes = resumes
        self._ended = self.is_shut = False
        self._failures = 0
        self._retry_at = 0.0
        self._progress_at: float | None = None
        """When the progress that waits is to be written at the latest."""
        self._prune_at = monotonic()  # at once: a program that never runs for so long would never do it
        ledger.handlers[m.History] = lambda wanted: [history_row(row) for row in storage.history(*wanted)]
        ledger.handlers[m.Attempts] = self._attempts
        ledger.handlers[m.Written] = lambda _: self.is_whole

    def _attempts(self, wanted: m.Attempts) -> list[Attempt]:
        row = self.storage.find(*wanted)
        landed = None if row is None else attempt_in(row)
        attempts = {} if landed is None else {landed.attempt: landed}
        attempts.update((each.attempt, each) for each in self.storage.attempts(*wanted))
        return list(attempts.values())

    def _listen(self) -> None:
        """Whatever happens is news for the disk."""
        self._patience = 1

    def _drain_some(self, count: int) -> None:
        """Apply, write, and only then let go of it: readers who find something waiting ask, and so hear what is so."""
        replies: dict[int, tuple[Any, BaseException | None]] = {}
        failure: StoreUnavailable | None = _DIED
        applied = 0
        try:
            while applied < count:
                message = self.backlog[applied]
                applied += 1  # before: what cannot be applied is not applied again
                if type(message) is not Ask:
                    self._apply(message)
                elif not isinstance(message.message, _OF_THE_DISK):
                    replies[applied] = self._answer(message.message)
            self.ledger.table.expire()
            failure = self._write() if self._journal.batch.is_urgent else None
        except BaseException:
            self.ledger.table.is_damaged = True  # what was about to be applied is let go of, too
            self.ledger.refuse(written=True)
            raise
        finally:
            # All of them in one step: a message that is interrupted before its answer is not applied again.
            for number, message in enumerate(list(islice(iter(self.backlog.popleft, None), applied)), 1):
                if type(message) is Ask:
                    message.reply(self._reply(message.message, replies.get(number), failure))

    def _reply(
        self, message: Any, reply: tuple[Any, BaseException | None] | None, failure: StoreUnavailable | None
    ) -> tuple[Any, BaseException | None]:
        if isinstance(message, _OF_THE_DISK):
            return self._answer(message)
        if reply is None or (failure is not None and isinstance(message, m.Add)):
            return None, _again(failure or _DIED)
        return reply

    def _apply(self, message: Any) -> None:
        try:
            self.ledger.handlers[type(message)](message)
        except BaseException as error:
            self._dead_letter(message, error)

    def _write(self) -> StoreUnavailable | None:
        """Write the journal down. Where that fails, what is new is refused, and the rest is tried again later."""
        failure, tries = self.failure, False
        if self.is_shut:
            failure = StoreUnavailable("the record store has ended")
        elif not self._journal.batch:
            return None
        elif failure is None or monotonic() >= self._retry_at:
            tries, failure = True, self._try_to_write()
        if failure is not None:
            self.ledger.refuse(tries)
        return failure

    def _try_to_write(self) -> StoreUnavailable | None:
        ledger, journal = self.ledger, self._journal
        changes = journal.take_batch()
        failure: StoreUnavailable
        try:
            self.storage.write(_batch(ledger, journal, changes, self._resumes))
        except StoreUnavailable as error:
            journal.put_back(changes)
            failure = error
        except Exception as error:  # none that a storage should raise
            journal.put_back(changes)
            logger.exception("a batch could not be written")
            failure = StoreUnavailable(f"it could not be written: {error!r}")
        except BaseException:
            journal.put_back(changes)
            raise
        else:
            self._worked()
            return None
        self._failed(failure)
        return failure

    def _failed(self, failure: StoreUnavailable) -> None:
        self._failures += 1
        self._retry_at = monotonic() + WAIT(call_state(tenacity.Future(self._failures), self._failures, 0, 0, 0))
        first, self.failure = self.failure is None, failure
        if first:
            self.health_changed()
            logger.error("nothing can be written just now, and is tried again: %s", failure)

    def _worked(self) -> None:
        self._progress_at = None
        failures, self._failures = self._failures, 0
        if self.failure is not None:
            self.failure = None
            self.health_changed()
            logger.warning("writes again, after %d failures", failures)

    @property
    def is_whole(self) -> bool:
        """Whether all is on disk, or will be."""
        return not (self.is_shut and self._journal.batch)

    def _carry_out(self) -> None:
        if self.is_shut and self.ledger.table.events:
            self.ledger.table.events.clear()  # the next start will not know of it: it is not so
        super()._carry_out()

    def _look_after(self) -> None:
        """Write what could not be written, or need not be at once; and keep the history short."""
        if self.is_shut:
            return
        if self._ended:
            if not self._awaits:
                self._finish()
            return
        at = self._write_at()
        if at is not None and monotonic() >= at:
            self._write()
        if self.failure is None and monotonic() >= self._prune_at:
            self._prune_at = monotonic() + PRUNE_S
            self._prune()

    def _write_at(self) -> float | None:
        """When there is something to be written that nobody waits for (monotonic)."""
        page = self._journal.batch
        if self.is_shut or not page:
            return None
        if self.failure is not None:
            return self._retry_at
        if page.is_urgent:
            return 0.0
        if self._progress_at is None:
            self._progress_at = monotonic() + PROGRESS_S
        return self._progress_at

    def _prune(self) -> None:
        most, age_s = self._retention.max_history, self._retention.history_age
        if most is None and age_s is None:
            return
        try:
            self.storage.prune(most, None if age_s is None else time() - age_s)
        except StoreUnavailable as error:
            logger.warning("the history could not be shortened: %s", error)

    def _next_look(self) -> float | None:
        """Seconds until it has to look by itself."""
        look, at = super()._next_look(), self._write_at()
        if at is None:
            return look
        write = max(0.0, at - monotonic())
        return write if look is None else min(look, write)

    def end(self) -> None:
        """Write what is left, and close the storage."""
        try:
            super().end()
        finally:  # also where even that dies: it is not tried for ever
            with self._writing:
                self._ended = True
                self._finish()

    @property
    def _awaits(self) -> bool:
        """Whether something is to be written yet, though the actor has ended."""
        held = None if self.awaited is None else self.ledger.table.buckets.get(self.awaited[0], {}).get(self.awaited[1])
        return held is not None and phase_of(held) == Phase.RUNNING

    def _finish(self) -> None:
        """The actor has ended: write what is left, and close the storage unless something is to come yet."""
        failure: StoreUnavailable | None = None
        try:
            self._retry_at = 0.0
            failure = self._write()
        finally:
            if not self._awaits and not self.is_shut:
                if failure is not None:
                    logger.critical("the last changes could not be written: %s", failure)
                self.is_shut = True
                self.storage.close()


def _again(error: StoreUnavailable) -> StoreUnavailable:
    """An exception of its own for each who is told: one that is raised twice keeps the frames of both."""
    again = type(error)(*error.args)
    again.__cause__ = error
    return again


def _batch(ledger: Ledger, journal: Journal, changes: Changes, resumes: Callable[[str], bool]) -> Batch:
    """What a storage writes in one transaction for what has changed."""
    added, changed = [], []
    for key, (seq, ticket) in changes.new.items():
        stored = _stored(ledger, changes, key)
        if stored is not None:
            phase, ended_on, record, tried = written(stored)
            kept = ticket if ended_on is None else None  # nobody runs it again
            added.append(Row(*key, seq, phase, ended_on, record, kept, tried))
    for key in changes.touched:
        stored = _stored(ledger, changes, key)
        if stored is not None:
            phase, ended_on, record, tried = written(stored)
            changed.append(Change(*key, phase, ended_on, record, tried))
    return Batch(
        added=added,
        changed=changed,
        attempts=[Attempt(*each) for each in changes.attempts],
        unlisted=list(changes.gone),
        forgotten=list(changes.forgotten),
        gates=[GateRow(source, *journal.pacing_of(source), resumes(source)) for source in changes.paced],
    )


def _stored(ledger: Ledger, changes: Changes, key: Key) -> Stored | None:
    source, download_id = key
    return changes.gone.get(key) or ledger.table.buckets.get(source, {}).get(download_id)
