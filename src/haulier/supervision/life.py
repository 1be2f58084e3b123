"""``Life``: one life of a supervised actor. A thread, the actor on it, and how it ended."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pykka

from haulier._engine.core.restarts import GoDown, RestartAt
from haulier._threads.frames import clear_frames
from haulier._threads.log import Log
from haulier.supervision.mailbox import Envelope, OwnStop, Stop

if TYPE_CHECKING:
    from haulier.supervision.child import Child

__all__ = ["Life", "plain", "supervised"]

logger = Log("haulier.supervision")


class _Lasting:
    """An attribute that pykka sets anew in each actor. Here it belongs to the child and lasts for all its lives."""

    def __init__(self, of: Callable[[Child], Any]) -> None:
        self._of = of

    def __get__(self, actor: Any, _: type | None = None) -> Any:
        return self if actor is None else self._of(actor._haulier_child)

    def __set__(self, actor: Any, value: Any) -> None:
        """Ignore ``value``, which pykka's ``Actor.__init__`` sets for a new actor."""


class _Supervised(pykka.ThreadingActor):
    """Mixed into an actor's class, so that its ``__init__`` finds the lasting mailbox and ref already."""

    _haulier_child: ClassVar[Child]
    actor_urn: Any = _Lasting(lambda child: child.urn)
    actor_inbox: Any = _Lasting(lambda child: child.mailbox)
    _actor_ref: Any = _Lasting(lambda child: child.ref)

    def __init_subclass__(cls, **_: Any) -> None:
        """Hide the subclass from the actor's bases, which may register their subclasses."""

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> Any:
        """Start an unsupervised actor: ``type(self).start()`` in a supervised actor means that."""
        return plain(cls).start(*args, **kwargs)


def supervised(child: Child) -> type[Any]:
    """Make the class for the lives of ``child``. It has the name and docstring of the actor's own class."""
    own = child.actor_class
    body = {name: getattr(own, name) for name in ("__module__", "__qualname__", "__doc__")} | {"_haulier_child": child}
    return types.new_class(own.__name__, (_Supervised, own), exec_body=lambda namespace: namespace.update(body))


def plain(actor_class: type[Any]) -> type[Any]:
    """Return the actor's own class for the class that ``supervised`` made; any other class unchanged."""
    return actor_class._haulier_child.actor_class if issubclass(actor_class, _Supervised) else actor_class


class Life:
    """The thread that reads a child's mailbox until it stops or crashes. Then it calls ``ended(self)``."""

    def __init__(self, child: Child, actor: Any, ended: Callable[[Life], None]) -> None:
        self.child = child
        self.actor = actor
        """None before the actor is made, and again after the end."""
        self.failure: BaseException | None = None
        self.verdict: RestartAt | GoDown | None = None
        """What follows this life; None after a final stop."""
        self.stopped_by: type[Stop] | None = None
        """The kind of stop that ended this life, if one did."""
        self.given_up = False
        """Whether the supervisor gave up on this life."""
        self._ended = ended
        self._first_step = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=child.name, daemon=child.is_daemon)

    def abandon(self) -> bool:
        """Prevent the life from starting. Returns whether that was in time: an interrupted start may succeed later."""
        return self._first_step.acquire(blocking=False)

    def _run(self) -> None:
        if not self._first_step.acquire(blocking=False):
            return
        try:
            self._live()
        except BaseException as failure:  # even SystemExit ends only this life
            self.failure = failure
        try:
            self.conclude()
        finally:
            self._ended(self)

    def conclude(self) -> None:
        """Decide what follows, and free the actor; proxies keep an outline of it.

        This runs on the life's own thread, so that a ``wait`` that blocks delays no other child.
        """
        if self.failure is None and self.stopped_by is None:
            self.failure = RuntimeError("its thread ended without a report")
        self.child.mailbox.reader = None
        actor, self.actor = self.actor, None
        self._guarded("the outline", self.child.rest_in, actor)
        if self.verdict is None and self.stopped_by is not Stop and not self.given_up:
            self.verdict = self.child.verdict(self.failure)

    def give_up(self) -> None:
        """Mark this life as given up on, and set ``self.actor_stopped`` for a handler that checks it."""
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
        """Call a hook. Whatever it raises is only logged."""
        try:
            hook(*args)
        except BaseException:
            logger.exception("%s of %s failed", name, self.child.name)

    def let_go(self) -> None:
        """Clear the failure's frames, so that it keeps nothing open that the actor held, such as a socket.

        Call this only after the thread has ended.
        """
        clear_frames(self.failure)
