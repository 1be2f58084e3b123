"""The record store of a durable engine: it writes each batch in one transaction, and replies only afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from time import monotonic
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
from haulier._engine.shells.upkeep import Upkeep
from haulier._engine.storage.protocol import Batch, Change, GateRow, Row, Storage
from haulier.errors import StoreUnavailable
from haulier.policies import Retention
from haulier.records import Attempt, Phase

__all__ = ["DurableStore"]

logger = logging.getLogger("haulier.store")

WAIT: Final = tenacity.wait_exponential(multiplier=0.1, max=5.0)
"""How long to wait between two tries to write, while writing fails."""

PROGRESS_S: Final = 1.0
"""The longest that progress stays in memory alone. A commit for each patch would be one for every 2 KiB."""

_OF_THE_DISK: Final = (m.History, m.Attempts)
"""Messages that are answered once the batch is written."""

_DIED: Final = StoreDied("the record store died while it wrote")


class DurableStore(Store):
    """Writes a journal of changes to ``storage``. Messages leave the backlog once their changes are written."""

    def __init__(
        self,
        ledger: Ledger,
        journal: Journal,
        storage: Storage,
        retention: Retention,
        resumes: Callable[[str], bool],
    ) -> None:
        """``resumes(source)``: whether downloads of ``source`` that ran when the process died are queued again."""
        super().__init__(ledger)
        self.storage = storage
        self.health_changed: Callable[[], None] = lambda: None
        """Called when ``failure`` is set, and when it is cleared."""
        self._journal = journal
        self._resumes = resumes
        self._ended = self.is_shut = False
        self._failures = 0
        self._retry_at = 0.0
        self._progress_at: float | None = None
        """The latest time (monotonic) to write the progress that is in memory alone; None if there is none."""
        self.upkeep = Upkeep(lambda: self.storage, retention)
        ledger.handlers[m.History] = lambda wanted: [history_row(row) for row in storage.history(*wanted)]
        ledger.handlers[m.Attempts] = self._attempts
        ledger.handlers[m.OnDisk] = lambda _: None

    def _attempts(self, wanted: m.Attempts) -> list[Attempt]:
        row = self.storage.find(*wanted)
        first = None if row is None else attempt_in(row)
        attempts = {} if first is None else {first.attempt: first}
        attempts.update((each.attempt, each) for each in self.storage.attempts(*wanted))
        return list(attempts.values())

    def _listen(self) -> None:
        """Wake the actor for every message: each one has to be written."""
        self._patience = 1

    def _drain_some(self, count: int) -> None:
        """Apply ``count`` messages and write their changes; then remove them from the backlog and reply.

        A reader that finds the backlog not empty asks, and so sees only what is on disk.
        """
        replies: dict[int, tuple[Any, BaseException | None]] = {}
        failure: StoreUnavailable | None = _DIED
        applied = 0
        try:
            while applied < count:
                message = self.backlog[applied]
                applied += 1  # first: a message that fails is not applied again
                if type(message) is not Ask:
                    self._apply(message)
                elif not isinstance(message.message, _OF_THE_DISK):
                    replies[applied] = self._answer(message.message)
            self.ledger.table.expire()
            failure = self._write() if self._journal.batch.is_urgent else None
        except BaseException:
            self.ledger.table.is_damaged = True  # the message in hand leaves the backlog, too
            self.ledger.refuse(written=True)
            raise
        finally:
            # Remove all in one step, so that an interruption between two replies repeats no message.
            for number, message in enumerate(list(islice(iter(self.backlog.popleft, None), applied)), 1):
                if type(message) is Ask:
                    message.reply(self._reply(message.message, replies.get(number), failure))

    def _reply(
        self, message: Any, reply: tuple[Any, BaseException | None] | None, failure: StoreUnavailable | None
    ) -> tuple[Any, BaseException | None]:
        if isinstance(message, _OF_THE_DISK):
            return self._answer(message)
        if reply is None or (failure is not None and isinstance(message, (m.Add, m.OnDisk))):
            return None, _again(failure or _DIED)
        return reply

    def _apply(self, message: Any) -> None:
        try:
            self.ledger.handlers[type(message)](message)
        except BaseException as error:
            self._dead_letter(message, error)

    def _write(self) -> StoreUnavailable | None:
        """Write the batch, unless the next try is not due. If it fails, refuse new downloads and keep the rest."""
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
        except Exception as error:  # a bug in a storage, or memory ran out
            journal.put_back(changes)
            logger.exception("a batch could not be written")
            failure = StoreUnavailable(f"the storage failed: {error!r}")
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
            logger.error("the store cannot write; trying again: %s", failure)

    def _worked(self) -> None:
        self._progress_at = None
        failures, self._failures = self._failures, 0
        if self.failure is not None:
            self.failure = None
            self.health_changed()
            logger.warning("the store writes again, after %d failures", failures)

    def give_up(self) -> None:
        """Give up on a storage that does not answer, so that nobody waits for it any more."""
        logger.critical("the storage does not answer: closing the engine without it")
        self.storage.interrupt()

    @property
    def is_whole(self) -> bool:
        """Whether every change is on disk, or will be written yet."""
        return not (self.is_shut and self._journal.batch)

    def _carry_out(self) -> None:
        if self.is_shut and self.ledger.table.events:
            self.ledger.table.events.clear()  # they are not on disk, so the next start will not know of them
        super()._carry_out()

    def _look_after(self) -> None:
        """Write what failed before or could wait, and do the upkeep that is due."""
        if self.is_shut:
            return
        if self._ended:
            if not self._awaits:
                self._finish()
            return
        at = self._write_at()
        if at is not None and monotonic() >= at:
            self._write()
        if self.failure is None:
            self.upkeep.run()

    def _write_at(self) -> float | None:
        """When to write changes that no message waits for, in monotonic seconds; None if there are none."""
        batch = self._journal.batch
        if self.is_shut or not batch:
            return None
        if self.failure is not None:
            return self._retry_at
        if batch.is_urgent:
            return 0.0
        if self._progress_at is None:
            self._progress_at = monotonic() + PROGRESS_S
        return self._progress_at

    def _next_look(self) -> float | None:
        """Seconds until the next thing to do that no message announces; None if there is none."""
        now, expiry = monotonic(), super()._next_look()
        shrink_at = None if self.failure is not None or self._ended else self.upkeep.shrink_at
        looks = [max(0.0, at - now) for at in (self._write_at(), shrink_at) if at is not None]
        return min(looks if expiry is None else [expiry, *looks], default=None)

    def end(self) -> None:
        """Write what is left, and close the storage."""
        try:
            super().end()
        finally:  # even if that raises
            with self._writing:
                self._ended = True
                self._finish()

    @property
    def _awaits(self) -> bool:
        """Whether a download whose impl closed the engine still runs: its end must be written, too."""
        stored = (
            None if self.awaited is None else self.ledger.table.buckets.get(self.awaited[0], {}).get(self.awaited[1])
        )
        return stored is not None and phase_of(stored) == Phase.RUNNING

    def _finish(self) -> None:
        """Write what is left, and close the storage unless the end of a download is still awaited."""
        failure: StoreUnavailable | None = None
        try:
            self._retry_at = 0.0
            failure = self._write()
        finally:
            if not self._awaits and not self.is_shut:
                if failure is not None:
                    logger.critical("the last changes are lost, because they could not be written: %s", failure)
                self.is_shut = True
                self.storage.close()


def _again(error: StoreUnavailable) -> StoreUnavailable:
    """Copy an exception for each thread that gets it: raised twice, one object keeps the frames of both alive."""
    again = type(error)(*error.args)
    again.__cause__ = error
    return again


def _batch(ledger: Ledger, journal: Journal, changes: Changes, resumes: Callable[[str], bool]) -> Batch:
    """Make the batch that a storage writes in one transaction."""
    added, changed = [], []
    for key, (seq, ticket) in changes.new.items():
        stored = _stored(ledger, changes, key)
        if stored is not None:
            phase, ended_on, record, tried = written(stored)
            kept = ticket if ended_on is None else None  # it never runs again
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
