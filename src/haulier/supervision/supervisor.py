"""``Supervisor``: the public face of ``haulier.supervision``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any, Final, TypeVar, cast, get_args

import pykka

from haulier._threads.subscription import Subscription
from haulier.policies import RestartPolicy, check_int, check_seconds
from haulier.supervision.child import Child
from haulier.supervision.events import ChildStatus, Restart, SupervisionEvent
from haulier.supervision.keeper import JOIN_S, Keeper
from haulier.supervision.life import plain

__all__ = ["Supervisor"]

A = TypeVar("A", bound=pykka.ThreadingActor)

STOP_S: Final = 10.0
"""How long a stop waits for the children by default, in seconds."""


class Supervisor:
    """Starts actors, and restarts each one that crashes. Every method may be called from any thread, and by its actors.

    Use it in a ``with`` statement: leaving it calls ``stop()``. The supervisor's own thread does not keep the
    interpreter alive. An actor's thread does so unless its class sets ``use_daemon_thread``, as always with pykka.
    """

    def __init__(self) -> None:
        self._keeper = Keeper(self._publish)
        self._numbers = count(1)
        self._subscriptions: tuple[Subscription, ...] = ()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        actor: Callable[..., A],
        *args: Any,
        restart: Restart = "on_failure",
        policy: RestartPolicy | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> pykka.ActorRef[A]:
        """Start a supervised actor, ``actor(*args, **kwargs)``, and return its ref. Replaces ``actor.start(...)``.

        The ref, its urn and its mailbox stay the same in all lives of the actor. While the actor rests between a crash
        and its restart, messages wait. Once it is down or stopped, tells and asks raise ``ActorDeadError``.

        - ``actor``: a subclass of ``pykka.ThreadingActor``. Pass a ``functools.partial`` of one if its own parameters
          are called ``restart``, ``policy`` or ``name``. Every life is made with the same arguments.
        - ``restart``: ``'always'``, ``'on_failure'`` or ``'never'``: see ``Restart``.
        - ``policy``: how often and how soon the actor restarts. A ``wait`` that blocks delays this child only.
        - ``name``: the name of the child and of its thread. The default is the name of the class and a number.

        The first ``__init__`` runs in this call, which raises what that raises. Later ones run on the actor's thread,
        where an exception counts as a crash. Raises ``TypeError`` or ``ValueError`` for an invalid argument or a name
        that is taken, ``SupervisorStopped`` after ``stop``, and ``RuntimeError`` if no thread can be started.
        """
        keeper = self._keeper
        keeper.check_open()
        actor_class, args, kwargs = _parts_of(actor, args, kwargs)
        _check(restart, policy, name)
        with keeper.lock:
            if name is None:
                name = next(
                    n for n in map(f"{actor_class.__name__}-{{}}".format, self._numbers) if n not in keeper.children
                )
            keeper.check_name(name)
        child = Child(name, actor_class, args, kwargs, restart, policy or RestartPolicy(), keeper.stop_came)
        try:
            made = child.make()
            child.is_daemon = made.use_daemon_thread
            keeper.add(child, made)
        except BaseException:
            child.close("was not started")
            child.unregister()
            child.mailbox.reject()
            raise
        return cast("pykka.ActorRef[A]", child.ref)

    def children(self) -> dict[str, ChildStatus]:
        """Return the children that run, rest or are down, by name, in the order in which they were started."""
        self._keeper.check_here()
        self._keeper.ensure()
        with self._keeper.lock:
            return {name: child.status() for name, child in self._keeper.children.items()}

    def revive(self, child: str | pykka.ActorRef[Any]) -> None:
        """Restart a child that is down, and count its restarts anew. Does nothing if the child is not down.

        Raises ``LookupError`` if there is no such child, and ``SupervisorStopped`` after ``stop``.
        """
        self._keeper.check_open()
        found = self._find(child)
        if found is None:
            raise LookupError(f"there is no child {child!r}: children() lists them")
        self._keeper.revive(found)

    def stop_child(self, child: str | pykka.ActorRef[Any], timeout: float | None = STOP_S) -> bool:
        """Stop a child once it has handled the messages queued before. Returns True if it has stopped.

        After ``timeout`` seconds (None: no limit) the supervisor gives up on the child, and this returns False. Its
        asks then fail with ``ActorDeadError``, its ``actor_stopped`` is set, and its thread ends after the message that
        it handles.

        The call does not wait, and returns False, in the child's own handler and in a signal handler that interrupts
        another call. The child then stops later. Raises ``ValueError`` if ``timeout`` is negative.
        """
        keeper = self._keeper
        keeper.check_here()
        deadline = None if timeout is None else monotonic() + check_seconds("timeout", timeout)
        found = self._find(child)
        if found is None:
            return True
        found.tell_to_stop()
        if found.is_mine() or keeper.is_in_a_step([found]):
            if deadline is not None:
                keeper.give_up_on(found, deadline)
            return False
        if not found.ended.wait(_left(deadline)):
            keeper.give_up_on(found, 0.0)
            found.ended.wait(JOIN_S)
        keeper.dismiss(found)  # does nothing unless it is down
        return found.ended.is_set() and found.in_time

    def stop(self, timeout: float | None = STOP_S) -> bool:
        """Stop all children, the youngest first, each after the one before has stopped. No child starts any more.

        Returns True if all have stopped. After ``timeout`` seconds (None: no limit) the supervisor gives up on the
        rest, as ``stop_child`` does, and this returns False. May be called twice, also at the same time.

        The call does not wait, and returns False, in a child's handler and in a signal handler that interrupts another
        call. The children then stop later. Raises ``ValueError`` if ``timeout`` is negative.
        """
        keeper = self._keeper
        keeper.check_here()
        deadline = None if timeout is None else monotonic() + check_seconds("timeout", timeout)
        keeper.stop_all(deadline)
        if keeper.is_inside():
            return False
        if not keeper.stopped.wait(_left(None if deadline is None else deadline + JOIN_S)):
            return False
        keeper.join(JOIN_S)
        for subscription in self._subscriptions:
            subscription.close(_left(deadline))
        return keeper.in_time

    def subscribe(self, callback: Callable[[SupervisionEvent], Any], *, capacity: int = 10_000) -> Subscription:
        """Call ``callback(event)`` for each ``SupervisionEvent`` from now on, on a thread of its own.

        If the callback raises, the error is logged. A callback that is more than ``capacity`` events behind loses some,
        and receives a ``haulier.Missed`` event that says how many. Call ``close()`` on the subscription, or use it in a
        ``with`` statement. Raises ``SupervisorStopped`` after ``stop``.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        check_int("capacity", capacity, 1)
        self._keeper.check_open()
        subscription = Subscription(cast("Any", callback), capacity, self._unsubscribe)
        with self._keeper.lock:
            self._subscriptions += (subscription,)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._keeper.lock:
            self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)

    def _publish(self, event: SupervisionEvent) -> None:
        for subscription in self._subscriptions:
            subscription.offer(cast("Any", event))

    def _find(self, child: str | pykka.ActorRef[Any]) -> Child | None:
        with self._keeper.lock:
            if isinstance(child, str):
                return self._keeper.children.get(child)
            if isinstance(child, pykka.ActorRef):
                urn = child.actor_urn
                return next((each for each in self._keeper.children.values() if each.urn == urn), None)
        raise TypeError(f"child must be a name or an ActorRef, not {child!r}")


def _parts_of(
    actor: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[type[pykka.ThreadingActor], tuple[Any, ...], dict[str, Any]]:
    """The class of an actor, and the arguments that it is made with."""
    if isinstance(actor, partial):
        actor, args, kwargs = actor.func, (*actor.args, *args), {**actor.keywords, **kwargs}
    if not isinstance(actor, type) or not issubclass(actor, pykka.ThreadingActor):
        raise TypeError(f"actor must be a subclass of pykka.ThreadingActor, not {actor!r}")
    return plain(actor), args, dict(kwargs)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else min(max(0.0, deadline - monotonic()), TIMEOUT_MAX)


def _check(restart: object, policy: object, name: object) -> None:
    if restart not in get_args(Restart):
        raise ValueError(f"restart must be one of {', '.join(map(repr, get_args(Restart)))}, not {restart!r}")
    if policy is not None and not isinstance(policy, RestartPolicy):
        raise TypeError(f"policy must be a RestartPolicy, not {policy!r}")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if name == "":
        raise ValueError("name must not be empty")
