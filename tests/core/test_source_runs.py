"""What a source does with an attempt that ended: a result, another attempt, a pause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from math import inf
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Failed, Outcome, PutBack, StoppedEarly
from haulier._engine.core.status import Outlook

ON = 1_000_000.0
Make = Callable[..., Any]


def running(it: Any, *download_ids: str, now: float = 0.0) -> list[Any]:
    it.put(*download_ids)
    it.source.slots.live += len(download_ids)
    return [it.start(now) for _ in download_ids]


# ---- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Failed("boom", "ValueError"), ("fail", {"error": "boom", "error_type": "ValueError"})),
        (Failed(None, None), ("fail", {"error_type": None})),
        (StoppedEarly(), ("cancel", None)),
    ],
)
def test_an_end_is_told(make: Make, outcome: Outcome, told: Any) -> None:
    it = make()
    (transfer,) = running(it, "a")
    assert it.source.attempts.settle(transfer, outcome, 1.0, ON) is True
    assert it.store[-1] == m.Moved(told[0], "tidal", "a", transfer, told[1], ON)
    assert (it.source.attempts.in_flight, it.source.slots.live, transfer.has_ended) == ({}, 1, True)


def test_a_landing_is_told_with_its_moment(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    landed = m.Succeeded(transfer, "x")
    it.source.attempts.settle(transfer, landed, 1.0, ON)
    assert it.store[-1] is landed
    assert landed.on == ON


# ---- another attempt -------------------------------------------------------------------------------------------------


def test_a_back_off_frees_the_slot_and_comes_first_when_due(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.put("b", "c")
    transfer.cell.update(transferred=9, progress=50.0, speed=3, time_remaining=1.0, size=18)
    it.source.attempts.settle(transfer, BackOff(4.0, "reset", "OSError"), 10.0, ON)
    patch = {"error": "reset", "error_type": "OSError", "next_attempt_at": ON + 4.0}
    standing = m.Standing(1, ON - 10.0, 4.0, ON + 4.0)
    assert it.store[-1] == m.Moved("back_off", "tidal", "a", transfer, patch, ON, standing)
    assert it.supervisor == [m.Retry(it.source, "a", 14.0)]
    assert Outlook(it.source, 13.0).reason("a") == "back-off"
    second = it.start(10.0)
    assert second.download_id == "b"
    it.source.queue.retry_due("a")
    it.source.attempts.settle(second, m.Succeeded(second, "x"), 14.0, ON)
    again = it.start(14.0)
    assert (again.download_id, again.attempt, again.first_start, again.idle_s) == ("a", 2, 0.0, 4.0)
    assert again.cell is transfer.cell
    assert again.cell == {"transferred": 0, "progress": 0.0, "speed": 0, "time_remaining": None, "size": 18}


def test_the_time_of_the_first_start_and_the_waits_add_up(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a", now=5.0)
    for attempt in (1, 2, 3):
        assert transfer.attempt == attempt
        it.source.attempts.settle(transfer, BackOff(2.0, None, None), 10.0 * attempt, ON)
        it.source.queue.retry_due("a")
        transfer = it.start(10.0 * attempt + 2.0)
    assert (transfer.first_start, transfer.idle_s) == (5.0, 6.0)


def test_an_empty_result_that_is_tried_again_keeps_the_impls_error(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, BackOff(4.0, None, None), 10.0, ON)
    assert it.store[-1].patch == {"error_type": None, "next_attempt_at": ON + 4.0}


def test_a_back_off_that_was_cancelled_does_not_come_back(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, BackOff(4.0, "reset", "OSError"), 0.0, ON)
    assert it.source.cancel("a", ON) is True
    it.source.queue.retry_due("a")
    assert (list(it.source.queue.ids), it.source.queue.tried, it.start(9.0)) == ([], {}, inf)


def test_the_end_of_a_back_off_that_is_told_of_twice_cuts_no_later_one_short(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, BackOff(4.0, "reset", "OSError"), 10.0, ON)
    it.source.queue.retry_due("a", 14.0)
    it.source.attempts.settle(it.start(14.0), BackOff(4.0, "reset", "OSError"), 15.0, ON)
    it.source.queue.retry_due("a", 14.0)
    assert it.start(18.0) == inf
    it.source.queue.retry_due("a", 19.0)
    assert it.start(19.0).attempt == 3


def test_throttled_goes_back_to_the_head_and_suspends_the_source(make: Make) -> None:
    it = make(concurrency=2)
    (transfer,) = running(it, "a")
    it.put("b", "c")
    it.source.attempts.settle(transfer, PutBack(8.0), 10.0, ON)
    patch, standing = {"attempt": 0, "next_attempt_at": ON + 8.0}, m.Standing(0, ON - 10.0, 8.0, ON + 8.0)
    assert it.store[-1] == m.Moved("put_back", "tidal", "a", transfer, patch, ON, standing)
    assert Outlook(it.source, 11.0).reason("a") == "suspension"
    assert it.start(17.0) == 18.0
    again = it.start(18.0)
    assert (again.download_id, again.attempt) == ("a", 1)
    assert it.start(18.0) == inf  # one alone
    it.source.attempts.settle(again, m.Succeeded(again, "x"), 19.0, ON)
    assert [it.start(19.0).download_id for _ in "bc"] == ["b", "c"]


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_those_put_back_together_start_in_the_order_of_their_dispatch(make: Make, order: Sequence[str]) -> None:
    it = make(concurrency=3)
    transfers = {transfer.download_id: transfer for transfer in running(it, *"abc")}
    it.put("d")
    for download_id in order:
        it.source.attempts.settle(transfers[download_id], PutBack(8.0), 1.0, ON)
    assert list(it.source.queue.ids) == ["a", "b", "c", "d"]


def test_what_started_before_the_suspension_proves_nothing(make: Make) -> None:
    it = make(concurrency=2)
    first, second = running(it, "a", "b")
    it.put("c")
    it.source.attempts.settle(first, PutBack(8.0), 1.0, ON)
    it.source.attempts.settle(second, m.Succeeded(second, "x"), 2.0, ON)
    assert it.source.gate.probing
    assert it.start(9.0).download_id == "a"
    assert it.start(9.0) == inf


def test_a_throttled_probe_suspends_it_again(make: Make) -> None:
    it = make(concurrency=2)
    (transfer,) = running(it, "a")
    it.source.attempts.settle(transfer, PutBack(8.0), 0.0, ON)
    it.source.attempts.settle(it.start(8.0), PutBack(8.0), 9.0, ON)
    assert it.start(16.0) == 17.0
    assert it.source.gate.probing


def test_a_cancelled_run_that_was_throttled_suspends_all_the_same(make: Make) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.put("b")
    it.source.cancel("a", ON)
    it.source.attempts.settle(transfer, PutBack(8.0), 0.0, ON)
    assert it.start(1.0) == 8.0
    assert it.start(8.0).download_id == "b"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (BackOff(1.0, "reset", "OSError"), "reset"),
        (PutBack(1.0), None),
        (StoppedEarly(), None),
        (BackOff(1.0, None, None), None),
    ],
)
@pytest.mark.parametrize("kind", ["down", "closed"])
def test_a_source_that_takes_no_more_keeps_nothing_for_later(
    make: Make, outcome: Outcome, error: str | None, kind: str
) -> None:
    it = make()
    (transfer,) = running(it, "a")
    it.source.close(ON) if kind == "closed" else it.source.go_down("broken", ON)
    it.source.attempts.settle(transfer, outcome, 1.0, ON)
    assert it.ends() == [("fail", "a", error or {"closed": "engine closed", "down": "source down: broken"}[kind])]
    assert (it.source.queue.pending, it.source.queue.tried, it.supervisor) == ({}, {}, [])


# ---- one that landed and the next, in one step -----------------------------------------------------------------------


def test_a_landing_and_the_next_start_are_one_message(make: Make) -> None:
    it = make()
    (first,) = running(it, "a")
    it.put("b")
    told = len(it.store)
    landed = m.Succeeded(first, "x")
    second = it.source.attempts.settle_and_take(first, landed, 2.0, ON)
    assert (second.download_id, second.started_at, second.started_on, second.attempt) == ("b", 2.0, ON, 1)
    assert second.cell == {}
    assert it.store[told:] == [landed]
    assert (landed.on, landed.following) == (ON, second)
    assert (it.source.attempts.in_flight, first.has_ended) == ({"b": second}, True)
    it.source.gate.set_delay(5.0)
    assert it.source.gate.opens_at() == 7.0  # from the end of the one and the start of the other


@pytest.mark.parametrize(
    "obstacle",
    ["nothing waits", "withdrawn", "fenced", "delay", "paused", "suspended", "limit", "another's retry", "timeout",
     "closed", "failed"],
)  # fmt: skip
def test_where_it_is_not_that_simple_nothing_has_been_done(make: Make, obstacle: str) -> None:
    it = make(concurrency=2, timeout=9.0 if obstacle == "timeout" else None)
    outcome: Outcome = m.Succeeded(None, "x")  # type: ignore[arg-type]
    first, other = running(it, "a", "z")
    if obstacle != "nothing waits":
        it.put("b")
    match obstacle:
        case "withdrawn":
            it.source.cancel("b", ON)
        case "fenced":
            it.source.cancel("a", ON)
        case "delay":
            it.source.gate.set_delay(1.0)
        case "paused":
            it.source.gate.set_paused(True)
        case "suspended":
            it.source.gate.suspend(9.0)
        case "limit":
            it.source.slots.limit = 1
        case "another's retry":
            it.source.attempts.settle(other, BackOff(4.0, "reset", "OSError"), 1.0, ON)
        case "closed":
            it.source.close(ON)
        case "failed":
            outcome = Failed("boom", "ValueError")
    told, flying = len(it.store), dict(it.source.attempts.in_flight)
    assert it.source.attempts.settle_and_take(first, outcome, 2.0, ON) is None
    assert len(it.store) == told
    assert it.source.attempts.in_flight == flying
