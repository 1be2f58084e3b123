"""Supervision for anybody's pykka actors: those that crash are started again, on the same mailbox and the same ref.

::

    from haulier.supervision import Supervisor

    with Supervisor() as supervisor:
        ref = supervisor.start(MyActor, "its arguments", restart="on_failure")
        ref.tell("hello")

It needs no engine. After Erlang/OTP's supervisors, one for one: no child's crash touches another child.
"""

from __future__ import annotations

from haulier._threads.subscription import Subscription
from haulier.errors import ForkedSupervisor, SupervisorStopped
from haulier.events import Missed
from haulier.policies import RestartPolicy
from haulier.supervision.supervisor import Supervisor
from haulier.supervision.words import (
    ChildState,
    ChildStatus,
    Crashed,
    Down,
    Restart,
    Restarted,
    Stopped,
    SupervisionEvent,
)

__all__ = [
    "ChildState",
    "ChildStatus",
    "Crashed",
    "Down",
    "ForkedSupervisor",
    "Missed",
    "Restart",
    "RestartPolicy",
    "Restarted",
    "Stopped",
    "Subscription",
    "SupervisionEvent",
    "Supervisor",
    "SupervisorStopped",
]
