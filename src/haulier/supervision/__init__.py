"""Supervision for any pykka actor: an actor that crashes restarts with the same mailbox and the same ref.

::

    from haulier.supervision import Supervisor

    with Supervisor() as supervisor:
        ref = supervisor.start(MyActor, "its arguments", restart="on_failure")
        ref.tell("hello")

No engine is needed. As with Erlang/OTP's strategy one_for_one, a child's crash affects no other child.
"""

from __future__ import annotations

from haulier._threads.subscription import Subscription
from haulier.errors import ForkedSupervisor, SupervisorStopped
from haulier.events import Missed
from haulier.policies import RestartPolicy
from haulier.supervision.events import (
    ChildState,
    ChildStatus,
    Crashed,
    Down,
    Restart,
    Restarted,
    Stopped,
    SupervisionEvent,
)
from haulier.supervision.supervisor import Supervisor

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
