"""Supervise your own pykka actors, without a download engine."""

from __future__ import annotations

from typing import Any

import pykka
import tenacity

from haulier.supervision import RestartPolicy, Supervisor


class Sensor(pykka.ThreadingActor):
    """A plain pykka actor: an exception in a told message kills it."""

    use_daemon_thread = True

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.sum = 0.0

    def on_receive(self, message: Any) -> str:
        """Add a reading to the sum."""
        self.sum += float(message)
        return f"{self.place}: {self.sum:g}"


QUICKLY = RestartPolicy(intensity=3, period=60, wait=tenacity.wait_fixed(0.05))

with Supervisor() as supervisor:
    cellar = supervisor.start(Sensor, "cellar", policy=QUICKLY, name="cellar")
    attic = supervisor.start(Sensor, "attic", policy=QUICKLY, name="attic")

    # In plain pykka the actor would die of 'broken', and 4 would be lost.
    for reading in (1, 2, "broken", 4):
        cellar.tell(reading)
    print(cellar.ask(5, timeout=10))  # the actor was restarted after the crash, on the same mailbox

    for _ in range(3):
        cellar.tell("broken for good")
    cellar.actor_stopped.wait(10)
    for name, child in supervisor.children().items():
        print(name, "is", child.state, "after", child.restarts, "restarts:", child.reason or "all is well")

    supervisor.revive(cellar)
    print(cellar.ask(6, timeout=10))
    print(attic.proxy().place.get(timeout=10), "never noticed")
