"""The base of haulier's three kinds of pykka actor: no other code can stop them, and every death is reported."""

from __future__ import annotations

import sys
import threading
from abc import ABC, abstractmethod
from typing import Any

import pykka

from haulier._threads.log import Log
from haulier._threads.timers import sharpen_timers

__all__ = ["ActorCrashed", "EngineActor", "Inbox", "Mail"]

logger = Log("haulier.actors")


class Mail:
    """What pykka's loop takes from an inbox: a message, and the future to reply to (ours have none)."""

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any, reply_to: Any = None) -> None:
        self.message = message
        self.reply_to = reply_to


class Inbox(ABC):
    """A pykka inbox that only the engine feeds.

    A message that arrives through pykka comes from elsewhere (``pykka.ActorRegistry.broadcast``, say). It
    is a dead letter, and gets an answer so that the asking thread does not hang.
    """

    thread: threading.Thread | None = None
    """The thread of the actor that reads the inbox; None before it runs."""

    def put(self, envelope: Any) -> None:
        """Refuse a message from outside."""
        logger.warning("dead letter: %s was sent to an actor of haulier", type(envelope.message).__name__)
        if envelope.reply_to is not None:
            dead = pykka.ActorDeadError("haulier's actors take no messages from outside")
            envelope.reply_to.set_exception((type(dead), dead, None))

    def empty(self) -> bool:
        """Always True, so that pykka's teardown leaves the queue alone."""
        return True

    @abstractmethod
    def get(self) -> Mail:
        """Wait for the next message."""


class ActorCrashed(Exception):
    """A handler raised a ``BaseException`` that is not an ``Exception``. It is the cause of this one."""


class EngineActor(pykka.ThreadingActor):
    """An actor on a daemon thread. ``begin`` starts it outside pykka's registry, so ``stop_all`` does not reach it."""

    def __init__(self, name: str, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox
        self.actor_inbox = inbox  # type: ignore[assignment]  # a Mail is all that the loop needs of an Envelope
        self._name = name
        self.failure: BaseException | None = None
        self.left = False
        """Whether the actor ends in order. Otherwise it died."""
        self.thread = threading.Thread(target=self._actor_loop, name=name, daemon=True)

    def begin(self) -> None:
        """Start the thread. Raises ``RuntimeError`` if the system cannot start one."""
        self._inbox.thread = self.thread
        self.thread.start()

    def _actor_loop(self) -> None:
        try:
            sharpen_timers()
            super()._actor_loop()
        except BaseException as failure:  # even a thread that is killed is reported
            self.failure = failure
            if not sys.is_finalizing():
                logger.exception("%s died", self._name)
        finally:
            self.on_end()

    def _handle_receive(self, message: Any) -> Any:
        """Let any exception fail this actor alone. At a ``SystemExit`` pykka would stop all actors of the process."""
        try:
            return super()._handle_receive(message)
        except Exception:
            raise
        except BaseException as crash:
            raise ActorCrashed(type(crash).__name__) from crash

    def on_failure(self, _type: Any, value: BaseException | None, _traceback: Any) -> None:
        """Keep the cause for ``on_end``."""
        self.failure = value

    def _handle_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.failure = self.failure or exception_value
        try:
            super()._handle_failure(exception_type, exception_value, traceback)
        except Exception:  # pykka logs it, and a log handler failed
            self.actor_stopped.set()

    def leave(self) -> None:
        """End after this message."""
        self.left = True
        self.actor_stopped.set()

    def on_end(self) -> None:
        """Run last on the actor's thread, however it ends."""
