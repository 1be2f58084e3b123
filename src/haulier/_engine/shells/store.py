"""The record store: the one writer of records."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from time import monotonic, time
from typing import Any, Final

from haulier._engine.core.ledger import Ledger
from haulier._engine.core.restarts import Restarts
from haulier._engine.messages import Listen, Succeeded, Sync, Unfinished
from haulier._engine.shells.actor import Mail
from haulier._engine.shells.backlog import BACKLOG, Ask, Backlog, answer_if_interrupted
from haulier._engine.shells.succession import Permanent
from haulier._threads.bell import Bell
from haulier._threads.lock import SafeLock
from haulier._threads.locks import release_all
from haulier._threads.log import Log
from haulier.errors import StoreUnavailable
from haulier.events import Event
from haulier.policies import RestartPolicy

__all__ = ["Store", "StoreActor"]

logger = Log("haulier.store")

ANSWER_S: Final = 1.0
"""How long ``close`` waits for an answer of the storage even if its time-out is over, in seconds."""

_REPEATABLE: Final = (Sync, Listen, Unfinished)
"""Messages that may be applied twice."""


class _DrainBell(Bell):
    """A bell that applies the messages on the ringing thread, once the actor has ended."""

    def __init__(self, drain: Callable[[], None]) -> None:
        super().__init__()
        self.armed = True
        self.ring = drain  # type: ignore[method-assign]


class Store(Backlog):
    """Applies the messages of the backlog, mostly on the actor's thread."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.dead_letters = 0
        self.publish: Callable[[Event], None] = lambda _: None
        self._listen()
        self.ended: Callable[[], None] = lambda: None
        """Called when the actor has ended for good."""
        self.damaged: Callable[[], None] = lambda: None
        """Called when a message could not be applied, so a download may be lost."""
        self.failure: StoreUnavailable | None = None
        """Why a durable store cannot write at present; None if it can."""
        self.awaited: tuple[str, str] | None = None
        """Source and id of a download whose impl closed the engine. It ends after the engine does."""
        self.restarts = Restarts(RestartPolicy())
        self.stopping = False
        self._writing = SafeLock()
        self._saying = SafeLock()
        self._lines: deque[tuple[int, str, str, BaseException | None]] = deque()
        """Log lines, written once the lock is free: a log handler may call the engine."""
        self._mail = Mail(self)

    def _listen(self) -> None:
        """Let messages collect before the actor is woken, unless somebody waits for a download or an event.

        The actor looks at its backlog once more after this, so it misses no message that was sent meanwhile.
        """
        self._patience = 1 if self.ledger.table.is_watched else BACKLOG

    is_shut = False
    """Whether the storage is closed. Never true in memory."""

    @property
    def is_whole(self) -> bool:
        """Whether every change is kept. A store in memory loses none."""
        return True

    def get(self) -> Mail:
        """Wait until there is a message to apply, or a record is old enough to leave memory."""
        while not self.backlog and not self.stopping:
            self._bell.armed = True
            if self.backlog or self.stopping:
                break
            self._bell.wait(self._next_look())
            look = self._next_look()
            if look is not None and look <= 0:
                break
        return self._mail

    def _next_look(self) -> float | None:
        """Seconds until the next thing to do that no message announces; None if there is none."""
        expiry = self.ledger.table.retained.next_expiry()
        return None if expiry is None else expiry - time()

    def stop(self) -> None:
        """Let the actor end once all messages are applied. Later, a thread that asks applies its message itself."""
        self.stopping = True
        self._bell.armed = True
        self._bell.ring()

    def expect_answer(self, deadline: float | None, patience_s: float) -> None:
        """Give up on the storage if it has not answered at ``deadline`` (monotonic; None: never), as the engine closes.

        Wait at least ``patience_s``, or ``ANSWER_S`` if that is less: slots may have used up the time-out.
        """
        if deadline is None or self.answers_within(max(deadline - monotonic(), min(patience_s, ANSWER_S))):
            return
        self.give_up()

    def give_up(self) -> None:
        """Give up on a storage that does not answer. Does nothing in memory."""

    def vacated(self) -> None:
        """Note that the actor died. Until a successor runs, a thread that asks applies the messages itself."""
        self.running = False
        self.ledger.table.is_damaged = True  # it may have died in the middle of a message

    def let_go(self) -> None:
        """Release the locks that the calling thread still holds as it ends, because a step was interrupted."""
        mine = get_ident()
        if self._drainer == mine:
            self._drainer = None
        if self._sayer == mine:
            self._sayer = None
        release_all(self._writing, self._saying)

    def rest(self, seconds: float) -> None:
        """Wait ``seconds``, or until ``stop`` is called."""
        until = monotonic() + seconds
        while not self.stopping and (left := until - monotonic()) > 0:
            self._bell.armed = True
            if not self.stopping:
                self._bell.wait(left)

    def end(self) -> None:
        """End the store: from now on every message is applied on the thread that sends it."""
        self.running = False
        self.ended()
        self._bell = _DrainBell(self.drain)
        self.drain()

    def drain(self) -> None:
        """Apply the messages in the backlog, in order."""
        backlog = self.backlog
        if self.is_applying:
            return
        mine = get_ident()
        with self._writing:
            self._drainer = mine  # right after the lock: a signal handler in between might ask, and wait for itself
            try:
                while backlog:
                    self.ledger.table.now = time()
                    self._drain_some(min(len(backlog), BACKLOG))
                    self._carry_out()
                self.ledger.table.now = time()
                self.ledger.table.expire()
                self._look_after()
                self._carry_out()
                self._listen()
            finally:
                self._drainer = None
        self._say()

    def _say(self) -> None:
        """Write the log lines that have collected. One thread does it at a time, so they keep their order."""
        mine = get_ident()
        if self._sayer == mine:
            return  # called by a log handler
        while self._lines and self._saying.acquire(blocking=False):
            try:
                self._sayer = mine
                while self._lines:
                    level, text, about, error = self._lines.popleft()
                    logger.log(level, text, about, exc_info=error)
            finally:
                self._sayer = None
                self._saying.release()

    def _drain_some(self, count: int) -> None:
        """Apply ``count`` messages. Each leaves the backlog afterwards, so an empty backlog means: all is applied."""
        backlog, handlers = self.backlog, self.ledger.handlers
        for _ in range(count):
            message = backlog[0]
            if type(message) is Ask:
                reply = self._answer(message.message)
                backlog.popleft()
                message.reply(reply)
                continue
            try:
                handlers[type(message)](message)
            except BaseException as error:
                self._dead_letter(message, error)
            finally:  # even if the log fails, because a message is applied once
                backlog.popleft()

    def _look_after(self) -> None:
        """Do what else is due once all messages are applied. Nothing in memory."""

    def _dead_letter(self, message: Any, failure: BaseException) -> None:
        """Count and log a message that could not be applied.

        Raises ``failure`` if it is meant for the calling thread, such as its own KeyboardInterrupt.
        """
        self.dead_letters += 1
        known = type(message) in self.ledger.handlers
        self.ledger.table.is_damaged |= known
        if isinstance(message, Succeeded) and message.following is not None:
            self.ledger.apply(message.following)  # the start in the same message still counts
        name = type(message).__name__
        self._lines.append((logging.WARNING, "dead letter: %s", name, failure if known else None))
        if not isinstance(failure, Exception) and threading.current_thread() is not self.thread:
            raise failure

    def _answer(self, message: Any) -> tuple[Any, BaseException | None]:
        """Apply an asked message. Its exception goes to the asking thread, unless it kills the store's own thread."""
        try:
            reply = self.ledger.apply(message)
        except Exception as error:
            self.ledger.table.is_damaged |= isinstance(error, MemoryError)
            return None, error
        except BaseException as error:
            self.ledger.table.is_damaged = True
            if threading.current_thread() is not self.thread:
                return None, error
            if not isinstance(message, _REPEATABLE):
                return answer_if_interrupted(message)
            reply = self.ledger.apply(message)
        self._listen()
        return reply, None

    def _carry_out(self) -> None:
        """Repair the table if needed, call watchers, publish events and log dead letters.

        Each item is removed on its own, so one that fails does not take the others with it.
        """
        ledger = self.ledger
        if ledger.table.is_damaged:
            ledger.table.repair()
            self.damaged()
        while ledger.table.watches.due:
            callbacks, record = ledger.table.watches.due[0]
            while callbacks:
                try:
                    callbacks[0](record)
                except Exception as error:
                    self._lines.append((logging.ERROR, "a callback failed: %s", type(error).__name__, error))
                del callbacks[0]  # last: if interrupted before, it is called again, with the same record
            ledger.table.watches.due.popleft()
        while ledger.table.events:
            self.publish(ledger.table.events.popleft())
        while ledger.dead_letters:
            self.dead_letters += 1
            self._lines.append((logging.WARNING, "dead letter: %s", ledger.dead_letters.pop(0), None))


class StoreActor(Permanent):
    """The thread that applies the messages."""

    def __init__(self, store: Store) -> None:
        super().__init__("haulier-store", store, store)
        self._store = store

    def on_start(self) -> None:
        """Note that this thread applies the messages. From now on a thread that asks waits for it."""
        self._store.running = True
        if self._store.restarts.total:
            self._store.drain()  # its predecessor may have died before it published what it had applied

    def on_receive(self, _: Any) -> None:
        """Apply the backlog, and leave if the store stops."""
        self._store.drain()
        if self._store.stopping and not self._store.backlog:
            self.leave()

    def on_end(self) -> None:
        """Release the locks, then start a successor if one is needed."""
        self._store.let_go()
        super().on_end()
