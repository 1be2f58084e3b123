"""How the slots of a source are counted, and how its rest after a crash ends."""

from __future__ import annotations

from math import inf

import pytest
from tenacity import wait_fixed

from haulier import RestartPolicy, SourcePolicy
from haulier._engine.core.restarts import GoDown
from haulier._engine.core.slots import Slots


def make(concurrency: int = 1, intensity: int = 3) -> Slots:
    return Slots(SourcePolicy(concurrency=concurrency, restart=RestartPolicy(intensity, wait=wait_fixed(2.0))))


@pytest.mark.parametrize(("at", "has_rested"), [(1.9, False), (2.0, True), (2.1, True)])
def test_a_rest_ends_when_its_time_has_come_and_not_before(at: float, has_rested: bool) -> None:
    slots = make()
    assert slots.rest(0.0, RuntimeError()) is None
    assert (slots.resting, slots.resting_until) == (True, 2.0)
    assert slots.end_rest(at) is has_rested
    assert slots.resting is not has_rested


def test_a_wake_up_of_an_earlier_crash_does_not_end_a_later_rest() -> None:
    slots = make()
    slots.rest(0.0, RuntimeError())
    slots.rest(1.0, RuntimeError())
    assert (slots.end_rest(2.0), slots.resting) == (False, True)
    assert (slots.end_rest(3.0), slots.resting) == (True, False)


def test_a_crash_that_was_earlier_but_is_told_later_shortens_no_rest() -> None:
    slots = make()
    slots.rest(5.0, RuntimeError())
    slots.rest(1.0, RuntimeError())
    assert slots.resting_until == 7.0


def test_too_many_crashes_are_no_rest() -> None:
    slots = make(intensity=0)
    verdict = slots.rest(0.0, RuntimeError())
    assert isinstance(verdict, GoDown)
    assert (slots.resting, slots.resting_until) == (False, -inf)


def test_after_a_revive_no_crash_counts() -> None:
    slots = make(intensity=1)
    slots.rest(0.0, RuntimeError())
    slots.forget_crashes()
    assert (slots.resting, slots.resting_until) == (False, -inf)
    assert slots.rest(0.1, RuntimeError()) is None


def test_a_slot_is_counted_on_and_off_and_a_zombie_apart() -> None:
    slots = make(concurrency=2)
    slots.count_on()
    slots.count_on()
    assert (slots.live, slots.zombies, slots.has_place_for(3)) == (2, 0, False)
    slots.give_up_one()
    assert (slots.live, slots.zombies, slots.has_place_for(1), slots.has_place_for(2)) == (1, 1, False, True)
    slots.bury_zombie()
    slots.count_off()
    assert (slots.live, slots.zombies) == (0, 0)


def test_a_lower_limit_makes_slots_surplus() -> None:
    slots = make(concurrency=2)
    slots.count_on()
    slots.count_on()
    assert not slots.is_overstaffed
    slots.set_limit(1)
    assert slots.is_overstaffed
    slots.apply(SourcePolicy(concurrency=3, restart=RestartPolicy(9)))
    assert (slots.limit, slots.restarts.policy.intensity, slots.is_overstaffed) == (3, 9, False)
