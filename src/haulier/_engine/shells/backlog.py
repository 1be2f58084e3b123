"""The messages to the store: a deque from which a message leaves only after it was applied.

So an empty deque means that readers see the current state. A told message wakes the actor only if somebody subscribes
or waits, or if many messages have collected. A wake-up for each would cost more than the message itself.
"""

from __future__ import annotations

import sys
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import get_ident
from time import sleep
from typing import Any, Final, NamedTuple

from haulier._engine.core.ledger import Ledger
from haulier._engine.messages import Listen, Sync
from haulier._engine.shells.actor import Inbox
from haulier._threads.bell import Bell
from haulier.errors import StoreUnavailable, forked

__all__ = ["BACKLOG", "Ask", "Backlog", "StoreDied", "answer_if_interrupted"]

BACKLOG: Final = 1024
"""How many messages may collect before the actor is woken: about a millisecond of work, for which the next reader
waits. With fewer, a burst of downloads spends its time on wake-ups."""

FULL: Final = 4 * BACKLOG
"""With more messages than this, a thread that writes records waits for the store. Four threads can write faster than
one applies, and nothing else slows them down."""

FLOOD: Final = 32 * BACKLOG
"""With more messages than this (some 10 MB), slots wait for the store, too. Only impls that never block get there."""

ROOM_S: Final = 1.0
"""The longest that a writer or a slot waits for room. A store that hangs (in a log handler, say) slows them without
stopping them: one of them may hold the lock that the handler waits for."""


class StoreDied(StoreUnavailable):
    """The store was interrupted before it could reply. How much it had applied is unknown."""


class Ask(NamedTuple):
    """An asked message. ``reply`` takes a pair: the reply, and the exception to raise instead (or None)."""

    message: Any
    reply: Callable[[tuple[Any, BaseException | None]], None]


class Backlog(Inbox):
    """How messages reach the store, on the callers' threads."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.backlog: deque[Any] = deque()
        self.running = False
        """Whether the actor runs. While it does not, a thread that asks applies the messages itself."""
        self.forked = False
        """Whether this is the copy in a forked child, which has no actor thread."""
        self._patience = 1
        """How many messages may collect before the actor is woken: ``BACKLOG``, or 1 if somebody listens."""
        self._bell: Bell = Bell()
        self._drainer: int | None = None
        """The ident of the thread that applies messages at present."""
        self._sayer: int | None = None
        """The ident of the thread that writes log lines at present."""

    @abstractmethod
    def drain(self) -> None:
        """Apply the messages in the backlog, in order."""

    @property
    def is_applying(self) -> bool:
        """Whether the calling thread applies messages at present."""
        return self._drainer == get_ident()

    def tell(self, message: Any) -> None:
        """Send ``message``. The store applies it after all earlier messages."""
        backlog = self.backlog
        backlog.append(message)
        if self._bell.armed and len(backlog) >= self._patience:
            self._bell.ring()

    def ask(self, message: Any) -> Any:
        """Send ``message``, and return the reply once it and all earlier messages are applied. Raises its exception."""
        if self.is_applying:
            return self.ledger.apply(message)  # called by a finalizer in the middle of a message
        if self.forked:
            raise forked()
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        asked = Ask(message, answers.put)
        self.backlog.append(asked)
        self._bell.ring()
        mine = threading.current_thread() is self.thread  # called by a finalizer between two messages
        while True:
            if mine or not self.running or self._sayer is not None:
                self.drain()  # the thread that logs may wait for a log handler that this thread is in
            try:
                reply, error = answers.get(timeout=1.0)
            except Empty:
                # At the interpreter's end the actor's thread is frozen.
                self.running = self.running and not sys.is_finalizing()
                if not self._is_lost(asked) or not answers.empty():
                    continue
                reply, error = answer_if_interrupted(message)
            if error is not None:
                raise error
            return reply

    def _is_lost(self, asked: Ask) -> bool:
        """Whether the thread that took ``asked`` was interrupted before it could reply."""
        return all(each is not asked for each in self.backlog.copy()) and self._drainer is None

    @property
    def is_full(self) -> bool:
        """Whether writers should wait: see ``wait_for_room``."""
        return len(self.backlog) > FULL

    def give_way(self) -> None:
        """Let other threads run. With more than ``FLOOD`` messages, wait until they are applied."""
        if len(self.backlog) > FLOOD:
            self.wait_for_room()
        else:
            sleep(0)

    def answers_within(self, seconds: float) -> bool:
        """Wait until all earlier messages are applied, for at most ``seconds``. Returns whether they are."""
        if self.is_applying or threading.current_thread() is self.thread or not self.running:
            return True  # the calling thread applies the messages itself
        applied: SimpleQueue[Any] = SimpleQueue()
        self.backlog.append(Ask(Sync(), applied.put))
        self._bell.ring()
        try:
            applied.get(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
        except Empty:
            return False
        return True

    def wait_for_room(self) -> None:
        """Return once all earlier messages are applied, or after ``ROOM_S``.

        Returns at once on the store's own thread, where a log handler or a finalizer may write.
        """
        if self.is_applying or threading.current_thread() is self.thread:
            return
        applied: SimpleQueue[Any] = SimpleQueue()
        self.backlog.append(Ask(Sync(), applied.put))
        self._bell.ring()
        if not self.running:
            self.drain()
        try:
            applied.get(timeout=ROOM_S)
        except Empty:
            pass


def answer_if_interrupted(message: Any) -> tuple[None, StoreUnavailable | None]:
    """The reply and the exception for the asking thread if the store was interrupted in the middle of ``message``."""
    has_no_reply = isinstance(message, (Sync, Listen))
    return None, None if has_no_reply else StoreDied("the record store died before it could reply")
