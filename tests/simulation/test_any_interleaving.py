"""Whoever steps next, whenever time passes, whatever goes wrong: what haulier promises of one source holds.

Small machines, each with its own faults. The ``Witness`` in the simulator checks after every step; at the end of each
run the faults end, everybody gets fair turns, and every download must be over.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pytest
import tenacity
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.simulation.simulator import Simulator

from haulier.errors import PermanentError, SourceCrashed, Throttled
from haulier.policies import RestartPolicy, RetryPolicy, SourcePolicy

SECONDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 8.0])
"""Exact in binary, so that virtual time has no rounding."""
CHOICE = st.integers(0, 15)
EXPLORE = int(os.environ.get("HAULIER_EXPLORE", "0"))
"""Examples per machine, at random. Without, a few, and the same ones each time: a test must not fail by the day."""
PROFILE = settings(
    max_examples=EXPLORE or 50,
    derandomize=not EXPLORE,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class Crash(BaseException):
    """What an impl raises that takes its source with it."""


class Source(RuleBasedStateMachine):
    """Dispatch, cancel, turns in any order, time."""

    policy: ClassVar[SourcePolicy] = SourcePolicy()
    patience_s: ClassVar[float] = 4.0
    simulator: Simulator

    @initialize(listening=st.booleans())
    def begin(self, listening: bool) -> None:
        self.simulator = Simulator(self.policy, listening=listening, patience_s=self.patience_s)

    @rule(count=st.integers(1, 3))
    def dispatch(self, count: int) -> None:
        for _ in range(count):
            self.simulator.dispatch()

    @rule(choices=st.lists(CHOICE, min_size=1, max_size=12))
    def turns(self, choices: list[int]) -> None:
        for choice in choices:
            self.simulator.step(choice)

    @rule()
    def all_turns(self) -> None:
        self.simulator.settle_down()

    @rule(plan=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def step_in(self, plan: list[int]) -> None:
        self.simulator.interruptions.extend(plan)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.simulator.clock.advance(seconds)

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE, lands=st.booleans())
    def impl_ends(self, choice: int, lands: bool) -> None:
        self.end(choice, path="file.bin" if lands else None)

    def end(self, choice: int, **how: Any) -> None:
        running = list(self.simulator.slots)
        self.simulator.end(running[choice % len(running)], **how)

    def teardown(self) -> None:
        if hasattr(self, "simulator") and not self.simulator.broken:
            self.let_everything_end()
            event(f"peak {self.simulator.witness.peak}")

    def let_everything_end(self) -> None:
        self.simulator.set_paused(False)
        self.simulator.finish()


class Cancels(Source):
    policy = SourcePolicy(concurrency=2)

    @precondition(lambda self: self.simulator.known)
    @rule(choice=CHOICE)
    def cancel(self, choice: int) -> None:
        known = self.simulator.known
        self.simulator.cancel(known[-1 - choice % len(known)])

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def cancel_a_running_one(self, choice: int) -> None:
        running = list(self.simulator.slots)
        self.simulator.cancel(running[choice % len(running)])


class Delays(Source):
    policy = SourcePolicy(concurrency=2, delay=1.0, jitter=(0.5, 1.5), delay_floor=0.75)

    @rule(seconds=SECONDS)
    def set_delay(self, seconds: float) -> None:
        self.simulator.set_delay(seconds)

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.simulator.set_paused(paused)


class DelaysFromStart(Delays):
    policy = SourcePolicy(concurrency=3, delay=1.0, delay_from="start")


class LongDelays(Source):
    """Slots leave while the gate is closed: somebody must be hired when it opens."""

    policy = SourcePolicy(concurrency=2, delay=8.0)
    patience_s = 0.5


class Crashes(Source):
    policy = SourcePolicy(concurrency=2, delay=0.5, restart=RestartPolicy(2, 4.0, tenacity.wait_fixed(0.5)))

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def impl_crashes(self, choice: int) -> None:
        self.end(choice, error=Crash("the client is gone"))

    @precondition(lambda self: self.simulator.hired)
    @rule(choice=CHOICE)
    def slot_dies_where_it_waits(self, choice: int) -> None:
        hired = self.simulator.hired
        self.simulator.kill(hired[choice % len(hired)], Crash("torn down"))

    @rule()
    def slot_dies_as_it_starts(self) -> None:
        self.simulator.bad_starts.append(SourceCrashed("no login"))

    @rule()
    def no_thread_for_the_next_slot(self) -> None:
        self.simulator.no_threads = 1

    @rule()
    def revive(self) -> None:
        self.simulator.revive()

    @precondition(lambda self: self.simulator.known)
    @rule(choice=CHOICE)
    def cancel(self, choice: int) -> None:
        known = self.simulator.known
        self.simulator.cancel(known[-1 - choice % len(known)])


class CrashesThatTakeTheQueueAlong(Crashes):
    policy = SourcePolicy(on_crash="error_queued", restart=RestartPolicy(1, 4.0, tenacity.wait_fixed(0.5)))


class Retries(Source):
    policy = SourcePolicy(
        concurrency=2, retry=RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(2.0))
    )

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE, error=st.sampled_from([OSError("reset"), PermanentError("gone"), Throttled(2.0)]))
    def impl_fails(self, choice: int, error: Exception) -> None:
        self.end(choice, error=error)

    @precondition(lambda self: self.simulator.known)
    @rule(choice=CHOICE)
    def cancel(self, choice: int) -> None:
        known = self.simulator.known
        self.simulator.cancel(known[-1 - choice % len(known)])


class RetriesAmongCrashes(Crashes):
    """A back-off may end while the source rests, while the gate is closed, and after the slots have left."""

    policy = SourcePolicy(
        concurrency=2,
        retry=RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(2.0)),
        restart=RestartPolicy(4, 8.0, tenacity.wait_fixed(4.0)),
    )
    patience_s = 0.5

    @rule(seconds=SECONDS)
    def set_delay(self, seconds: float) -> None:
        self.simulator.set_delay(seconds)

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def impl_fails(self, choice: int) -> None:
        self.end(choice, error=OSError("reset"))


class Hangs(Source):
    """Impls that go on after they were given up on, and report late."""

    policy = SourcePolicy(concurrency=2, timeout=4.0, stall_timeout=2.0, max_zombies=2)

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def impl_gets_on(self, choice: int) -> None:
        running = list(self.simulator.slots.values())
        transfer = running[choice % len(running)].in_hand
        assert transfer is not None
        transfer.cell["transferred"] = transfer.cell.get("transferred", 0) + 1

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def impl_crashes(self, choice: int) -> None:
        self.end(choice, error=Crash("late or not"))

    @rule()
    def everybody_hangs(self) -> None:
        self.simulator.pass_time(4.0)

    @rule()
    def revive(self) -> None:
        self.simulator.revive()

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def cancel_a_running_one(self, choice: int) -> None:
        running = list(self.simulator.slots)
        self.simulator.cancel(running[choice % len(running)])


class Limits(Source):
    policy = SourcePolicy(concurrency=3, max_queued=4)

    @rule(limit=st.integers(1, 4))
    def set_concurrency(self, limit: int) -> None:
        self.simulator.set_concurrency(limit)

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.simulator.set_paused(paused)


class Drops(Limits):
    policy = SourcePolicy(
        concurrency=2,
        max_queued=2,
        on_full="drop_oldest",
        retry=RetryPolicy(stop=tenacity.stop_never, wait=tenacity.wait_fixed(1.0)),
    )

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE)
    def impl_fails(self, choice: int) -> None:
        self.end(choice, error=RuntimeError("reset"))

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE, seconds=SECONDS)
    def impl_is_throttled(self, choice: int, seconds: float) -> None:
        self.end(choice, error=Throttled(1.0 + seconds))


class Closes(Source):
    policy = SourcePolicy(concurrency=2, retry=RetryPolicy(stop=tenacity.stop_never, wait=tenacity.wait_fixed(1.0)))

    @precondition(lambda self: len(self.simulator.known) > 2)
    @rule()
    def close(self) -> None:
        self.simulator.close()

    @precondition(lambda self: self.simulator.source.refusal is not None)
    @rule()
    def give_up(self) -> None:
        self.simulator.give_up()

    @precondition(lambda self: self.simulator.slots)
    @rule(choice=CHOICE, seconds=SECONDS)
    def impl_is_throttled(self, choice: int, seconds: float) -> None:
        self.end(choice, error=Throttled(1.0 + seconds))


MACHINES = [
    Cancels, Delays, DelaysFromStart, LongDelays, Crashes, CrashesThatTakeTheQueueAlong, Retries, RetriesAmongCrashes,
    Hangs, Limits, Drops, Closes,
]  # fmt: skip


def pytest_generate_tests(metafunc: Any) -> None:
    metafunc.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)


@pytest.mark.timeout(600)  # a failure is made small before it is shown
def test_the_promises_hold(machine: type[Source]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)
