"""``ChildMailbox``: the mailbox of a supervised actor. It outlives the actor's lives, and every ask gets an answer.

A dying pykka actor drains its inbox, and messages put in after that are never answered. Here one lock decides whether a
message comes before the end or after it, and the message that a life handles stays visible until it is answered.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import Full
from typing import Any, TypeAlias

import pykka
from pykka.messages import _ActorStop as Stop

from haulier._threads.bell import Bell
from haulier._threads.lock import SafeLock

__all__ = ["ChildMailbox", "Envelope", "OwnStop", "Stop"]

Envelope: TypeAlias = Any
"""pykka's envelope: ``message``, and ``reply_to``, which is a future or None."""


class OwnStop(Stop):
    """The actor stopped itself (``self.stop()``), and that ends only this life."""


class ChildMailbox:
    """A pykka inbox with one reader at a time.

    ``stop_came()`` is called after a final stop was put in. A stop that the reader tells itself is final only if
    ``own_stop_is_final``.
    """

    def __init__(self, stop_came: Callable[[], None], *, own_stop_is_final: bool) -> None:
        self.reader: int | None = None
        """The ident of the thread that reads."""
        self.stop_asked = False
        """Whether a final stop is queued or being handled."""
        self._stop_came = stop_came
        self._own_stop_is_final = own_stop_is_final
        self._lock = SafeLock()  # reentrant: a finalizer may run in the middle of a step and put a message
        self._queue: deque[Envelope] = deque()
        self._in_hand: Envelope | None = None
        self._bell = Bell()
        self._closed: str | None = None

    # ---- on any thread -----------------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Return how many messages are queued. The name is that of ``queue.Queue``, which pykka uses."""
        return len(self._queue)

    def empty(self) -> bool:
        """Whether no message is queued."""
        return not self._queue

    def is_held(self) -> bool:
        """Whether the calling thread holds the mailbox's lock."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def put(self, envelope: Envelope) -> None:
        """Queue a message. If the mailbox is closed, a tell raises ``ActorDeadError``, and an ask's future gets it."""
        stops = isinstance(envelope.message, Stop)
        mine = stops and self.reader == threading.get_ident()
        if mine and envelope.reply_to is None and not self._own_stop_is_final:
            stops, envelope.message = False, OwnStop()
        with self._lock:
            closed = self._closed
            if closed is None:
                self._queue.append(envelope)
                self.stop_asked |= stops
        if closed is not None:
            if envelope.reply_to is None:
                raise pykka.ActorDeadError(closed)
            _fail(envelope.reply_to, pykka.ActorDeadError(closed))
            return
        self._bell.ring()
        if stops:
            if mine and envelope.reply_to is not None:
                _reply(envelope.reply_to, None)  # an actor that waited for its own stop would deadlock
            self._stop_came()

    # ---- for the life that reads -------------------------------------------------------------------------------------

    def take(self) -> Envelope | None:
        """Wait for the next message and return it; None once the mailbox is closed."""
        while True:
            with self._lock:
                if self._closed is not None:
                    return None
                if self._queue:
                    # Kept first, then removed: if the thread dies between the two, the message is not lost.
                    self._in_hand = self._queue[0]
                    self._queue.popleft()
                    return self._in_hand
                self._bell.armed = True
            self._bell.wait(None)

    def done(self, envelope: Envelope, response: Any) -> None:
        """Reply to the message that ``take`` returned."""
        if envelope.reply_to is not None:
            _reply(envelope.reply_to, response)
        self._in_hand = None

    def done_with(self, envelope: Envelope, error: BaseException) -> None:
        """Reply to the message that ``take`` returned with an exception, which the asker gets."""
        _fail(envelope.reply_to, error, error.__traceback__)
        self._in_hand = None

    # ---- for the keeper --------------------------------------------------------------------------------------

    def stop_is_next(self) -> bool:
        """Whether a final stop was asked for and no message is queued before it."""
        with self._lock:
            stops = [_is_final(envelope.message) for envelope in self._queue]
            return self.stop_asked and (stops[:1] == [True] or True not in stops)

    def drop_in_hand(self, why: str, cause: BaseException | None) -> None:
        """Answer the message being handled with ``ActorDeadError``: its life died or was given up on.

        May be called twice.
        """
        with self._lock:
            envelope = self._in_hand
            if envelope is None:
                return
            if self._queue and self._queue[0] is envelope:
                self._queue.popleft()
        _end(envelope, why, cause)
        self._in_hand = None

    def close(self, why: str) -> None:
        """Refuse messages from now on. Those that are queued stay until ``reject``."""
        with self._lock:
            self._closed = self._closed or why
        self._bell.ring()

    def reject(self, *, but_stops: bool = False) -> int:
        """Answer every message queued in a closed mailbox. Returns how many told messages are lost.

        May be called twice. ``but_stops``: leave the stops in the queue, because the stop has not completed yet.
        """
        lost = 0
        kept: deque[Envelope] = deque()
        for envelope in self._queue.copy():  # answered first, then removed: see ``take``
            if but_stops and isinstance(envelope.message, Stop):
                kept.append(envelope)
                continue
            lost += envelope.reply_to is None and not isinstance(envelope.message, Stop)
            _end(envelope, self._closed or "", None)
        with self._lock:
            self._queue = kept
        return lost

    def open(self) -> None:
        """Accept messages again."""
        with self._lock:
            self._closed = None

    def forked(self, why: str) -> None:
        """Close this copy in a forked child. No thread reads it, and the lock's holder does not exist here."""
        self._lock = SafeLock()
        self._closed = why


def _is_final(message: Any) -> bool:
    return isinstance(message, Stop) and not isinstance(message, OwnStop)


def _end(envelope: Envelope, why: str, cause: BaseException | None) -> None:
    """Answer a message that will not be handled. As in pykka, a stop succeeds, and any other ask fails."""
    if envelope.reply_to is None:
        return
    if isinstance(envelope.message, Stop):
        _reply(envelope.reply_to, None)
        return
    dead = pykka.ActorDeadError(why)
    dead.__cause__ = cause
    _fail(envelope.reply_to, dead)


def _reply(reply_to: Any, response: Any) -> None:
    try:
        reply_to.set(response)
    except Full:
        pass  # it was answered when the keeper gave up on this life


def _fail(reply_to: Any, error: BaseException, traceback: Any = None) -> None:
    try:
        reply_to.set_exception((type(error), error, traceback))
    except Full:
        pass
