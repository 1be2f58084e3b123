"""What is told and asked of the store: a deque, from which a message leaves only once it was applied.

So an empty deque means that what readers see is current. The actor is woken only where somebody listens, asks, or much
has come together: a record whose start is imminent, and which nobody looks at, is worth no wake-up.
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


class StoreDied(StoreUnavailable):
    """The store was interrupted before it could answer: how much it had done is unknown."""


class Ask(NamedTuple):
    """A question, and whom to tell the answer: what is replied, or what is raised."""

    message: Any
    reply: Callable[[tuple[Any, BaseException | None]], None]


class Backlog(Inbox):
    """The way in, on the callers' threads."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.backlog: deque[Any] = deque()
        self.running = False
        """Whether the actor runs. While it does not, a caller that asks applies the messages itself."""
        self.forked = False
        """This is a copy in a forked child: the actor's thread is not here."""
        self._patience = 1
        """Messages that may come together before the actor is woken: ``BACKLOG``, or one where somebody listens."""
        self._bell: Bell = Bell()
        self._drainer: int | None = None
        """The thread that applies messages just now."""
        self._sayer: int | None = None
        """The thread that logs just now."""

    @abstractmethod
    def drain(self) -> None:
        """Apply what has come together, in order."""

    @property
    def is_applying(self) -> bool:
        """Whether the calling thread is the one that applies messages just now."""
        return self._drainer == get_ident()

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
        asked = Ask(message, answers.put)
        self.backlog.append(asked)
        self._bell.ring()
        mine = threading.current_thread() is self.thread  # a finalizer again, while nothing is applied
        while True:
            if mine or not self.running or self._sayer is not None:
                self.drain()  # a thread that logs may be waiting for a log handler in which this very thread asks
            try:
                reply, error = answers.get(timeout=1.0)
            except Empty:
                # A reader at the interpreter's very end finds the actor's thread frozen.
                self.running = self.running and not sys.is_finalizing()
                if not self._is_lost(asked) or not answers.empty():
                    continue
                reply, error = answer_if_interrupted(message)
            if error is not None:
                raise error
            return reply

    def _is_lost(self, asked: Ask) -> bool:
        """Whether the thread that took a question off was interrupted before it could answer."""
        return all(each is not asked for each in self.backlog.copy()) and self._drainer is None

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
        self.backlog.append(Ask(Sync(), applied.put))
        self._bell.ring()
        if not self.running:
            self.drain()
        try:
            applied.get(timeout=ROOM_S)
        except Empty:
            pass


def answer_if_interrupted(message: Any) -> tuple[None, StoreUnavailable | None]:
    """The answer if the store's thread was interrupted in the middle of ``message``."""
    nothing_to_say = isinstance(message, (Sync, Listen))  # and it had been applied, or all before it
    return None, None if nothing_to_say else StoreDied("the record store died as it answered")
