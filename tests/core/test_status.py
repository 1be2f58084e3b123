"""The answers to stats() and explain()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, PutBack
from haulier._engine.core.status import explanation_of, status_of
from haulier.status import Explanation

ON = 1_000_000.0
Make = Callable[..., Any]


def explained(it: Any, download_id: str, now: float, phase: str | None = "queued") -> Explanation:
    return explanation_of(download_id, phase, it.source, now, ON)


def told(phase: str | None, reason: str | None, position: int | None, earliest_start: float | None) -> Any:
    return {"phase": phase, "reason": reason, "position": position, "earliest_start": earliest_start}


def test_a_new_source(make: Make) -> None:
    assert status_of(make(concurrency=2, delay=3.0).source, {}, 10.0, ON) == {
        "queued": 0, "in_flight": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "restarts": 0, "zombies": 0,
        "slots": 0, "concurrency": 2, "delay": 3.0, "down": False, "paused": False, "suspended_until": None,
        "next_start": ON,
    }  # fmt: skip


def test_a_busy_source(make: Make) -> None:
    it = make(concurrency=2, delay=3.0)
    it.put("a", "b")
    it.source.slots.live = 1
    it.start(10.0)
    status = status_of(it.source, {"succeeded": 4, "failed": 2, "cancelled": 1}, 11.0, ON)
    assert (status["queued"], status["in_flight"], status["slots"], status["next_start"]) == (1, 1, 1, ON + 2.0)
    assert (status["succeeded"], status["failed"], status["cancelled"]) == (4, 2, 1)


def test_when_the_next_start_is_no_matter_of_time(make: Make) -> None:
    full = make()
    full.put("a")
    full.start()
    paused = make()
    paused.source.gate.set_paused(True)
    down = make()
    down.source.go_down("x", ON)
    starting = make(delay=1.0)
    starting.put("a")
    starting.source.attempts.take(1.0, ON)  # and its impl is not called yet: the delay counts from then
    for it in (full, paused, down, starting):
        assert status_of(it.source, {}, 1.0, ON)["next_start"] is None
    assert status_of(down.source, {}, 1.0, ON)["down"] is True
    assert status_of(paused.source, {}, 1.0, ON)["paused"] is True


def test_a_source_that_rests_starts_when_that_is_over_unless_another_slot_is_free(make: Make) -> None:
    it = make(concurrency=2)
    it.source.slots.resting, it.source.slots.resting_until = True, 8.0
    assert status_of(it.source, {}, 1.0, ON)["next_start"] == ON + 7.0
    it.source.slots.live = 1
    assert status_of(it.source, {}, 1.0, ON)["next_start"] == ON
    it.put("a")
    it.start(1.0)
    assert status_of(it.source, {}, 1.0, ON)["next_start"] == ON + 7.0


def test_a_source_on_probation_starts_one_alone(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c")
    it.source.attempts.settle(it.start(0.0), PutBack(4.0), 0.0, ON)
    assert status_of(it.source, {}, 0.0, ON)["next_start"] == ON + 4.0
    it.start(4.0)
    assert status_of(it.source, {}, 4.0, ON)["next_start"] is None


def test_a_closed_source_is_not_down(make: Make) -> None:
    it = make()
    it.source.close(ON)
    assert status_of(it.source, {}, 1.0, ON)["down"] is False


def test_a_suspension_is_told_in_utc(make: Make) -> None:
    it = make()
    it.source.gate.suspend(20.0)
    assert status_of(it.source, {}, 12.0, ON)["suspended_until"] == ON + 8.0
    assert status_of(it.source, {}, 20.0, ON)["suspended_until"] is None


# ---- explain ---------------------------------------------------------------------------------------------------------


def test_what_is_about_to_start(make: Make) -> None:
    it = make()
    it.put("a", "b")
    assert explained(it, "a", 5.0) == told("queued", None, 0, ON)
    assert explained(it, "b", 5.0) == told("queued", "slot", 1, None)
    it.source.slots.limit = 2
    assert explained(it, "b", 5.0) == told("queued", None, 1, ON)


def test_what_comes_after_others_waits_for_the_delay_that_they_bring_about(make: Make) -> None:
    it = make(concurrency=2, delay=3.0)
    it.put("a", "b", "c")
    assert explained(it, "a", 5.0) == told("queued", None, 0, ON)
    assert explained(it, "b", 5.0) == told("queued", "delay", 1, None)
    assert explained(it, "c", 5.0) == told("queued", "slot", 2, None)
    it.source.attempts.take(5.0, ON)  # and its impl is not called yet
    assert explained(it, "b", 5.0) == told("queued", "delay", 0, None)


def test_another_start_that_is_about_to_come_is_no_delay_where_there_is_none(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c")
    it.source.gate.suspend(0.0)
    it.source.gate.end_probation()
    it.source.gate.claim()
    assert explained(it, "a", 5.0) == told("queued", None, 0, ON)


@pytest.mark.parametrize("low", [0.0, 0.5])
def test_jitter_may_draw_a_delay_for_the_next_one(make: Make, low: float) -> None:
    it = make(concurrency=2, delay=3.0, jitter=(low, 1.5))
    it.put("a", "b")
    assert explained(it, "b", 5.0) == told("queued", "delay", 1, None)


def test_a_pause_is_what_holds_up_everything_behind_it(make: Make) -> None:
    it = make()
    it.put("a", "b", "c")
    it.start(0.0)
    it.source.gate.set_paused(True)
    assert [explained(it, each, 5.0)["reason"] for each in ("b", "c")] == ["pause", "pause"]


def test_one_that_is_being_queued_comes_behind_all(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c")
    it.source.queue.ids.pop()  # its dispatch is not that far yet
    assert explained(it, "c", 5.0) == told("queued", "slot", None, None)
    it.source.slots.limit = 3
    assert explained(it, "c", 5.0) == told("queued", None, None, None)


def test_positions_and_places_leave_out_what_was_cancelled(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c", "d")
    it.source.cancel("b", ON)
    assert explained(it, "c", 5.0) == told("queued", None, 1, ON)
    assert explained(it, "d", 5.0) == told("queued", "slot", 2, None)
    assert it.source.queue.position("b") is None


def test_it_waits_for_a_slot(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start(1.0)
    assert explained(it, "b", 5.0) == told("queued", "slot", 0, None)


def test_it_waits_for_the_delay(make: Make) -> None:
    it = make(delay=10.0)
    it.put("a", "b")
    first = it.start(1.0)
    it.source.attempts.settle(first, m.Succeeded(first, "x"), 1.0, ON)
    assert explained(it, "b", 5.0) == told("queued", "delay", 0, ON + 6.0)


def test_it_waits_for_the_end_of_a_pause(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.gate.set_paused(True)
    assert explained(it, "a", 5.0) == told("queued", "pause", 0, None)


@pytest.mark.parametrize(("kind", "reason"), [("resting", "restart"), ("down", "down"), ("closed", "closed")])
def test_it_waits_for_the_source(make: Make, kind: str, reason: str) -> None:
    it = make()
    if kind == "resting":
        it.source.slots.resting, it.source.slots.resting_until = True, 9.0
    elif kind == "down":
        it.source.go_down("x", ON)
    else:
        it.source.close(ON)
    it.put("a")
    assert explained(it, "a", 5.0) == told("queued", reason, 0, ON + 4.0 if kind == "resting" else None)


def test_a_slot_that_lives_goes_on_while_its_source_rests(make: Make) -> None:
    it = make(concurrency=3)
    it.source.slots.resting, it.source.slots.resting_until, it.source.slots.live = True, 9.0, 1
    it.put("a", "b", "c", "d")
    assert explained(it, "a", 5.0) == told("queued", None, 0, ON)
    assert explained(it, "b", 5.0) == told("queued", "restart", 1, None)
    assert explained(it, "d", 5.0) == told("queued", "slot", 3, None)
    it.start(5.0)
    assert explained(it, "b", 5.0) == told("queued", "restart", 0, ON + 4.0)


def test_on_probation_all_but_one_wait_for_a_slot(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b", "c")
    it.source.attempts.settle(it.start(0.0), PutBack(4.0), 0.0, ON)
    assert [explained(it, each, 1.0)["reason"] for each in "abc"] == ["suspension"] * 3
    assert [explained(it, each, 4.0)["reason"] for each in "abc"] == [None, "slot", "slot"]
    probe = it.start(4.0)
    assert explained(it, "b", 4.0) == told("queued", "slot", 0, None)
    it.source.attempts.settle(probe, m.Succeeded(probe, "x"), 5.0, ON)
    assert [explained(it, each, 5.0) for each in "bc"] == [
        told("queued", None, 0, ON),
        told("queued", None, 1, ON),
    ]


def test_a_throttled_download_waits_for_the_end_of_the_suspension(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.attempts.settle(it.start(0.0), PutBack(10.0), 0.0, ON)
    assert explained(it, "a", 4.0) == told("queued", "suspension", 0, ON + 6.0)


def test_a_failed_attempt_backs_off(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.attempts.settle(it.start(0.0), BackOff(10.0, "x", "y"), 0.0, ON)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, ON + 6.0)


def test_a_back_off_that_ends_before_the_gate_opens_waits_for_the_gate(make: Make) -> None:
    it = make(delay=30.0)
    it.put("a")
    it.source.attempts.settle(it.start(0.0), BackOff(10.0, "x", "y"), 0.0, ON)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, ON + 26.0)
    it.source.gate.set_paused(True)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, None)


def test_who_comes_first_after_a_back_off_depends_on_more_than_time(make: Make) -> None:
    it = make(delay=30.0)
    it.put("a", "b")
    it.source.attempts.settle(it.start(0.0), BackOff(10.0, "x", "y"), 0.0, ON)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, None)
    assert explained(it, "b", 4.0) == told("queued", "delay", 0, None)
    it.source.gate.set_delay(8.0)
    assert explained(it, "b", 4.0) == told("queued", "delay", 0, ON + 4.0)


def test_until_the_supervisor_has_said_so_a_back_off_is_not_over(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a", "b")
    it.source.attempts.settle(it.start(0.0), BackOff(10.0, "x", "y"), 0.0, ON)
    assert explained(it, "a", 10.0, "backing_off") == told("backing_off", "back-off", None, None)
    assert explained(it, "b", 10.0) == told("queued", None, 0, None)  # either may be first
    it.source.queue.retry_due("a")
    assert explained(it, "a", 10.0, "backing_off") == told("backing_off", None, 0, ON)
    assert explained(it, "b", 10.0) == told("queued", None, 1, ON)


def test_a_slot_that_lives_may_have_left_when_a_back_off_is_over(make: Make) -> None:
    it = make(concurrency=2)
    it.put("a")
    it.source.attempts.settle(it.start(0.0), BackOff(10.0, "x", "y"), 0.0, ON)
    it.source.slots.resting, it.source.slots.resting_until, it.source.slots.live = True, 20.0, 1
    assert explained(it, "a", 4.0, "backing_off")["earliest_start"] is None
    it.source.slots.live = 0
    assert explained(it, "a", 4.0, "backing_off")["earliest_start"] == ON + 16.0
    it.source.slots.live, it.source.slots.resting_until = 1, 10.0
    assert explained(it, "a", 4.0, "backing_off")["earliest_start"] == ON + 6.0


@pytest.mark.parametrize("phase", ["running", "succeeded", "failed", "cancelled", None])
def test_what_does_not_wait_needs_no_reason(make: Make, phase: str | None) -> None:
    it = make()
    it.source.gate.set_paused(True)
    assert explained(it, "a", 0.0, phase=phase) == told(phase, None, None, None)


def test_a_record_without_a_source() -> None:
    assert explanation_of("x", None, None, 0.0, ON) == told(None, None, None, None)
