"""``Child``: how to make a supervised actor, and what stays the same in all its lives."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pykka

from haulier._engine.core.restarts import GoDown, RestartAt, Restarts
from haulier.policies import RestartPolicy
from haulier.supervision.events import ChildState, ChildStatus, Restart
from haulier.supervision.life import Life, supervised
from haulier.supervision.mailbox import ChildMailbox

__all__ = ["Child"]


class Child:
    """One supervised actor. Only the keeper changes its ``state`` and ``life``."""

    def __init__(
        self,
        name: str,
        actor_class: type[pykka.ThreadingActor],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        restart: Restart,
        policy: RestartPolicy,
        stop_came: Callable[[Child], None],
    ) -> None:
        self.name = name
        self.actor_class = actor_class
        self.restart = restart
        self.is_daemon = actor_class.use_daemon_thread
        self.urn: str = uuid.uuid4().urn
        self.mailbox: ChildMailbox = ChildMailbox(lambda: stop_came(self), own_stop_is_final=restart != "always")
        self.actor_stopped = threading.Event()
        """Set while the child takes no messages. ``ref.is_alive()`` reads it."""
        self.restarts = Restarts(policy)
        self.state: ChildState = "running"
        self.life: Life | None = None
        self.failure: BaseException | None = None
        self.reason: str | None = None
        self.rests_until = 0.0
        self.told_to_stop = False
        """Whether the supervisor has told the child to stop."""
        self.in_time = True
        self.ended = threading.Event()
        """Set while the child is stopped or down."""
        self._args, self._kwargs = args, dict(kwargs)
        self._outline: dict[str, Any] = {}
        self._stand_in = _StandIn(self)
        self.ref: pykka.ActorRef[Any] = pykka.ActorRef(self._stand_in)
        self._class = supervised(self)

    def make(self) -> Any:
        """Make a new actor. Raises what the actor's ``__init__`` raises."""
        actor = self._class(*self._args, **self._kwargs)
        if "actor_stopped" not in vars(actor):
            raise TypeError(f"{self.actor_class.__name__}.__init__() must call super().__init__()")
        return actor

    def verdict(self, failure: BaseException | None) -> RestartAt | GoDown:
        """Decide what follows a life that ended with ``failure``. None: the actor stopped itself."""
        if self.restart == "never":
            return GoDown("its restart is 'never'")
        return self.restarts.crashed(monotonic(), failure or RuntimeError("it stopped itself"))

    def close(self, why: str) -> None:
        """Refuse messages from now on. ``why`` completes the sentence in the ``ActorDeadError``."""
        self.mailbox.close(f"{self.ref} {why}")
        self.actor_stopped.set()

    def open(self) -> None:
        """Accept messages, for the first time or again."""
        self.mailbox.open()
        self.actor_stopped.clear()
        self.ended.clear()

    def register(self) -> None:
        """Add the child to pykka's registry. It stays there while it rests, so that ``stop_all`` reaches it.

        Never call this with the keeper's lock held, because the registry takes its own lock.
        """
        pykka.ActorRegistry.register(self.ref)
        if self.actor_stopped.is_set():
            self.unregister()

    def unregister(self) -> None:
        """Remove the child from pykka's registry."""
        pykka.ActorRegistry.unregister(self.ref)

    def tell_to_stop(self) -> None:
        """Tell the actor to stop once it has handled the messages queued so far. Does not wait."""
        self.ref.stop(block=False)

    def is_mine(self) -> bool:
        """Whether the calling thread is the child's own."""
        life = self.life
        return life is not None and life.thread is threading.current_thread()

    def status(self) -> ChildStatus:
        """The child's status, for ``Supervisor.children``."""
        restarts = self.restarts.total
        return ChildStatus(self.name, self.ref, self.state, restarts, self.mailbox.qsize(), self.failure, self.reason)

    # ---- proxies -----------------------------------------------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        """The attributes of the living actor; between two lives their outline."""
        life = self.life
        actor = None if life is None else life.actor
        return self._outline if actor is None else vars(actor)

    def rest_in(self, actor: Any) -> None:
        """Keep an outline of ``actor`` for proxies, so that the actor itself can be freed."""
        if actor is not None:
            self._outline = _outline(vars(actor))


class _StandIn:
    """Takes the actor's place in pykka's proxies, which would keep a dead actor alive for ever."""

    __slots__ = ("__weakref__", "_child", "actor_inbox", "actor_stopped", "actor_urn")

    def __init__(self, child: Child) -> None:
        self._child = child
        self.actor_urn, self.actor_inbox, self.actor_stopped = child.urn, child.mailbox, child.actor_stopped

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._child.actor_class

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return self._child.attributes()

    def __dir__(self) -> list[str]:
        return list({*dir(self._child.actor_class), *self._child.attributes()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self._child.attributes()[name]
        except KeyError:
            return getattr(self._child.actor_class, name)


def _outline(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The public names in ``attributes``, with placeholders that say whether a value is callable or traversable."""
    return {name: _shape(value) for name, value in attributes.items() if not name.startswith("_")}


def _shape(value: Any) -> Any:
    if getattr(value, "_pykka_traversable", False) is True or getattr(value, "pykka_traversable", False) is True:
        found: dict[str, Any] = {}
        for base in reversed(type(value).mro()):
            found.update(vars(base))
        return SimpleNamespace(_pykka_traversable=True, **_outline({**found, **getattr(value, "__dict__", {})}))
    return _callable if callable(value) else None


def _callable() -> None:
    """Placeholder for any callable."""
