"""Run a scenario on a virtual clock.

The simulation drives the rules of the engine's core from one event to the next, in the order in which the engine's
threads would. Threads cost no time in it. It writes the same trace as the engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import ceil, inf
from random import Random
from typing import Any, Final

from haulier._cli.bench.scenario import Job, Scenario
from haulier._engine import messages as m
from haulier._engine.core.agenda import Agenda
from haulier._engine.core.outcome import Outcome, judge
from haulier._engine.core.source import Source
from haulier._engine.ticket import make_ticket
from haulier.errors import SourceCrashed
from haulier.records import Phase
from haulier.transfer import Transfer

__all__ = ["SimulationStopped", "simulate"]

TICK: Final = 2.0**-20
"""The step of the clock in seconds, about 1 µs. Times and delays are rounded up to it.

Sums of such steps are exact in floating point, so no delay becomes too short.
"""

START_S: Final = 1.0
"""The time at the start. It is not 0, as the core takes 0 for an unknown time."""

_ENDED: Final = {"fail": Phase.FAILED, "cancel": Phase.CANCELLED}


def _whole(seconds: float) -> float:
    """Round up to a whole tick."""
    return ceil(seconds / TICK) * TICK


class SimulationStopped(Exception):
    """The caller stopped the simulation before its end."""


def simulate(
    scenario: Scenario, run: str = "simulated", stopped: Callable[[], object] = lambda: False
) -> Iterator[str]:
    """Simulate ``scenario`` and yield the lines of its trace. ``run`` is the name of the run and the prefix of all ids.

    Raises ``SimulationStopped`` as soon as ``stopped()`` is true.
    """
    return iter(_Simulation(scenario, run).lines(stopped))


class _Simulation:
    """The sources, the clock, and the agenda of what is due when."""

    def __init__(self, scenario: Scenario, run: str) -> None:
        self.now = START_S
        self.agenda: Agenda[Callable[[], None]] = Agenda()
        self._run = run
        self._lines: list[str] = []
        self.note("opened", on=0.0, pid=0)
        draw = Random(f"{scenario.seed} jitter").uniform
        self._sources = {name: _Slots(self, scenario, name, draw) for name in scenario.names}
        for job in scenario.jobs():
            self.later(START_S + job.arrives_s, partial(self._arrive, f"{run}-{job.number}", job))

    def lines(self, stopped: Callable[[], object]) -> list[str]:
        """Run all steps of the agenda and return the lines of the trace.

        Raises ``SimulationStopped`` as soon as ``stopped()`` is true.
        """
        while (at := self.agenda.next_at()) is not None:
            if stopped():
                raise SimulationStopped
            self.now = max(self.now, at)
            step = self.agenda.pop_due(self.now)
            assert step is not None
            step()
        self.note("closed", on=self.now)
        return self._lines

    def note(self, event: str, **more: Any) -> None:
        """Write a line as ``haulier.trace`` does."""
        self._lines.append(json.dumps({"run": self._run, "event": event, "at": self.now, **more}))

    def later(self, at: float, step: Callable[[], None]) -> None:
        """Schedule ``step`` at ``at``, rounded up to a tick."""
        self.agenda.add(_whole(at), step)

    def _arrive(self, download_id: str, job: Job) -> None:
        slots = self._sources[job.source]
        slots.source.queue.put(make_ticket(download_id, job.source, job, username=job.source, queued_at=self.now))
        self.note("queued", source=job.source, id=download_id, began=self.now)
        slots.work()


class _Slots:
    """One source and its slots: a shell around ``core.source``, as the actors are in the engine."""

    def __init__(
        self, simulation: _Simulation, scenario: Scenario, name: str, draw: Callable[[float, float], float]
    ) -> None:
        self._simulation = simulation
        self._idle = 0
        """How many hired slots run nothing."""
        self._next_look_at = inf
        """When the next look at the gate is scheduled; ``inf`` if none is."""
        policy = scenario.policy(name)
        policy = replace(policy, delay=_whole(policy.delay))
        self.source = Source(name, policy, draw, self._tell_store, self._tell_supervisor)
        self.source.note = simulation.note
        simulation.note("rules", source=name, limit=self.source.slots.limit, **self.source.gate.rules())

    def work(self) -> None:
        """Hire the slots that are needed, and start all downloads that may start now."""
        source, now = self.source, self._simulation.now
        while True:
            while source.reserve_slot():
                self._idle += 1
            if not self._idle:
                return
            taken = source.attempts.take(now, now)
            if isinstance(taken, Transfer):
                self._idle -= 1
                self._start(taken)
                continue
            if now < taken < self._next_look_at:
                self._next_look_at = taken
                self._simulation.later(taken, self._look)
            return

    def _look(self) -> None:
        self._next_look_at = inf
        self.work()

    def _start(self, transfer: Transfer) -> None:
        simulation, taken = self._simulation, transfer.started_at
        if transfer.claimed:
            self.source.attempts.confirm(transfer, simulation.now)
        about = {"source": transfer.source, "id": transfer.download_id, "attempt": transfer.attempt}
        simulation.note("start", **about, taken=taken, stamped=transfer.started_at)
        attempt = transfer.target_id.attempts[transfer.attempt - 1]
        simulation.later(simulation.now + attempt.seconds, partial(self._return, transfer, attempt.ending))

    def _return(self, transfer: Transfer, ending: str) -> None:
        source, now = self.source, self._simulation.now
        self._simulation.note("returned", source=transfer.source, id=transfer.download_id)
        if ending == "crash":
            self._simulation.note("fell", source=transfer.source, id=transfer.download_id)
            source.attempts.slot_died(transfer, now)
            source.crashed(transfer, SourceCrashed("the scenario asks for it"), now, now)
        else:
            outcome = self._judged(transfer, ending)
            following = source.attempts.settle_and_take(transfer, outcome, now, now)
            if following is not None:
                self._start(following)
            else:
                source.attempts.settle(transfer, outcome, now, now)
                self._idle += 1
        self.work()

    def _judged(self, transfer: Transfer, ending: str) -> Outcome:
        if ending == "ok":
            return m.Succeeded(transfer, "nowhere")
        first = transfer.started_at if transfer.first_start is None else transfer.first_start
        elapsed_s = self._simulation.now - first
        error = RuntimeError("the scenario asks for it")
        outcome = judge(self.source.policy, transfer.attempt, None, error, elapsed_s, transfer.idle_s)
        assert outcome is not None  # an error is never a success
        return outcome

    def _tell_store(self, message: Any) -> None:
        if isinstance(message, m.Succeeded):
            self._end(message.transfer.download_id, Phase.SUCCEEDED)
        elif isinstance(message, m.Moved) and message.event in _ENDED:
            self._end(message.download_id, _ENDED[message.event])

    def _end(self, download_id: str, phase: str) -> None:
        self._simulation.note("over", source=self.source.name, id=download_id, phase=phase)

    def _tell_supervisor(self, message: Any) -> None:
        if isinstance(message, m.Retry):
            self._simulation.later(message.at, partial(self._retry, message))
        elif isinstance(message, m.Wake):
            self._simulation.later(message.at, partial(self._wake, message))

    def _retry(self, retry: m.Retry) -> None:
        self.source.queue.retry_due(retry.download_id, retry.at)
        self.work()

    def _wake(self, wake: m.Wake) -> None:
        if wake.restart:
            self.source.slots.end_rest(wake.at)
        self.work()
