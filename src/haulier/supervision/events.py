"""The states of supervised children, and the events that a supervisor sends."""

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
"""When an actor restarts (in OTP: permanent, transient, temporary).

- ``'always'``: after a crash, and after it stopped itself with ``self.stop()``.
- ``'on_failure'``: after a crash.
- ``'never'``: not at all. A crash sends a ``Down`` event, and the supervisor forgets the child.

An actor never restarts after a stop from outside.
"""

ChildState: TypeAlias = Literal["running", "resting", "down", "stopped"]
"""The state of a child.

- ``'running'``: the child has a thread.
- ``'resting'``: the child crashed and restarts soon. Messages wait in its mailbox.
- ``'down'``: the child crashed too often. ``revive`` restarts it.
- ``'stopped'``: the child has ended, and the supervisor has forgotten it.
"""


class ChildStatus(NamedTuple):
    """One child at the moment of the call."""

    name: str
    ref: pykka.ActorRef[Any]
    state: ChildState
    restarts: int
    """How often the child has restarted in all."""
    queued: int
    """How many messages wait in the child's mailbox."""
    failure: BaseException | None
    """The exception of the last crash; None if there was none."""
    reason: str | None
    """Why the child is down; None if it is not."""


class Crashed(NamedTuple):
    """A child crashed, and restarts in ``rests_s`` seconds. ``on``: UTC seconds since the epoch."""

    child: str
    failure: BaseException
    rests_s: float
    on: float


class Restarted(NamedTuple):
    """A child restarted. ``restarts``: how often it has in all. ``on``: UTC seconds since the epoch."""

    child: str
    restarts: int
    on: float


class Down(NamedTuple):
    """A child crashed or stopped itself, and does not restart. ``on``: UTC seconds since the epoch."""

    child: str
    failure: BaseException | None
    reason: str
    on: float


class Stopped(NamedTuple):
    """A child was stopped. ``in_time`` is False if the supervisor gave up on it. ``on``: UTC seconds."""

    child: str
    in_time: bool
    on: float


SupervisionEvent: TypeAlias = Crashed | Restarted | Down | Stopped | Missed
"""Any event that ``Supervisor.subscribe`` delivers."""
