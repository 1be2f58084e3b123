"""A source that writes each start to disk before the impl is called, and what it does if that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Failed
from haulier._engine.core.queue import Tried
from haulier.policies import SourcePolicy

ON = 1_000_000.0
Make = Callable[..., Any]


@pytest.fixture
def once(make: Make) -> Make:
    """``once(**policy)``: a durable source with ``at_most_once``."""

    def made(**policy: Any) -> Any:
        it = make()
        it.source.is_durable = True
        it.source.apply(SourcePolicy(at_most_once=True, **policy))
        return it

    return made


def take(it: Any, now: float = 0.0) -> Any:
    return it.source.attempts.take(now, ON)


def waiting(it: Any) -> list[str]:
    return list(it.source.queue.ids)


def test_only_a_durable_source_writes_starts(make: Make) -> None:
    it = make()
    for is_durable, at_most_once in ((False, True), (True, False), (True, True), (False, False)):
        it.source.is_durable = is_durable
        it.source.apply(SourcePolicy(at_most_once=at_most_once))
        assert it.source.writes_starts is (is_durable and at_most_once)
    assert make().source.writes_starts is False


def test_a_start_counts_when_the_impl_is_called(once: Make) -> None:
    it = once(delay=10.0, delay_from="start", concurrency=2)
    it.put("a", "b")
    transfer = take(it)
    assert (transfer.claimed, it.source.gate.claims) == (True, 1)
    it.source.attempts.confirm(transfer, 4.0)
    assert (transfer.claimed, it.source.gate.claims, take(it, 5.0)) == (False, 0, 14.0)


def test_without_a_delay_several_starts_are_written_at_once(once: Make) -> None:
    it = once(concurrency=3)
    it.put("a", "b", "c")
    assert [take(it).claimed for _ in range(3)] == [True] * 3
    assert it.source.gate.claims == 3


def test_the_next_start_is_not_part_of_a_report(once: Make) -> None:
    it = once()
    it.put("a", "b")
    transfer = it.start()
    success = m.Succeeded(transfer, "/x")
    assert it.source.attempts.settle_and_take(transfer, success, 1.0, ON) is None
    it.source.apply(SourcePolicy())
    assert it.source.attempts.settle_and_take(transfer, success, 1.0, ON).download_id == "b"


def test_a_start_that_is_taken_back_leaves_no_trace(once: Make) -> None:
    it = once(delay=10.0)
    it.put("a", "b")
    transfer = take(it)
    notes: list[tuple[str, str]] = []
    it.source.note = lambda event, *, id, **_: notes.append((event, id))
    assert it.source.attempts.take_back(transfer, 3.0, ON)
    patch = {"attempt": 0, "started_at": None}
    assert it.store[-1] == m.Moved("take_back", "tidal", "a", transfer, patch, ON, None)
    assert it.source.queue.tried == {"a": Tried(0, None, 0.0, transfer.cell, 3.0, False)}
    assert (waiting(it), it.source.attempts.in_flight, it.source.gate.claims) == (["a", "b"], {}, 0)
    assert (transfer.has_ended, transfer.claimed, notes) == (True, False, [("taken_back", "a")])
    again = take(it, 3.0)
    assert (again.download_id, again.attempt, again.first_start) == ("a", 1, None), "no delay, no attempt"


def test_a_start_that_was_not_claimed_is_taken_back_as_well(make: Make) -> None:
    """The policy has changed since it was taken."""
    it = make()
    it.put("a")
    transfer = take(it)
    assert it.source.attempts.take_back(transfer, 3.0, ON)
    assert (waiting(it), it.source.gate.claims) == (["a"], 0)


def test_starts_that_are_taken_back_keep_their_order(once: Make) -> None:
    it = once(concurrency=2)
    it.put("a", "b", "c")
    first, second = take(it), take(it)
    for transfer in (first, second):
        it.source.attempts.take_back(transfer, 1.0, ON)
    assert waiting(it) == ["a", "b", "c"]


def test_a_later_attempt_keeps_what_it_had_spent(once: Make) -> None:
    it = once()
    it.put("a")
    transfer = it.start(5.0)
    it.source.attempts.settle(transfer, BackOff(2.0, "reset", "OSError"), 6.0, ON)
    it.source.queue.retry_due("a")
    transfer = take(it, 8.0)
    assert transfer.attempt == 2
    it.source.attempts.take_back(transfer, 9.0, ON)
    standing = m.Standing(1, ON - 4.0, 2.0, ON)
    assert it.store[-1] == m.Moved("take_back", "tidal", "a", transfer, {"attempt": 1}, ON, standing)
    assert it.source.queue.tried == {"a": Tried(1, 5.0, 2.0, transfer.cell, 9.0, False)}
    again = take(it, 9.0)
    assert (again.attempt, again.first_start, again.idle_s) == (2, 5.0, 2.0)


def test_what_was_cancelled_meanwhile_stays_cancelled(once: Make) -> None:
    it = once()
    it.put("a")
    transfer = take(it)
    assert it.source.cancel("a", ON)
    assert it.source.attempts.take_back(transfer, 3.0, ON)
    assert it.store[-1] == m.Paced("tidal", ON, None)
    assert (waiting(it), it.source.attempts.in_flight, it.source.gate.claims) == ([], {}, 0)


def test_what_was_given_up_on_meanwhile_ends_its_slot(once: Make) -> None:
    it = once()
    it.put("a")
    transfer = take(it)
    it.source.slots.live = 1
    it.source.give_up(transfer, "timed out", "TimeoutError", 1.0, ON)
    told = list(it.store)
    assert not it.source.attempts.take_back(transfer, 3.0, ON)
    assert (it.source.slots.zombies, it.store, it.source.queue.pending) == (0, told, {})


@pytest.mark.parametrize("is_down", [False, True], ids=["closed", "down"])
def test_at_the_end_it_is_kept_unless_the_source_is_down(once: Make, is_down: bool) -> None:
    it = once()
    it.put("a")
    transfer = take(it)
    if is_down:
        it.source.go_down("too many crashes", ON)
    else:
        it.source.close(ON)
    notes: list[tuple[str, str]] = []
    it.source.note = lambda event, *, id, **_: notes.append((event, id))
    assert it.source.attempts.take_back(transfer, 3.0, ON)
    if is_down:
        patch = {"error": "source down: too many crashes", "error_type": "SourceDown"}
        assert it.store[-1] == m.Moved("fail", "tidal", "a", transfer, patch, ON)
        assert (it.source.queue.pending, notes) == ({}, [("taken_back", "a")])
    else:
        assert it.store[-1].on == ON
        assert it.ends() == [("take_back", "a", None)]
        assert (list(it.source.queue.pending), waiting(it)) == (["a"], ["a"])
        assert notes == [("taken_back", "a"), ("kept", "a")]


@pytest.mark.parametrize("is_called", [False, True])
@pytest.mark.parametrize("is_closed", [False, True])
def test_giving_up_keeps_what_was_not_called_at_the_end(once: Make, is_called: bool, is_closed: bool) -> None:
    it = once()
    it.put("a")
    transfer = take(it)
    it.source.slots.live = 1
    if is_called:
        it.source.attempts.confirm(transfer, 1.0)
    if is_closed:
        it.source.close(ON)
    it.source.give_up(transfer, "engine closed", "EngineClosed", 2.0, ON)
    is_kept = is_closed and not is_called
    assert it.ends() == [("take_back", "a", None) if is_kept else ("fail", "a", "engine closed")]
    assert list(it.source.queue.pending) == (["a"] if is_kept else [])
    assert it.source.queue.tried == ({"a": Tried(0, None, 0.0, transfer.cell, 2.0, False)} if is_kept else {})
    assert it.store[-1].on == ON
    assert (transfer.fenced, transfer.cancelled, it.source.slots.zombies) == (True, True, 1)


def test_a_source_that_writes_no_starts_does_not_keep_what_it_gives_up_on(make: Make) -> None:
    it = make(delay=1.0)
    it.source.is_durable = True
    it.put("a")
    transfer = take(it)
    assert transfer.claimed
    it.source.close(ON)
    it.source.give_up(transfer, "engine closed", "EngineClosed", 2.0, ON)
    assert it.ends() == [("fail", "a", "engine closed")]


def test_time_outs_count_from_the_call(once: Make) -> None:
    it = once(timeout=10.0, stall_timeout=8.0)
    it.put("a")
    transfer = take(it)
    assert it.source.overdue(transfer, 100.0) == 102.0
    assert (transfer.deadline, transfer.moved_at) == (110.0, 100.0)
    it.source.attempts.confirm(transfer, 105.0)
    assert (transfer.deadline, transfer.moved_at) == (115.0, 105.0)
    assert it.source.overdue(transfer, 112.0) == 114.0
    assert it.source.overdue(transfer, 113.0) == "stalled: no progress for 8 s"
    transfer.cell["transferred"] = 1
    assert it.source.overdue(transfer, 114.0) == 115.0
    assert it.source.overdue(transfer, 115.0) == "timed out after 10 s"


def test_a_claimed_start_that_need_not_be_written_can_be_overdue(make: Make) -> None:
    it = make(timeout=10.0, delay=1.0)
    it.put("a")
    transfer = take(it)
    assert transfer.claimed
    assert it.source.overdue(transfer, 10.0) == "timed out after 10 s"


def test_a_failure_after_the_call_is_a_failure(once: Make) -> None:
    it = once()
    it.put("a")
    transfer = it.start()
    it.source.attempts.settle(transfer, Failed("gone", "OSError"), 1.0, ON)
    assert it.ends() == [("fail", "a", "gone")]
