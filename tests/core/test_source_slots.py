"""Who is hired for a source's queue, and who leaves."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from haulier._engine import messages as m

ON = 1_000_000.0
Make = Callable[..., Any]


def reserved(it: Any) -> int:
    return [it.source.reserve_slot() for _ in range(9)].count(True)


def test_as_many_slots_as_there_is_work_for_up_to_the_limit(make: Make) -> None:
    it = make(concurrency=3)
    assert reserved(it) == 0
    it.put("a", "b")
    assert reserved(it) == 2
    it.put("c", "d")
    assert reserved(it) == 1
    assert it.source.slots.live == 3


def test_slots_that_run_something_are_no_use_to_what_waits(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b")
    it.source.slots.live = 1
    it.start()
    assert reserved(it) == 1


@pytest.mark.parametrize("why", ["resting", "down", "paused"])
def test_nobody_is_hired_where_nothing_may_start(make: Make, why: str) -> None:
    it = make()
    it.put("a")
    if why == "resting":
        it.source.slots.resting = True
    elif why == "down":
        it.source.go_down("x", ON)
        it.put("b")
    else:
        it.source.gate.set_paused(True)
    assert reserved(it) == 0


def test_an_idle_slot_leaves(make: Make) -> None:
    it = make()
    it.source.slots.live = 1
    assert it.source.leave(inf, 0.0, 30.0) is True
    assert (it.source.slots.live, it.supervisor) == (0, [])


def test_a_slot_stays_for_what_was_put_meanwhile(make: Make) -> None:
    it = make()
    it.source.slots.live = 1
    it.put("a")
    assert it.source.leave(inf, 0.0, 30.0) is False
    assert it.source.slots.live == 1


def test_a_slot_that_stays_is_counted_beside_the_others(make: Make) -> None:
    it = make(concurrency=3)
    it.put("a", "b", "c")
    it.source.slots.live = 2
    it.start()
    assert it.source.leave(inf, 0.0, 30.0) is False
    assert it.source.slots.live == 2


def test_a_slot_leaves_a_gate_that_is_closed_for_long_and_somebody_is_hired_when_it_opens(make: Make) -> None:
    it = make()
    it.source.slots.live = 1
    it.put("a")
    assert it.source.leave(30.0, 0.0, 30.0) is False
    assert it.source.leave(30.5, 0.0, 30.0) is True
    assert it.supervisor == [m.Wake(it.source, 30.5)]


def test_while_the_source_rests_a_slot_stays_for_what_it_can_do_itself(make: Make) -> None:
    """Nobody would be hired in its place, neither at once nor when the gate opens."""
    it = make(concurrency=2)
    it.source.slots.live, it.source.slots.resting = 1, True
    it.put("a")
    assert it.source.leave(inf, 0.0, 30.0) is False
    assert it.source.leave(60.0, 0.0, 30.0) is False
    assert (it.source.slots.live, it.supervisor) == (1, [])
    it.source.cancel("a", ON)
    it.source.queue.ids.clear()
    assert it.source.leave(inf, 0.0, 30.0) is True


def test_the_supervisor_is_told_once_of_one_moment(make: Make) -> None:
    """Each dispatch to a source whose gate is closed for long has a slot hired, and that leaves again."""
    it = make()
    it.put("a")
    for now in (0.0, 50.0, 100.0):
        it.source.slots.live = 1
        assert it.source.leave(900.0, now, 30.0) is True
    assert it.supervisor == [m.Wake(it.source, 900.0)]
    it.source.slots.live = 1
    assert it.source.leave(300.0, 200.0, 30.0) is True
    assert it.supervisor[1:] == [m.Wake(it.source, 300.0)]


def test_one_slot_too_many_leaves_whatever_waits(make: Make) -> None:
    it = make(concurrency=2)
    it.source.slots.live = 3
    it.put("a", "b", "c")
    assert it.source.is_overstaffed
    assert it.source.leave(inf, 0.0, 30.0) is True
    assert not it.source.is_overstaffed


def test_every_slot_leaves_a_source_that_is_down_and_nobody_is_to_come_back(make: Make) -> None:
    it = make()
    it.source.slots.live = 1
    it.source.go_down("x", ON)
    it.put("late")
    assert it.source.is_overstaffed
    assert it.source.leave(99.0, 0.0, 30.0) is True
    assert it.supervisor == []


def test_nobody_is_called_back_for_one_slot_too_many(make: Make) -> None:
    it = make()
    it.source.slots.live = 2
    it.put("a")
    assert it.source.leave(99.0, 0.0, 30.0) is True
    assert (it.source.slots.live, it.supervisor) == (1, [])
