"""When the next download may start."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulier._engine.core.gate import Gate
from haulier.policies import SourcePolicy

SECONDS = st.integers(0, 80).map(lambda eighths: eighths / 8)
"""Exact in binary, so that sums are."""


def gate(policy: SourcePolicy | None = None, factor: float = 1.0) -> Gate:
    return Gate(policy or SourcePolicy(), lambda low, high: min(max(factor, low), high))


def test_a_new_gate_is_open() -> None:
    delayed = gate(SourcePolicy(delay=10.0))
    assert delayed.opens_at() == -inf
    assert delayed.closed_by(0.0) is None


def test_the_delay_counts_from_the_end_and_from_the_start_whichever_is_later() -> None:
    it = gate(SourcePolicy(delay=3.0))
    it.started(10.0)
    assert it.opens_at() == 13.0
    it.ended(11.0)
    assert it.opens_at() == 14.0
    it.started(14.0)
    it.ended(14.0)
    it.started(20.0)
    assert it.opens_at() == 23.0
    assert it.closed_by(22.999999) == "delay"
    assert it.closed_by(23.0) is None


def test_an_end_that_is_told_of_late_takes_no_later_one_back() -> None:
    it = gate(SourcePolicy(delay=3.0))
    it.ended(10.0)
    it.ended(8.0)
    assert it.opens_at() == 13.0


def test_from_start_the_end_does_not_matter() -> None:
    it = gate(SourcePolicy(delay=3.0, delay_from="start"))
    it.started(10.0)
    it.ended(100.0)
    assert it.opens_at() == 13.0


def test_a_delay_that_is_changed_counts_for_the_one_that_waits() -> None:
    it = gate(SourcePolicy(delay=100.0))
    it.ended(10.0)
    it.set_delay(1.0)
    assert it.opens_at() == 11.0
    it.set_delay(5.0)
    assert it.opens_at() == 15.0


def test_another_policy_does_not_forget_the_last_end() -> None:
    it = gate()
    it.ended(10.0)
    it.apply(SourcePolicy(delay=4.0))
    assert it.opens_at() == 14.0


def test_a_pause_keeps_it_closed_until_it_is_over() -> None:
    it = gate()
    it.ended(10.0)
    it.set_paused(True)
    assert it.opens_at() == inf
    assert it.closed_by(1e9) == "pause"
    it.set_paused(False)
    assert it.closed_by(10.0) is None


def test_a_suspension_ends_by_the_clock_and_one_is_tried_alone_until_it_proves_the_source() -> None:
    it = gate()
    it.suspend(50.0)
    it.suspend(20.0)
    assert it.opens_at() == 50.0
    assert (it.closed_by(49.0), it.closed_by(50.0)) == ("suspension", None)
    assert it.limit(4) == 1
    it.end_probation()
    assert it.limit(4) == 4


def test_a_longer_delay_outlasts_a_suspension() -> None:
    it = gate(SourcePolicy(delay=100.0))
    it.ended(0.0)
    it.suspend(50.0)
    assert it.opens_at() == 100.0
    assert (it.closed_by(10.0), it.closed_by(60.0)) == ("suspension", "delay")


@pytest.mark.parametrize(
    ("policy", "is_free"),
    [
        (SourcePolicy(), True),
        (SourcePolicy(delay=0.5), False),
        (SourcePolicy(delay_floor=0.5), False),
        (SourcePolicy(jitter=(0.5, 1.5)), True),
    ],
)
def test_a_gate_without_anything_in_the_way_knows_it(policy: SourcePolicy, is_free: bool) -> None:
    assert gate(policy).is_free is is_free


def test_whatever_comes_in_the_way_is_noticed() -> None:
    it = gate()
    it.set_paused(True)
    assert not it.is_free
    it.set_paused(False)
    assert it.is_free
    it.set_delay(1.0)
    assert not it.is_free
    it.set_delay(0.0)
    assert it.is_free
    it.suspend(1.0)
    assert not it.is_free
    it.end_probation()
    assert it.is_free


def test_each_claim_keeps_it_closed_until_its_own_start() -> None:
    it = gate()
    it.claim()
    it.claim()
    it.started(1.0, claimed=True)
    assert it.opens_at() == inf
    it.started(2.0, claimed=True)
    assert it.opens_at() == 2.0


@pytest.mark.parametrize(
    ("policy", "is_spaced"),
    [
        (SourcePolicy(), False),
        (SourcePolicy(delay=0.5), True),
        (SourcePolicy(delay_floor=0.5), True),
        (SourcePolicy(jitter=(0.0, 1.0)), False),
        (SourcePolicy(jitter=(0.0, 1.0), delay=0.5), True),
    ],
)
def test_one_that_is_about_to_start_keeps_it_closed_if_starts_are_spaced(policy: SourcePolicy, is_spaced: bool) -> None:
    it = gate(policy, factor=0.0)
    it.claim()
    assert it.closed_by(1.0) == ("delay" if is_spaced else None)
    assert it.is_spaced is is_spaced


@pytest.mark.parametrize(
    ("policy", "delay", "since"),
    [
        (SourcePolicy(), 0.0, "end"),
        (SourcePolicy(delay=4.0), 4.0, "end"),
        (SourcePolicy(delay=4.0, delay_from="start"), 4.0, "start"),
        (SourcePolicy(delay=4.0, jitter=(0.5, 1.5)), 2.0, "end"),
        (SourcePolicy(delay=4.0, jitter=(0.5, 1.5), delay_floor=3.0), 3.0, "end"),
    ],
)
def test_a_trace_is_told_the_least_delay_that_may_be_drawn(policy: SourcePolicy, delay: float, since: str) -> None:
    it = gate(policy, factor=1.5)
    assert it.rules() == {"delay": delay, "from": since, "paused": False}
    it.set_paused(True)
    assert it.rules() == {"delay": delay, "from": since, "paused": True}


@given(SECONDS, st.tuples(SECONDS, SECONDS).map(sorted), SECONDS, st.floats(0, 100), st.sampled_from(["end", "start"]))
def test_jitter_stays_between_its_factors_and_above_the_floor(
    delay: float, factors: list[float], floor: float, factor: float, since: str
) -> None:
    low, high = factors
    policy = SourcePolicy(delay=delay, jitter=(low, high), delay_floor=floor, delay_from=since)  # type: ignore[arg-type]
    it = gate(policy, factor)
    for at in (16.0, 32.0):
        it.started(at)
        it.ended(at)
        assert max(delay * low, floor) <= it.opens_at() - at <= max(delay * high, floor)


def test_each_end_draws_its_own_jitter() -> None:
    drawn = iter([0.5, 1.0, 1.5])
    it = Gate(SourcePolicy(delay=2.0, jitter=(0.5, 1.5)), lambda _low, _high: next(drawn))
    it.started(0.0)
    it.ended(0.0)
    assert it.opens_at() == 2.0
    it.ended(8.0)
    assert it.opens_at() == 11.0


def test_each_start_draws_its_own_jitter_where_starts_count() -> None:
    drawn = iter([0.5, 1.0, 1.5])
    it = Gate(SourcePolicy(delay=2.0, jitter=(0.5, 1.5), delay_from="start"), lambda _low, _high: next(drawn))
    it.started(0.0)
    it.ended(1.0)
    assert it.opens_at() == 2.0
    it.started(8.0)
    assert it.opens_at() == 11.0


@given(st.lists(st.tuples(st.sampled_from(["start", "end", "delay", "suspend"]), SECONDS, SECONDS)))
def test_never_early(steps: list[tuple[str, float, float]]) -> None:
    it, now = gate(SourcePolicy(delay=1.0)), 0.0
    last = until = -inf
    delay = 1.0
    for what, later, seconds in steps:
        now += later
        match what:
            case "start":
                it.started(now)
                last = now
            case "end":
                it.ended(now)
                last = now
            case "delay":
                it.set_delay(seconds)
                delay = seconds
            case "suspend":
                it.suspend(now + seconds)
                until = max(until, now + seconds)
        assert it.opens_at() == max(last + delay, until)
        assert it.is_free <= (it.opens_at() <= now)
        assert (it.closed_by(now) is None) == (now >= it.opens_at())


# ---- where records outlive the process -------------------------------------------------------------------------------


def test_what_is_held_does_not_open_before_nothing_holds_it() -> None:
    it = gate()
    it.hold("unregistered", held=True)
    it.hold("store", held=True)
    assert (it.closed_by(1e9), it.opens_at(), it.is_closed, it.is_free) == ("unregistered", inf, True, False)
    it.hold("unregistered", held=False)
    assert (it.closed_by(1e9), it.opens_at(), it.is_closed, it.is_free) == ("store", inf, True, False)
    it.hold("store", held=False)
    it.hold("store", held=False)
    assert (it.closed_by(1e9), it.opens_at(), it.is_closed, it.is_free) == (None, -inf, False, True)


def test_a_pause_and_a_hold_do_not_lift_one_another() -> None:
    it = gate()
    it.set_paused(True)
    it.hold("store", held=True)
    it.set_paused(False)
    assert it.is_closed
    it.hold("store", held=False)
    assert not it.is_closed


def test_a_delay_goes_on_after_a_restart() -> None:
    it = gate(SourcePolicy(delay=3.0))
    it.resume_at(10.0)
    assert (it.opens_at(), it.probing, it.suspended_until) == (13.0, False, -inf)
    it = gate(SourcePolicy(delay=3.0, delay_from="start"))
    it.resume_at(10.0)
    assert it.opens_at() == 13.0


def test_a_suspension_goes_on_after_a_restart() -> None:
    it = gate()
    it.resume_at(-inf, 60.0)
    assert (it.opens_at(), it.probing, it.is_free) == (60.0, True, False)


# ---- pauses of next to nothing ---------------------------------------------------------------------------------------


def test_short_pauses_in_a_row_double_up_to_a_minute() -> None:
    it = gate()
    assert [it.suspension_s(0.0) for _ in range(5)] == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert [it.suspension_s(0.099) for _ in range(2)] == [0.16, 0.32]
    assert [it.suspension_s(0.0) for _ in range(40)][-27:] == [60.0] * 27


def test_a_pause_that_is_asked_for_is_kept() -> None:
    it = gate()
    assert [it.suspension_s(each) for each in (0.1, 3.0, 90.0, 0.1)] == [0.1, 3.0, 90.0, 0.1]
    assert [it.suspension_s(each) for each in (0.03, 0.03, 0.03)] == [0.03, 0.03, 0.03]


def test_an_end_without_a_pause_counts_short_ones_anew() -> None:
    it = gate()
    for _ in range(3):
        it.suspend(it.suspension_s(0.0))
    it.end_probation()
    assert it.suspension_s(0.0) == 0.005
