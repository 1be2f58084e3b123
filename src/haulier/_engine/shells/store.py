"""The record store: the one writer of records."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from threading import RLock, get_ident
from time import monotonic, time
from typing import Any, Final

from haulier._engine.core.ledger import Ledger
from haulier._engine.core.restarts import Restarts
from haulier._engine.messages import Listen, Succeeded, Sync, Unfinished
from haulier._engine.shells.actor import Mail
from haulier._engine.shells.backlog import BACKLOG, Ask, Backlog, answer_if_interrupted
from haulier._engine.shells.succession import Permanent
from haulier._threads.bell import Bell
from haulier._threads.locks import release_all
from haulier._threads.log import Log
from haulier.errors import StoreUnavailable
from haulier.events import Event
from haulier.policies import RestartPolicy

__all__ = ["Store", "StoreActor"]

logger = Log("haulier.store")

_REPEATABLE: Final = (Sync, Listen, Unfinished)
"""To apply them twice comes to the same."""


class _DrainBell(Bell):
    """A bell with nobody to wake."""

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
        """Called when a message could not be applied: what it told of may be lost."""
        self.failure: StoreUnavailable | None = None
        """Why nothing can be written just now, where that is to be."""
        self.awaited: tuple[str, str] | None = None
        """Source and id of a run that closes its own engine, and so ends after it: the news of that are yet to come."""
        self.restarts = Restarts(RestartPolicy())
        self.stopping = False
        self._writing = RLock()
        self._saying = RLock()
        self._lines: deque[tuple[int, str, str, BaseException | None]] = deque()
        """What there is to log, once messages may be applied by others again."""
        self._mail = Mail(self)

    def _listen(self) -> None:
        """Be patient only while nobody waits for news.

        After this the actor looks at its backlog once more; so a message whose teller saw the old patience is seen.
        """
        self._patience = 1 if self.ledger.table.is_watched else BACKLOG

    is_shut = False
    """Whether nothing is written down any more."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost of what it was told."""
        return True

    def get(self) -> Mail:
        """Wait until there is something to apply, or a record grows too old."""
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
        """Seconds until there is something to do that nobody tells of; None for never."""
        expiry = self.ledger.table.retained.next_expiry()
        return None if expiry is None else expiry - time()

    def stop(self) -> None:
        """Have the actor end once all is applied. After that a caller that asks applies its message itself."""
        self.stopping = True
        self._bell.armed = True
        self._bell.ring()

    def vacated(self) -> None:
        """Note that the actor died: until it has a successor, a caller that asks applies the messages itself."""
        self.running = False
        self.ledger.table.is_damaged = True  # nobody knows in the middle of what

    def let_go(self) -> None:
        """Release what the calling thread still holds as it ends, because a step was interrupted."""
        mine = get_ident()
        if self._drainer == mine:
            self._drainer = None
        if self._sayer == mine:
            self._sayer = None
        release_all(self._writing, self._saying)

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is to stop."""
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
        """Apply what has come together, in order."""
        backlog = self.backlog
        if self.is_applying:
            return
        mine = get_ident()
        with self._writing:
            self._drainer = mine  # no call in between, after which a signal handler might come that asks
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
        """Log what there is to say."""
        mine = get_ident()
        if self._sayer == mine:
            return  # a log handler that asks
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
        """Apply ``count`` messages. Each leaves the backlog only then: while that is empty, readers see what is."""
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
            finally:  # also where the log fails: a message is applied once
                backlog.popleft()

    def _look_after(self) -> None:
        """Whatever else a store has to do, once all is applied."""

    def _dead_letter(self, message: Any, failure: BaseException) -> None:
        """``message`` could not be applied. Raises what is meant for the caller who applies it: his Ctrl-C, say."""
        self.dead_letters += 1
        known = type(message) in self.ledger.handlers
        self.ledger.table.is_damaged |= known
        if isinstance(message, Succeeded) and message.following is not None:
            self.ledger.apply(message.following)  # the start that came with it is news of its own
        name = type(message).__name__
        self._lines.append((logging.WARNING, "dead letter: %s", name, failure if known else None))
        if not isinstance(failure, Exception) and threading.current_thread() is not self.thread:
            raise failure

    def _answer(self, message: Any) -> tuple[Any, BaseException | None]:
        """Apply a question. An exception goes to the thread that asked, unless it kills the store's thread."""
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
        """Each thing is taken out first: one that fails takes nothing else along."""
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
    """The thread that applies."""

    def __init__(self, store: Store) -> None:
        super().__init__("haulier-store", store, store)
        self._store = store

    def on_start(self) -> None:
        """Note that this thread applies the messages: from here on a caller that asks waits for it."""
        self._store.running = True
        if self._store.restarts.total:
            self._store.drain()  # its predecessor may have died before it said what it had done

    def on_receive(self, _: Any) -> None:
        """Apply what is there."""
        self._store.drain()
        if self._store.stopping and not self._store.backlog:
            self.leave()

    def on_end(self) -> None:
        """Hold nothing any more; then as every actor that is to have a successor."""
        self._store.let_go()
        super().on_end()
