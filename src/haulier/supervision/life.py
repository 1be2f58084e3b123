"""One life of a supervised actor: a thread, the actor on it, and how it ended."""

from __future__ import annotations

import threading
import traceback
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pykka

from haulier._engine.core.restarts import GiveUp, RestartAt
from haulier._threads.log import Log
from haulier.supervision.mailbox import Envelope, OwnStop, Stop

if TYPE_CHECKING:
    from haulier.supervision.child import Child

__all__ = ["Life", "plain", "supervised"]

logger = Log("haulier.supervision")


class _Lasting:
    """An attribute that pykka gives to every actor anew, and that here is the child's: the same in all its lives."""

    def __init__(self, of: Callable[[Child], Any]) -> None:
        self._of = of

    def __get__(self, actor: Any, _: type | None = None) -> Any:
        return self if actor is None else self._of(actor._haulier_child)

    def __set__(self, actor: Any, value: Any) -> None:
        """Leave it: pykka's ``Actor.__init__`` sets what a new actor would have."""


class _Supervised(pykka.ThreadingActor):
    """What is laid over an actor's class, so that already its ``__init__`` finds the mailbox and the ref that last."""

    _haulier_child: ClassVar[Child]
    actor_urn: Any = _Lasting(lambda child: child.urn)
    actor_inbox: Any = _Lasting(lambda child: child.mailbox)
    _actor_ref: Any = _Lasting(lambda child: child.ref)

    def __init_subclass__(cls, **_: Any) -> None:
        """Keep this from the actor's bases, which may count their subclasses."""

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> Any:
        """Start a plain actor, as ``type(self).start()`` in a supervised one means."""
        return plain(cls).start(*args, **kwargs)


def supervised(child: Child) -> type[Any]:
    """The class whose instances are the lives of ``child``; to the eye it is the actor's own."""
    own = child.actor_class
    body = {name: getattr(own, name) for name in ("__module__", "__qualname__", "__doc__")} | {"_haulier_child": child}
    return types.new_class(own.__name__, (_Supervised, own), exec_body=lambda namespace: namespace.update(body))


def plain(actor_class: type[Any]) -> type[Any]:
    """The actor's own class, where it is laid over: ``type(self)`` in a supervised one."""
    return actor_class._haulier_child.actor_class if issubclass(actor_class, _Supervised) else actor_class


class Life:
    """The thread that reads a child's mailbox, until it is stopped or crashes; then it tells ``ended(self)``."""

    def __init__(self, child: Child, actor: Any, ended: Callable[[Life], None]) -> None:
        self.child = child
        self.actor = actor
        """None before it is made, and again when it is over."""
        self.failure: BaseException | None = None
        self.verdict: RestartAt | GiveUp | None = None
        """What follows once it is over; None after a stop for good."""
        self.stopped_by: type[Stop] | None = None
        """The kind of stop that ended it."""
        self.given_up = False
        """Its supervisor did not wait for it any longer."""
        self._ended = ended
        self._first_step = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=child.name, daemon=child.is_daemon)

    def abandon(self) -> bool:
        """Keep it from beginning: whether that came in time. A start that was interrupted may yet come about."""
        return self._first_step.acquire(blocking=False)

    def _run(self) -> None:
        if not self._first_step.acquire(blocking=False):
            return
        try:
            self._live()
        except BaseException as failure:  # SystemExit, too, ends nothing but this life
            self.failure = failure
        try:
            self.conclude()
        finally:
            self._ended(self)

    def conclude(self) -> None:
        """Say why it ended, and what is to follow: here, where a ``wait`` that blocks holds up nobody else.

        Its actor may go; proxies are left with an outline.
        """
        if self.failure is None and self.stopped_by is None:
            self.failure = RuntimeError("its thread ended without a word")
        self.child.mailbox.reader = None
        actor, self.actor = self.actor, None
        self._guarded("the outline", self.child.rest_in, actor)
        if self.verdict is None and self.stopped_by is not Stop and not self.given_up:
            self.verdict = self.child.verdict(self.failure)

    def give_up(self) -> None:
        """Wait for it no longer. A handler that looks at ``self.actor_stopped`` is asked to come to an end."""
        self.given_up = True
        actor = self.actor
        if actor is not None:
            actor.actor_stopped.set()

    def _live(self) -> None:
        child, mailbox = self.child, self.child.mailbox
        mailbox.reader = threading.get_ident()
        actor = self.actor
        if actor is None:
            actor = self.actor = child.make()
        try:
            actor.on_start()
        except BaseException:
            actor.actor_stopped.set()
            raise
        try:
            while not actor.actor_stopped.is_set():
                envelope = mailbox.take()
                if envelope is None:
                    break
                self._handle(actor, envelope)
        except BaseException as failure:
            actor.actor_stopped.set()
            mailbox.drop_in_hand(f"{child.ref} crashed: {failure!r}", failure)
            self._guarded("on_failure", actor.on_failure, type(failure), failure, failure.__traceback__)
            raise
        if self.given_up and self.stopped_by is None:
            self._guarded("on_stop", actor.on_stop)

    def _handle(self, actor: Any, envelope: Envelope) -> None:
        mailbox = self.child.mailbox
        if isinstance(envelope.message, Stop):
            self._stop(actor, envelope)
            return
        try:
            response = actor._handle_receive(envelope.message)
        except Exception as error:
            if envelope.reply_to is None:
                raise
            logger.info("exception returned from %s to its asker", self.child.name, exc_info=error)
            mailbox.done_with(envelope, error)
        else:
            mailbox.done(envelope, response)

    def _stop(self, actor: Any, envelope: Envelope) -> None:
        self.stopped_by = type(envelope.message)
        actor.actor_stopped.set()
        if self.stopped_by is not OwnStop:
            self.child.close("is stopped")
            self.child.unregister()
            self.child.mailbox.reject(but_stops=True)
        self._guarded("on_stop", actor.on_stop)
        self.child.mailbox.done(envelope, None)

    def _guarded(self, name: str, hook: Callable[..., object], *args: Any) -> None:
        """Call a hook; what it raises is worth a line in the log, and no more."""
        try:
            hook(*args)
        except BaseException:
            logger.exception("%s of %s failed", name, self.child.name)

    def let_go(self) -> None:
        """Once the thread has ended: have its failure hold none of what the actor held, such as an open socket."""
        seen: set[int] = set()
        failures = [self.failure]
        while failures:
            failure = failures.pop()
            if failure is None or id(failure) in seen:
                continue
            seen.add(id(failure))
            traceback.clear_frames(failure.__traceback__)
            failures += [failure.__cause__, failure.__context__]
            if isinstance(failure, BaseExceptionGroup):
                failures += failure.exceptions
