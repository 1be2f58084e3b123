"""The record store: the one writer of records.

Its mailbox is a deque, and a message leaves it only after it was applied: an empty deque means that what readers see
is current. The actor is woken only where somebody listens, asks, or much has come together: a record whose start is
imminent, and which nobody looks at, is worth no wake-up.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from time import monotonic, sleep, time
from typing import Any, Final, NamedTuple

from haulier.actors.actor import Inbox, Mail
from haulier.actors.bell import Bell
from haulier.actors.succession import Permanent
from haulier.core.ledger import Ledger
from haulier.core.restarts import Restarts
from haulier.errors import StoreUnavailable, forked
from haulier.events import Event
from haulier.log import Log
from haulier.messages import Landed, Sync
from haulier.policies import RestartPolicy

__all__ = ["Store", "StoreActor"]

logger = Log("haulier.store")

BACKLOG: Final = 1024
"""Messages that may come together before the actor is woken: about a millisecond's work, for which the next reader
would have to wait. Fewer, and a burst of downloads spends its time on wake-ups."""

FULL: Final = 4 * BACKLOG
"""Messages beyond which who writes records waits for the store: four threads write faster than one applies, and nothing
else holds them back."""

FLOOD: Final = 32 * BACKLOG
"""Messages beyond which slots wait, too, after downloads that never blocked: the news of so many more, some 10 MB. A
daemon that downloads anything does not come near."""

ROOM_S: Final = 1.0
"""The longest that a writer or a slot waits for room. So a store that is held up, by a log handler that hangs, say,
slows them down and hangs none: one of them may have the very lock that the handler waits for."""


class _Ask(NamedTuple):
    message: Any
    reply: Callable[[tuple[Any, BaseException | None]], None]


class _DrainBell(Bell):
    """A bell with nobody to wake."""

    def __init__(self, drain: Callable[[], None]) -> None:
        super().__init__()
        self.armed = True
        self.ring = drain  # type: ignore[method-assign]


class Store(Inbox):
    """The store's mailbox: where messages are told and asked."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.backlog: deque[Any] = deque()
        self.dead_letters = 0
        self.publish: Callable[[Event], None] = lambda _: None
        self._patience = 1
        """Messages that may come together before the actor is woken: ``BACKLOG``, or one where somebody listens."""
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
        self.running = False
        """Whether the actor is there; while it is not, whoever asks applies."""
        self.stopping = False
        self.forked = False
        """This is a copy in a forked child: the actor's thread is not here."""
        self._bell: Bell = Bell()
        self._writing = Lock()
        self._saying = Lock()
        self._lines: deque[tuple[int, str, str, BaseException | None]] = deque()
        """What there is to log, once messages may be applied by others again."""
        self._drainer: int | None = None
        """The thread that applies messages just now."""
        self._mail = Mail(self)

    def _listen(self) -> None:
        """Be patient only while nobody waits for news.

        After this the actor looks at its backlog once more; so a message whose teller saw the old patience is seen.
        """
        self._patience = 1 if self.ledger.is_watched else BACKLOG

    def tell(self, message: Any) -> None:
        """Have ``message`` applied after all that was told before."""
        backlog = self.backlog
        backlog.append(message)
        if self._bell.armed and len(backlog) >= self._patience:
            self._bell.ring()

    def ask(self, message: Any) -> Any:
        """The reply to ``message``, once it and all that was told before have been applied."""
        if self.is_applying:
            return self.ledger.apply(message)  # a finalizer that runs while a message is applied
        if self.forked:
            raise forked()
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.backlog.append(_Ask(message, answers.put))
        self._bell.ring()
        mine = threading.current_thread() is self.thread  # a finalizer again, while nothing is applied
        while True:
            if mine or not self.running or self._saying.locked():
                self.drain()  # whoever logs may be waiting for a log handler in which this very thread asks
            try:
                reply, error = answers.get(timeout=1.0)
            except Empty:
                # A reader at the interpreter's very end finds the actor's thread frozen.
                self.running = self.running and not sys.is_finalizing()
                continue
            if error is not None:
                raise error
            return reply

    is_shut = False
    """Whether nothing is written down any more."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost of what it was told."""
        return True

    @property
    def is_full(self) -> bool:
        """Whether more has come together than may: see ``wait_for_room``."""
        return len(self.backlog) > FULL

    def give_way(self) -> None:
        """Let others go on; where far too much has come together, until it is applied."""
        if len(self.backlog) > FLOOD:
            self.wait_for_room()
        else:
            sleep(0)

    def wait_for_room(self) -> None:
        """Come back once all that was told before is applied, in ``ROOM_S`` at the latest.

        The store's own thread, on which a log handler or a finalizer may write, does not wait for itself.
        """
        if self.is_applying or threading.current_thread() is self.thread:
            return
        applied: SimpleQueue[Any] = SimpleQueue()
        self.backlog.append(_Ask(Sync(), applied.put))
        self._bell.ring()
        if not self.running:
            self.drain()
        try:
            applied.get(timeout=ROOM_S)
        except Empty:
            pass

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
        expiry = self.ledger.next_expiry()
        return None if expiry is None else expiry - time()

    def stop(self) -> None:
        """Have the actor end once all is applied; from then on whoever asks applies."""
        self.stopping = True
        self._bell.armed = True
        self._bell.ring()

    def vacated(self) -> None:
        """The actor died: until there is another one, whoever asks applies."""
        self.running = False

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is to stop."""
        until = monotonic() + seconds
        while not self.stopping and (left := until - monotonic()) > 0:
            self._bell.armed = True
            if not self.stopping:
                self._bell.wait(left)

    def end(self) -> None:
        """The actor has ended: from now on whoever rings applies."""
        self.running = False
        self.ended()
        self._bell = _DrainBell(self.drain)
        self.drain()

    @property
    def is_applying(self) -> bool:
        """Whether the calling thread is the one that applies messages just now."""
        return self._drainer == get_ident()

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
                    self.ledger.now = time()
                    self._drain_some(min(len(backlog), BACKLOG))
                    self._carry_out()
                self.ledger.now = time()
                self.ledger.expire()
                self._look_after()
                self._carry_out()
                self._listen()
            finally:
                self._drainer = None
        self._say()

    def _say(self) -> None:
        """Log what there is to say."""
        while self._lines and self._saying.acquire(blocking=False):
            try:
                while self._lines:
                    level, text, about, error = self._lines.popleft()
                    logger.log(level, text, about, exc_info=error)
            finally:
                self._saying.release()

    def _drain_some(self, count: int) -> None:
        """Apply ``count`` messages. Each leaves the backlog only then: while that is empty, readers see what is."""
        backlog, handlers = self.backlog, self.ledger.handlers
        for _ in range(count):
            message = backlog[0]
            if type(message) is _Ask:
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
        if known:
            self.damaged()
        if isinstance(message, Landed) and message.following is not None:
            self.ledger.apply(message.following)  # the start that came with it is news of its own
        name = type(message).__name__
        self._lines.append((logging.WARNING, "dead letter: %s", name, failure if known else None))
        if not isinstance(failure, Exception) and threading.current_thread() is not self.thread:
            raise failure

    def _answer(self, message: Any) -> tuple[Any, BaseException | None]:
        """The reply. What is raised goes to who asked: its objects, or its Ctrl-C, may have raised it.

        A ``Sync`` runs nobody's code. Where the store's own thread is torn in the middle of one, that is not for its
        asker, for whom all is applied by then.
        """
        try:
            reply = self.ledger.apply(message)
        except BaseException as error:
            return None, None if type(message) is Sync and threading.current_thread() is self.thread else error
        self._listen()
        return reply, None

    def _carry_out(self) -> None:
        """Each thing is taken out first: one that fails takes nothing else along."""
        ledger = self.ledger
        while ledger.watches.due:
            callback, record = ledger.watches.due.popleft()
            try:
                callback(record)
            except Exception as error:
                self._lines.append((logging.ERROR, "a callback failed: %s", type(error).__name__, error))
        while ledger.events:
            self.publish(ledger.events.popleft())
        while ledger.dead_letters:
            self.dead_letters += 1
            self._lines.append((logging.WARNING, "dead letter: %s", ledger.dead_letters.pop(0), None))


class StoreActor(Permanent):
    """The thread that applies."""

    def __init__(self, store: Store) -> None:
        super().__init__("haulier-store", store, store)
        self._store = store

    def on_start(self) -> None:
        """From here on whoever asks waits for this thread."""
        self._store.running = True
        if self._store.restarts.total:
            self._store.drain()  # its predecessor may have died before it said what it had done

    def on_receive(self, _: Any) -> None:
        """Apply what is there."""
        self._store.drain()
        if self._store.stopping and not self._store.backlog:
            self.leave()
