"""``Supervisor``: what a program calls."""

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
from haulier.supervision.keeper import JOIN_S, Keeper
from haulier.supervision.life import plain
from haulier.supervision.words import ChildStatus, Restart, SupervisionEvent

__all__ = ["Supervisor"]

A = TypeVar("A", bound=pykka.ThreadingActor)

STOP_S: Final = 10.0
"""How long a stop waits for what its children still have to do, where its caller does not say."""


class Supervisor:
    """Starts actors, and starts those again that crash, each by itself. Usable from any thread, and from its actors.

    A context manager: leaving it stops them all. Its own thread keeps no interpreter alive; those of its actors do what
    the class's ``use_daemon_thread`` says, as ever with pykka.
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
        """Start ``actor(*args, **kwargs)`` in place of ``actor.start(*args, **kwargs)``, and have it supervised.

        The ref, its urn and its mailbox stay the same over all its lives. While it rests between a crash and the next
        start, what it is told and asked waits. Once it is down or stopped, tells and asks raise ``ActorDeadError``.

        - ``actor``: a class of ``pykka.ThreadingActor``, or a ``functools.partial`` of one, for parameters of its own
          that are called ``restart``, ``policy`` or ``name``. A next life is made of the same arguments.
        - ``restart``: ``'always'``, ``'on_failure'`` or ``'never'``: see ``Restart``.
        - ``policy``: how often and how soon it is started again. A ``wait`` that blocks holds up this child alone.
        - ``name``: of the child, and of its thread. By default the class's with a number.

        Raises what the actor's ``__init__`` raises, which runs here; in later lives it runs on the actor's own thread,
        and what it raises is a crash. ``TypeError`` or ``ValueError`` for bad arguments, ``SupervisorStopped`` after
        ``stop``, ``RuntimeError`` where there is no thread to be had.
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
        """The children that run, rest or are down, by name, in the order in which they were started."""
        self._keeper.check_here()
        self._keeper.ensure()
        with self._keeper.lock:
            return {name: child.status() for name, child in self._keeper.children.items()}

    def revive(self, child: str | pykka.ActorRef[Any]) -> None:
        """Start a child again that is down; its restarts are counted anew. One that is not is left as it is.

        Raises ``LookupError`` where there is no such child, and ``SupervisorStopped`` after ``stop``.
        """
        self._keeper.check_open()
        found = self._find(child)
        if found is None:
            raise LookupError(f"there is no child {child!r}")
        self._keeper.revive(found)

    def stop_child(self, child: str | pykka.ActorRef[Any], timeout: float | None = STOP_S) -> bool:
        """Stop a child: what it was told before is handled first. True once it is over, also if it was before.

        After ``timeout`` seconds (None: no limit) it is given up on: False. Then its asks have been answered with
        ``ActorDeadError``, ``self.actor_stopped`` is set, and its thread ends with the message that it handles.

        In its own handler a child can only ask for its stop: the answer is False, and it stops after this message. So
        can a signal handler that came in the middle of another call.
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
        if not found.over.wait(_left(deadline)):
            keeper.give_up_on(found, 0.0)
            found.over.wait(JOIN_S)
        keeper.dismiss(found)  # where it is down
        return found.over.is_set() and found.in_time

    def stop(self, timeout: float | None = STOP_S) -> bool:
        """Start nothing more, and stop all children, each once the one that was started after it is over.

        After ``timeout`` seconds (None: no limit) those that are not over are given up on, as by ``stop_child``: False.
        Twice is fine, also at once. From within a child, or from a signal handler that came in the middle of another
        call, it is begun and not waited for: False.
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
        """Have ``callback(event)`` called for each event from now on, on a thread of its own: see ``SupervisionEvent``.

        A callback that raises is logged. One that is more than ``capacity`` events behind misses some, and hears a
        ``haulier.Missed`` that says how many. ``close()`` the subscription, or use it in a ``with``.
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
        raise TypeError(f"a child is known by its name or its ref, not by {child!r}")


def _parts_of(
    actor: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[type[pykka.ThreadingActor], tuple[Any, ...], dict[str, Any]]:
    """The class of an actor, and what it is made with."""
    if isinstance(actor, partial):
        actor, args, kwargs = actor.func, (*actor.args, *args), {**actor.keywords, **kwargs}
    if not isinstance(actor, type) or not issubclass(actor, pykka.ThreadingActor):
        raise TypeError(f"actor must be a class of pykka.ThreadingActor, not {actor!r}")
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
