"""What a supervisor says: the state of its children, and what happens to them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import pykka

from haulier.events import Missed

__all__ = [
    "ChildState",
    "ChildStatus",
    "Crashed",
    "Down",
    "Restart",
    "Restarted",
    "Stopped",
    "SupervisionEvent",
]

Restart: TypeAlias = Literal["always", "on_failure", "never"]
"""Which end of an actor is followed by another life (in OTP: permanent, transient, temporary).

- ``'always'``: a crash, and also that it stopped itself with ``self.stop()``.
- ``'on_failure'``: a crash.
- ``'never'``: none. A crash is told, and the child is gone.

Whoever stops it from outside means it: then there is no further life.
"""

ChildState: TypeAlias = Literal["running", "resting", "down", "stopped"]
"""
- ``'running'``: it has a thread.
- ``'resting'``: it is started again, soon. What it is told waits in its mailbox.
- ``'down'``: it crashed too often. ``revive`` starts it again.
- ``'stopped'``: over; its supervisor no longer knows it.
"""


class ChildStatus(NamedTuple):
    """One child, as of the moment of the call."""

    name: str
    ref: pykka.ActorRef[Any]
    state: ChildState
    restarts: int
    """Over its whole life."""
    queued: int
    """Messages that wait in its mailbox."""
    failure: BaseException | None
    """What it crashed with last."""
    reason: str | None
    """Why it is down."""


class Crashed(NamedTuple):
    """A child crashed, and is started again in ``rests_s`` seconds."""

    child: str
    failure: BaseException
    rests_s: float
    on: float


class Restarted(NamedTuple):
    """A child was started again, for the ``restarts``-th time."""

    child: str
    restarts: int
    on: float


class Down(NamedTuple):
    """A child crashed (or stopped itself) once too often, and is not started again."""

    child: str
    failure: BaseException | None
    reason: str
    on: float


class Stopped(NamedTuple):
    """A child was stopped. ``in_time``: False where it was given up on, since it still handled a message."""

    child: str
    in_time: bool
    on: float


SupervisionEvent: TypeAlias = Crashed | Restarted | Down | Stopped | Missed
"""``on`` is in UTC seconds since the epoch."""
