"""A child: what it is made of, and what stays the same over its lives."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pykka

from haulier._engine.core.restarts import GiveUp, RestartAt, Restarts
from haulier.policies import RestartPolicy
from haulier.supervision.life import Life, supervised
from haulier.supervision.mailbox import Mailbox
from haulier.supervision.words import ChildState, ChildStatus, Restart

__all__ = ["Child"]


class Child:
    """One supervised actor. Its ``state`` and ``life`` are the keeper's to change."""

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
        self.mailbox: Mailbox = Mailbox(lambda: stop_came(self), own_stop_is_final=restart != "always")
        self.actor_stopped = threading.Event()
        """Set while it takes no messages: what ``ref.is_alive()`` looks at."""
        self.restarts = Restarts(policy)
        self.state: ChildState = "running"
        self.life: Life | None = None
        self.failure: BaseException | None = None
        self.reason: str | None = None
        self.rests_until = 0.0
        self.told_to_stop = False
        """By its supervisor."""
        self.in_time = True
        self.over = threading.Event()
        """Set while it is stopped or down."""
        self._args, self._kwargs = args, dict(kwargs)
        self._outline: dict[str, Any] = {}
        self._stand_in = _StandIn(self)
        self.ref: pykka.ActorRef[Any] = pykka.ActorRef(self._stand_in)
        self._class = supervised(self)

    def make(self) -> Any:
        """A new actor. Raises what its ``__init__`` raises."""
        actor = self._class(*self._args, **self._kwargs)
        if "actor_stopped" not in vars(actor):
            raise TypeError(f"{self.actor_class.__name__}.__init__() must call super().__init__()")
        return actor

    def verdict(self, failure: BaseException | None) -> RestartAt | GiveUp:
        """What follows a life that ended with ``failure``, or (None) because the actor stopped itself."""
        if self.restart == "never":
            return GiveUp("it is not to be started again")
        return self.restarts.crashed(monotonic(), failure or RuntimeError("it stopped itself"))

    def close(self, why: str) -> None:
        """Take no more messages."""
        self.mailbox.close(f"{self.ref} {why}")
        self.actor_stopped.set()

    def open(self) -> None:
        """Take messages (again)."""
        self.mailbox.open()
        self.actor_stopped.clear()
        self.over.clear()

    def register(self) -> None:
        """Let pykka's registry know of it, also while it rests: who stops all actors means it, too.

        Not with the keeper's lock held: the registry has one of its own.
        """
        pykka.ActorRegistry.register(self.ref)
        if self.actor_stopped.is_set():
            self.unregister()

    def unregister(self) -> None:
        """Have the registry forget it."""
        pykka.ActorRegistry.unregister(self.ref)

    def tell_to_stop(self) -> None:
        """Have it stopped once it has handled what it was told so far."""
        self.ref.stop(block=False)

    def is_mine(self) -> bool:
        """Whether the calling thread is the one it lives on."""
        life = self.life
        return life is not None and life.thread is threading.current_thread()

    def status(self) -> ChildStatus:
        """For ``Supervisor.children``."""
        restarts = self.restarts.total
        return ChildStatus(self.name, self.ref, self.state, restarts, self.mailbox.qsize(), self.failure, self.reason)

    # ---- proxies -----------------------------------------------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        """The attributes of the actor that lives; where none does, their outline."""
        life = self.life
        actor = None if life is None else life.actor
        return self._outline if actor is None else vars(actor)

    def rest_in(self, actor: Any) -> None:
        """Remember what proxies have to know of ``actor``, so that it itself can go."""
        if actor is not None:
            self._outline = _outline(vars(actor))


class _StandIn:
    """What pykka's proxies take for the actor, to see what it can be asked for: they would keep a dead one for ever."""

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
    """The public names in ``attributes``; of their values only whether a proxy may call them, or go into them."""
    return {name: _shape(value) for name, value in attributes.items() if not name.startswith("_")}


def _shape(value: Any) -> Any:
    if getattr(value, "_pykka_traversable", False) is True or getattr(value, "pykka_traversable", False) is True:
        found: dict[str, Any] = {}
        for base in reversed(type(value).mro()):
            found.update(vars(base))
        return SimpleNamespace(_pykka_traversable=True, **_outline({**found, **getattr(value, "__dict__", {})}))
    return _callable if callable(value) else None


def _callable() -> None:
    """Stands for anything that can be called."""
