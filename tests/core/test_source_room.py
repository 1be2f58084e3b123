"""Whether there is room in a source's queue, and what makes room in a full one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from haulier import QueueFull, SourceDown, SourcePolicy
from haulier._engine.core.outcome import BackOff
from haulier._engine.ticket import make_ticket

ON = 1_000_000.0
Make: TypeAlias = Callable[..., Any]


def test_a_queue_without_a_bound_always_has_room(make: Make) -> None:
    it = make()
    it.put(*"abc")
    assert it.source.refuses(1_000_000) is None


@pytest.mark.parametrize(("waiting", "wanted", "has_room"), [(0, 2, True), (1, 1, True), (1, 2, False), (2, 1, False)])
def test_a_bounded_queue_has_room_up_to_its_bound(make: Make, waiting: int, wanted: int, has_room: bool) -> None:
    it = make(max_queued=2)
    it.put(*"ab"[:waiting])
    error = it.source.refuses(wanted)
    assert (error is None) is has_room
    assert error is None or type(error) is QueueFull
    assert error is None or str(error) == (
        f"the queue of source 'tidal' is full: {waiting} downloads wait, max_queued is 2; "
        "wait for some to end, or raise max_queued"
    )
    assert len(it.source.queue.pending) == waiting


def test_a_source_that_is_down_has_no_room_whatever_the_policy(make: Make) -> None:
    it = make(max_queued=2, on_full="drop_oldest")
    it.source.go_down("crashed too often", ON)
    error = it.source.refuses(1)
    assert type(error) is SourceDown
    assert "'tidal'" in str(error)


def fill(it: Any, *download_ids: str) -> None:
    """Queue downloads together, as a dispatch does: a look whether they may, then the queue, then the trim."""
    assert it.source.refuses(len(download_ids)) is None
    on = 100.0 + len(it.store)
    tickets = [make_ticket(each, "tidal", username="tidal", queued_at=on) for each in download_ids]
    for ticket in tickets:
        it.source.queue.put(ticket)
    it.source.trim(tickets, ON)


def test_the_oldest_downloads_are_dropped_and_fail_with_queue_full(make: Make) -> None:
    it = make(max_queued=3, on_full="drop_oldest")
    it.put(*"abc")
    fill(it, *"de")
    assert list(it.source.queue.pending) == ["c", "d", "e"]
    dropped = [message for message in it.store if getattr(message, "event", None) == "fail"]
    assert [(each.download_id, each.patch["error_type"], each.on) for each in dropped] == [
        ("a", "QueueFull", ON),
        ("b", "QueueFull", ON),
    ]
    assert it.start().download_id == "c"


def test_nothing_is_dropped_before_the_new_ones_are_queued(make: Make) -> None:
    it = make(max_queued=2, on_full="drop_oldest")
    it.put(*"ab")
    assert it.source.refuses(2) is None
    assert (list(it.source.queue.pending), it.ends()) == (["a", "b"], [])


@pytest.mark.parametrize("policy", [{}, {"max_queued": 1}, {"max_queued": 1, "on_full": "raise"}])
def test_another_policy_drops_nothing(make: Make, policy: dict[str, Any]) -> None:
    it = make(**policy)
    it.put(*"abc")
    it.source.trim((), ON)
    assert (list(it.source.queue.pending), it.ends()) == (["a", "b", "c"], [])


def test_a_source_that_was_closed_meanwhile_drops_nothing(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.source.is_durable = True
    it.put(*"ab")
    it.source.close(ON)
    it.source.trim((), ON)
    assert (list(it.source.queue.pending), it.ends()) == (["a", "b"], [])


def test_one_that_runs_is_never_dropped(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.put("a")
    running = it.start()
    it.put("b")
    fill(it, "c")
    assert it.source.attempts.in_flight == {"a": running}
    assert it.ends() == [("fail", "b", "dropped: the queue was full, and it had waited longest")]


def test_one_that_backs_off_is_dropped_before_a_newer_one(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.put("a")
    it.source.attempts.settle(it.start(), BackOff(60.0, "reset", "OSError"), 1.0, ON)
    fill(it, "b")
    assert (list(it.source.queue.pending), it.source.queue.tried) == (["b"], {})


def test_those_that_were_tried_are_dropped_in_the_order_of_their_dispatch(make: Make) -> None:
    it = make(max_queued=4, on_full="drop_oldest", concurrency=3)
    it.put(*"cbad")
    running = {transfer.download_id: transfer for transfer in (it.start(), it.start(), it.start())}
    for download_id in "bac":
        it.source.attempts.settle(running[download_id], BackOff(60.0, "reset", "OSError"), 1.0, ON)
    queue = it.source.queue
    assert [queue.oldest_beyond(most, ()) for most in (4, 3, 2, 1, 0)] == [
        [], ["c"], ["c", "b"], ["c", "b", "a"], ["c", "b", "a", "d"],
    ]  # fmt: skip
    assert queue.oldest_beyond(2, {"c"}) == ["b", "a"]


def test_one_that_is_in_the_queue_twice_is_dropped_once(make: Make) -> None:
    it = make(max_queued=2, on_full="drop_oldest")
    it.put(*"abc")
    it.source.queue.ids.appendleft("a")
    assert it.source.queue.oldest_beyond(1, ()) == ["a"]
    assert it.source.queue.oldest_beyond(0, {"a"}) == ["b"]
    it.source.trim((), ON)
    assert [download_id for _, download_id, _ in it.ends()] == ["a"]


@pytest.mark.parametrize("on_full", ["raise", "drop_oldest"])
def test_more_than_the_queue_may_hold_are_refused_and_nothing_is_dropped(make: Make, on_full: str) -> None:
    it = make(max_queued=2, on_full=on_full)
    it.put("a")
    error = it.source.refuses(3)
    assert type(error) is QueueFull
    assert str(error) == (
        "3 downloads do not fit into the queue of source 'tidal' at once: max_queued is 2; "
        "dispatch at most 2 at a time, or raise max_queued"
    )
    assert list(it.source.queue.pending) == ["a"]


@pytest.mark.parametrize("is_tried", [False, True])
def test_those_that_are_being_written_are_neither_counted_nor_dropped(make: Make, is_tried: bool) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    first, second = ([make_ticket(each, "tidal", queued_at=-1.0)] for each in "bc")
    it.put("a")
    if is_tried:
        it.source.attempts.settle(it.start(), BackOff(60.0, "reset", "OSError"), 1.0, ON)
    for announced in (first, second):
        assert it.source.refuses(1) is None
        it.source.queue.announce(announced)
    assert it.source.queue.oldest_beyond(1, ()) == []
    it.source.queue.enqueue(first)
    it.source.trim(first, ON)
    assert list(it.source.queue.pending) == ["b", "c"]
    it.source.queue.renounce(second)
    it.source.trim((), ON)
    assert list(it.source.queue.pending) == ["b"]


def test_on_full_is_checked() -> None:
    with pytest.raises(ValueError, match="on_full must be 'raise' or 'drop_oldest', not 'drop'"):
        SourcePolicy(on_full="drop")  # type: ignore[arg-type]
