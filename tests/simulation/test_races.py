"""A dispatch that comes into the queue at each moment, in turn, of what a slot or a caller does under the lock."""

from __future__ import annotations

import pytest
from tests.simulation.simulator import Dispatch, Simulator

from haulier.errors import EngineClosed


def dispatched(simulator: Simulator, count: int) -> list[str]:
    """So many downloads, queued one after the other."""
    ids = []
    for _ in range(count):
        ids.append(simulator.dispatch().download_id)
        simulator.settle_down()
    return ids


def about_to_queue(simulator: Simulator) -> Dispatch:
    """A dispatch that has told the store, and comes into the queue with its next step."""
    call = simulator.dispatch()
    while call.download_id not in simulator.known:
        simulator.step(-1)
    return call


@pytest.mark.parametrize("moment", range(12))
def test_what_is_put_while_the_last_slot_leaves_is_seen_by_one_of_the_two(moment: int) -> None:
    simulator = Simulator(patience_s=4.0)
    simulator.end(dispatched(simulator, 1)[0], path="x")
    simulator.settle_down()
    about_to_queue(simulator)
    simulator.clock.advance(4.0)
    simulator.interruptions.extend([0] * moment + [1] * 8)
    while simulator.interruptions and "slot" in (names := [thread.name for thread in simulator.runnable()]):
        simulator.step(names.index("slot"))
    simulator.finish()
    assert len(simulator.witness.starts) == 2


@pytest.mark.parametrize("moment", range(8))
def test_what_is_put_while_a_slot_looks_wakes_it_or_is_seen(moment: int) -> None:
    simulator = Simulator()
    simulator.end(dispatched(simulator, 1)[0], path="x")
    about_to_queue(simulator)
    simulator.interruptions.extend([0] * moment + [1] * 8)
    while "slot" in (names := [thread.name for thread in simulator.runnable()]):
        simulator.step(names.index("slot"))
    simulator.finish()
    assert len(simulator.witness.starts) == 2


@pytest.mark.parametrize("moment", range(12))
def test_what_is_put_while_the_source_closes_is_refused_or_fails(moment: int) -> None:
    simulator = Simulator()
    running_one, *_ = dispatched(simulator, 3)
    call = about_to_queue(simulator)
    simulator.interruptions.extend([0] * moment + [1] * 4)
    simulator.close()
    simulator.settle_down()
    record = simulator.record(call.download_id)
    assert (record is None) == isinstance(call.error, EngineClosed)
    assert record is None or record["error"] == "engine closed"
    simulator.end(running_one, path="x")
    simulator.finish()


@pytest.mark.parametrize("moment", range(0, 160, 20))
def test_what_is_put_while_the_queue_is_tidied_keeps_its_place(moment: int) -> None:
    simulator = Simulator()
    ids = dispatched(simulator, 70)
    call = about_to_queue(simulator)
    for download_id in ids[2:-1]:
        simulator.cancel(download_id)
    simulator.interruptions.extend([0] * moment + [1] * 4)
    simulator.cancel(ids[-1])
    assert len(simulator.source.queue.ids) < 10, "it was tidied"
    simulator.finish()
    assert [start.download_id for start in simulator.witness.starts] == [*ids[:2], call.download_id]
