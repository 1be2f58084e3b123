"""The simulator itself: each promise of the engine is kept, its limit is reached, and the witness would have seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from tests.simulation.simulator import Simulator
from tests.simulation.threads import SeamDeque, SeamDict

from haulier._engine.core.source import Source
from haulier._engine.ticket import make_ticket
from haulier.errors import EngineClosed, QueueFull, SourceDown, Throttled
from haulier.policies import RestartPolicy, RetryPolicy, SourcePolicy
from haulier.testing import VirtualClock


class Crash(BaseException):
    pass


def running(simulator: Simulator) -> list[str]:
    """The downloads that run, once everybody had their turns."""
    simulator.settle_down()
    return list(simulator.slots)


def dispatched(simulator: Simulator, count: int) -> list[str]:
    """So many downloads, queued one after the other."""
    ids = []
    for _ in range(count):
        ids.append(simulator.dispatch().download_id)
        simulator.settle_down()
    return ids


# ---- the clock -------------------------------------------------------------------------------------------------------


def test_the_clock_moves_only_when_told_and_never_back() -> None:
    clock = VirtualClock(now=5.0, on=100.0)
    clock.advance(2.5)
    clock.advance_to(8.0)
    clock.advance_to(1.0)
    assert (clock.monotonic(), clock.time()) == (8.0, 103.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1.0)


# ---- the script is the original's ------------------------------------------------------------------------------------


def test_the_simulated_put_takes_the_steps_of_the_cores_put() -> None:
    steps: list[str] = []
    real = Source("s", SourcePolicy(), min, lambda _: steps.append("store"), lambda _: None)
    real.queue.pending = SeamDict(lambda: steps.append("pending"))
    real.queue.ids = SeamDeque(lambda: None, lambda _: steps.append("queue"))
    real.queue.put(make_ticket("id", "s"))
    assert steps == ["pending", "store", "queue"]

    simulator = Simulator()
    call = simulator.dispatch()
    seen: list[tuple[bool, bool, bool]] = []
    while not simulator.source.queue.ids:
        simulator.step(-1)
        now = (
            call.download_id in simulator.source.queue.pending,
            bool(simulator.known),
            bool(simulator.source.queue.ids),
        )
        if not seen or seen[-1] != now:
            seen.append(now)
    assert seen == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]


# ---- limits are kept, and reached ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_as_many_run_as_may_and_no_more(limit: int) -> None:
    simulator = Simulator(SourcePolicy(concurrency=limit))
    ids = dispatched(simulator, 2 * limit)
    assert running(simulator) == ids[:limit]
    simulator.finish()
    assert simulator.witness.peak == limit
    assert [start.download_id for start in simulator.witness.starts] == ids


def test_a_higher_limit_starts_more_at_once_and_a_lower_one_waits_for_ends() -> None:
    simulator = Simulator()
    ids = dispatched(simulator, 6)
    simulator.set_concurrency(3)
    assert running(simulator) == ids[:3]
    simulator.set_concurrency(1)
    for ended in ids[:2]:
        simulator.end(ended, path="x")
        assert ids[3] not in running(simulator)
    simulator.end(ids[2], path="x")
    assert running(simulator) == [ids[3]]
    simulator.finish()
    assert simulator.witness.peak == 3


def test_the_delay_is_waited_out_to_the_second_and_no_longer() -> None:
    simulator = Simulator(SourcePolicy(delay=8.0), patience_s=1.0)
    dispatched(simulator, 4)
    simulator.finish()
    assert simulator.witness.gaps == [8.0, 8.0, 8.0]


def test_a_week_of_politeness() -> None:
    simulator = Simulator(SourcePolicy(delay=3600.0))
    dispatched(simulator, 7 * 24)
    before = simulator.clock.monotonic()
    simulator.finish()
    assert simulator.clock.monotonic() - before >= (7 * 24 - 1) * 3600.0
    assert set(simulator.witness.gaps) == {3600.0}


def test_a_paused_source_starts_nothing_until_it_is_resumed() -> None:
    simulator = Simulator()
    simulator.set_paused(True)
    ids = dispatched(simulator, 1)
    simulator.pass_time(1_000.0)
    assert running(simulator) == []
    simulator.set_paused(False)
    assert running(simulator) == ids
    simulator.finish()


def test_idle_slots_leave_and_come_back() -> None:
    simulator = Simulator(SourcePolicy(concurrency=2), patience_s=4.0)
    first = dispatched(simulator, 2)
    assert running(simulator) == first
    for download_id in first:
        simulator.end(download_id, path="x")
    simulator.settle_down()
    assert simulator.source.slots.live == 2
    simulator.pass_time(8.0)
    assert simulator.source.slots.live == 0
    assert running(simulator) == []
    assert dispatched(simulator, 1) == running(simulator)
    simulator.finish()


def test_who_looks_while_another_one_is_about_to_start_is_woken_when_it_has() -> None:
    """Until then there is nothing to tell when to look again: the delay counts from that start."""
    simulator = Simulator(SourcePolicy(concurrency=2, delay=1.0, delay_from="start"))
    ids = dispatched(simulator, 3)
    reports, waits = simulator.hired
    simulator.clock.advance(1.0)
    simulator.end(ids[0], path="x")
    while reports.in_hand is None or reports.in_hand.download_id == ids[0] or waits.thread not in simulator.runnable():
        simulator.advance(reports.thread)
    while waits.thread in simulator.runnable():
        simulator.advance(waits.thread)
    assert reports.in_hand.claimed
    assert running(simulator) == [ids[1]]
    simulator.pass_time(1.0)
    assert running(simulator) == ids[1:]
    simulator.finish()


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_after_a_crash_the_queue_goes_on_in_order_once_the_source_has_rested() -> None:
    simulator = Simulator(SourcePolicy(restart=RestartPolicy(wait=tenacity.wait_fixed(2.0))))
    ids = dispatched(simulator, 3)
    simulator.end(ids[0], error=Crash("gone"))
    assert running(simulator) == []
    simulator.pass_time(1.75)
    assert running(simulator) == []
    simulator.pass_time(0.25)
    assert running(simulator) == [ids[1]]
    simulator.finish()
    record = simulator.record(ids[0])
    assert record is not None
    assert (record["state"], record["error"]) == ("Errored", "worker crash: gone")


def test_two_crashes_are_rested_out_by_the_longer_rest() -> None:
    rests = iter([2.0, 4.0])
    simulator = Simulator(SourcePolicy(concurrency=2, restart=RestartPolicy(wait=lambda _: next(rests))))
    ids = dispatched(simulator, 4)
    for crashed in ids[:2]:
        simulator.end(crashed, error=Crash("gone"))
    simulator.pass_time(3.75)
    assert running(simulator) == []
    simulator.pass_time(0.25)
    assert running(simulator) == ids[2:]
    simulator.finish()


def test_the_crash_of_one_slot_holds_up_no_other() -> None:
    policy = SourcePolicy(concurrency=2, delay=4.0, restart=RestartPolicy(wait=tenacity.wait_fixed(60.0)))
    simulator = Simulator(policy, patience_s=0.25)
    ids = dispatched(simulator, 3)
    simulator.pass_time(4.0)
    assert running(simulator) == ids[:2]
    simulator.end(ids[0], error=Crash("gone"))
    simulator.end(ids[1], path="x")
    simulator.pass_time(4.0)
    assert running(simulator) == ids[2:]
    simulator.finish()


def test_too_many_crashes_bring_it_down_and_revive_opens_it_again() -> None:
    simulator = Simulator(SourcePolicy(restart=RestartPolicy(1, 60.0, tenacity.wait_fixed(1.0))))
    ids = dispatched(simulator, 3)
    for crashed in ids[:2]:
        simulator.end(crashed, error=Crash("gone"))
        simulator.pass_time(1.0)
    assert running(simulator) == []
    waited = simulator.record(ids[2])
    assert waited is not None
    assert waited["error"].startswith("source down: ")
    refused = simulator.dispatch()
    simulator.settle_down()
    assert isinstance(refused.error, SourceDown)
    simulator.revive()
    assert dispatched(simulator, 1) == running(simulator)
    simulator.finish()


def test_a_zombie_takes_no_slot_and_its_late_report_changes_nothing() -> None:
    simulator = Simulator(SourcePolicy(timeout=4.0))
    hung, after = dispatched(simulator, 2)
    simulator.pass_time(4.0)
    assert running(simulator) == [hung, after]
    assert simulator.source.slots.zombies == 1
    simulator.end(hung, path="late.bin")
    simulator.settle_down()
    assert simulator.source.slots.zombies == 0
    record = simulator.record(hung)
    assert record is not None
    assert (record["state"], record["error"], record["file_path"]) == ("Errored", "timed out after 4 s", None)
    simulator.finish()


def test_a_throttled_source_waits_then_tries_one_alone_then_opens() -> None:
    simulator = Simulator(SourcePolicy(concurrency=2))
    ids = dispatched(simulator, 4)
    simulator.end(ids[0], error=Throttled(8.0))
    simulator.pass_time(4.0)
    simulator.end(ids[1], path="x")  # it started before the suspension: no proof
    assert running(simulator) == []
    simulator.pass_time(4.0)
    assert running(simulator) == [ids[0]]
    simulator.end(ids[0], path="x")
    assert running(simulator) == ids[2:]
    record = simulator.record(ids[0])
    assert record is not None
    assert record["attempt"] == 1
    simulator.finish()


def test_a_download_that_backs_off_frees_its_slot_and_comes_next_when_due() -> None:
    simulator = Simulator(SourcePolicy(retry=RetryPolicy(tenacity.stop_after_attempt(2), tenacity.wait_fixed(2.0))))
    ids = dispatched(simulator, 3)
    simulator.end(ids[0], error=OSError("reset"))
    assert running(simulator) == [ids[1]]
    simulator.pass_time(2.0)
    simulator.end(ids[1], path="x")
    assert running(simulator) == [ids[0]]
    assert simulator.witness.starts[-1].attempt == 2
    simulator.end(ids[0], error=OSError("reset"))
    simulator.settle_down()
    record = simulator.record(ids[0])
    assert record is not None
    assert (record["phase"], record["error"]) == ("failed", "reset")
    simulator.finish()


def test_a_dispatch_that_is_overtaken_by_close_is_refused_without_a_trace() -> None:
    simulator = Simulator()
    call = simulator.dispatch()
    while call.download_id not in simulator.known:
        simulator.step(-1)
    simulator.close()
    simulator.settle_down()
    assert isinstance(call.error, EngineClosed)
    assert simulator.record(call.download_id) is None
    simulator.finish()


def test_a_full_queue_refuses() -> None:
    simulator = Simulator(SourcePolicy(max_queued=1))
    dispatched(simulator, 2)
    refused = simulator.dispatch()
    simulator.settle_down()
    assert isinstance(refused.error, QueueFull)
    simulator.finish()


# ---- the witness sees ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "harm", "complaint"),
    [
        (SourcePolicy(), lambda source: setattr(source.slots, "limit", 2), "run at once"),
        (SourcePolicy(delay=1.0), lambda source: source.gate.set_delay(0.5), "the delay is 1.0"),
        (SourcePolicy(), lambda source: source.queue.ids.reverse(), "which came first"),
        (SourcePolicy(), lambda source: source.queue.ids.pop(), "never end"),
        (SourcePolicy(), lambda source: source.queue.pending.clear(), "never end"),
        (SourcePolicy(), lambda source: setattr(source.slots, "zombies", -1), "zombies"),
        (SourcePolicy(), lambda source: source.tell_store(object()), "no such message"),
    ],
)
def test_the_witness_speaks_up(policy: SourcePolicy, harm: Callable[[Source], Any], complaint: str) -> None:
    simulator = Simulator(policy)
    simulator.witness.answers.asks = False  # it would see most of these first
    dispatched(simulator, 4)
    harm(simulator.source)
    simulator.spawn("somebody who has them look again", simulator._changed())
    with pytest.raises(AssertionError, match=complaint):
        simulator.finish()


def test_a_full_queue_that_drops_its_oldest_keeps_every_promise() -> None:
    simulator = Simulator(SourcePolicy(max_queued=2, on_full="drop_oldest"))
    simulator.set_paused(True)
    calls = [simulator.dispatch() for _ in range(5)]
    simulator.settle_down()
    assert [call.error for call in calls] == [None] * 5
    assert list(simulator.source.queue.pending) == [call.download_id for call in calls[3:]]
    simulator.set_paused(False)
    simulator.finish()
