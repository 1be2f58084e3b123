"""The answers to stats() and explain()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haulier import messages as m
from haulier.core.outcome import Again, PutBack
from haulier.core.status import Explanation, explanation_of, status_of

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
    it.source.live = 1
    it.start(10.0)
    status = status_of(it.source, {"succeeded": 4, "failed": 2, "cancelled": 1}, 11.0, ON)
    assert (status["queued"], status["in_flight"], status["slots"], status["next_start"]) == (1, 1, 1, ON + 2.0)
    assert (status["succeeded"], status["failed"], status["cancelled"]) == (4, 2, 1)


def test_the_next_start_may_be_now_where_the_delay_is_over(make: Make) -> None:
    it = make(delay=3.0)
    it.source.gate.ended(10.0)
    assert [status_of(it.source, {}, now, ON)["next_start"] for now in (12.0, 13.0, 99.0)] == [ON + 1.0, ON, ON]


def test_when_the_next_start_is_no_matter_of_time(make: Make) -> None:
    full = make()
    full.put("a")
    full.start()
    paused = make()
    paused.source.gate.set_paused(True)
    down = make()
    down.source.go_down("x", ON)
    resting = make()
    resting.source.resting = True
    for it in (full, paused, down, resting):
        assert status_of(it.source, {}, 1.0, ON)["next_start"] is None
    assert status_of(down.source, {}, 1.0, ON)["down"] is True
    assert status_of(paused.source, {}, 1.0, ON)["paused"] is True


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
    assert explained(it, "b", 5.0) == told("queued", None, 1, None)


def test_positions_leave_out_what_was_cancelled(make: Make) -> None:
    it = make()
    it.put("a", "b", "c")
    it.source.cancel("b", ON)
    assert explained(it, "c", 5.0)["position"] == 1


def test_it_waits_for_a_slot(make: Make) -> None:
    it = make()
    it.put("a", "b")
    it.start(1.0)
    assert explained(it, "b", 5.0) == told("queued", "slot", 0, None)


def test_it_waits_for_the_delay(make: Make) -> None:
    it = make(delay=10.0)
    it.put("a", "b")
    first = it.start(1.0)
    it.source.settle(first, m.Landed(first, "x"), 1.0, ON)
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
        it.source.resting = True
    elif kind == "down":
        it.source.go_down("x", ON)
    else:
        it.source.close(ON)
    it.put("a")
    assert explained(it, "a", 5.0)["reason"] == reason


def test_a_throttled_download_waits_for_the_end_of_the_suspension(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.settle(it.start(0.0), PutBack(10.0), 0.0, ON)
    assert explained(it, "a", 4.0) == told("queued", "suspension", 0, ON + 6.0)


def test_a_failed_attempt_backs_off(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.settle(it.start(0.0), Again(10.0, "x", "y"), 0.0, ON)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, ON + 6.0)


def test_a_back_off_may_end_while_it_is_explained(make: Make) -> None:
    it = make()
    it.put("a")
    it.source.settle(it.start(0.0), Again(10.0, "x", "y"), 0.0, ON)

    class Once(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            return self.pop(key, default)

    it.source.tried = Once(it.source.tried)
    assert explained(it, "a", 4.0, "backing_off") == told("backing_off", "back-off", None, None)


@pytest.mark.parametrize("phase", ["running", "succeeded", "failed", "cancelled", None])
def test_what_does_not_wait_needs_no_reason(make: Make, phase: str | None) -> None:
    it = make()
    it.source.gate.set_paused(True)
    assert explained(it, "a", 0.0, phase=phase) == told(phase, None, None, None)


def test_a_record_without_a_source() -> None:
    assert explanation_of("x", None, None, 0.0, ON) == told(None, None, None, None)
