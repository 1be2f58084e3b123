"""The mailbox of a supervised actor: it outlives the lives that read it, and whoever asks is answered.

pykka's own inbox is drained by a dying actor, and what is put in after that is never answered. Here one lock decides
whether a message comes before the end or after it, and what a life has in hand stays in sight until it is answered.
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

__all__ = ["Envelope", "Mailbox", "OwnStop", "Stop"]

Envelope: TypeAlias = Any
"""pykka's: ``message``, and ``reply_to``, a future or None."""


class OwnStop(Stop):
    """The actor stops itself (``self.stop()``), where that is to be the end of a life only."""


class Mailbox:
    """A pykka inbox with one reader at a time.

    ``stop_came()`` is called after a stop for good was put in; one that the reader tells itself is none, if
    ``own_stop_is_final`` is false.
    """

    def __init__(self, stop_came: Callable[[], None], *, own_stop_is_final: bool) -> None:
        self.reader: int | None = None
        """The thread (its ident) that reads."""
        self.stop_asked = False
        """A stop for good is queued, or in hand."""
        self._stop_came = stop_came
        self._own_stop_is_final = own_stop_is_final
        self._lock = threading.RLock()  # one that a finalizer may take, too, which runs in the middle of anything
        self._queue: deque[Envelope] = deque()
        self._in_hand: Envelope | None = None
        self._bell = Bell()
        self._closed: str | None = None

    # ---- for everybody -----------------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """How many messages are queued; named as with ``queue.Queue``, which pykka's own actors have."""
        return len(self._queue)

    def empty(self) -> bool:
        """Whether none is."""
        return not self._queue

    def is_held(self) -> bool:
        """Whether the calling thread is in the middle of a step here."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def put(self, envelope: Envelope) -> None:
        """Queue a message. Where no more are taken: ``pykka.ActorDeadError``, raised to a tell, answered to an ask."""
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
                _reply(envelope.reply_to, None)  # an actor that waited for its own stop would wait for itself
            self._stop_came()

    # ---- for the life that reads -------------------------------------------------------------------------------------

    def take(self) -> Envelope | None:
        """Wait for the next message, and have it in hand; None once the mailbox is closed."""
        while True:
            with self._lock:
                if self._closed is not None:
                    return None
                if self._queue:
                    # First seen, then removed: a thread that dies anywhere here leaves it in sight.
                    self._in_hand = self._queue[0]
                    self._queue.popleft()
                    return self._in_hand
                self._bell.armed = True
            self._bell.wait(None)

    def done(self, envelope: Envelope, response: Any) -> None:
        """Reply to the message in hand."""
        if envelope.reply_to is not None:
            _reply(envelope.reply_to, response)
        self._in_hand = None

    def done_with(self, envelope: Envelope, error: BaseException) -> None:
        """The same, with an exception that is for the asker."""
        _fail(envelope.reply_to, error, error.__traceback__)
        self._in_hand = None

    # ---- for whoever ends lives --------------------------------------------------------------------------------------

    def stop_is_next(self) -> bool:
        """Whether there is nothing to handle before the stop that was asked for, or whether it was taken already."""
        with self._lock:
            stops = [_is_final(envelope.message) for envelope in self._queue]
            return self.stop_asked and (stops[:1] == [True] or True not in stops)

    def drop_in_hand(self, why: str, cause: BaseException | None) -> None:
        """Whoever had a message in hand died of it, or is given up on: its asker is told. Twice is fine."""
        with self._lock:
            envelope = self._in_hand
            if envelope is None:
                return
            if self._queue and self._queue[0] is envelope:
                self._queue.popleft()
        _end(envelope, why, cause)
        self._in_hand = None

    def close(self, why: str) -> None:
        """Take no more messages. Those that are queued stay until ``reject``."""
        with self._lock:
            self._closed = self._closed or why
        self._bell.ring()

    def reject(self, *, but_stops: bool = False) -> int:
        """Answer what is queued in a closed mailbox; how many told messages are lost thereby. Twice is fine.

        ``but_stops``: leave those who wait for the stop, which is not quite over.
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
        """Take messages again."""
        with self._lock:
            self._closed = None

    def forked(self, why: str) -> None:
        """This is a copy in a forked child: nobody reads it, and whoever held the lock is not here."""
        self._lock = threading.RLock()
        self._closed = why


def _is_final(message: Any) -> bool:
    return isinstance(message, Stop) and not isinstance(message, OwnStop)


def _end(envelope: Envelope, why: str, cause: BaseException | None) -> None:
    """Answer what nobody will handle, as pykka does: a stop has come true, anything else has not."""
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
        pass  # it was answered before, by whoever gave up on this life


def _fail(reply_to: Any, error: BaseException, traceback: Any = None) -> None:
    try:
        reply_to.set_exception((type(error), error, traceback))
    except Full:
        pass
