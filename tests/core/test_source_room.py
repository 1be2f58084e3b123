"""Whether there is room in a source's queue, and what makes room in a full one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from haulier import QueueFull, SourceDown, SourcePolicy
from haulier._engine.core.outcome import Again
from haulier._engine.ticket import make_ticket

ON = 1_000_000.0
Make: TypeAlias = Callable[..., Any]


def test_a_queue_without_a_bound_always_has_room(make: Make) -> None:
    it = make()
    it.put(*"abc")
    assert it.source.make_room(1_000_000, ON) is None


@pytest.mark.parametrize(("waiting", "wanted", "has_room"), [(0, 2, True), (1, 1, True), (1, 2, False), (2, 1, False)])
def test_a_bounded_queue_has_room_up_to_its_bound(make: Make, waiting: int, wanted: int, has_room: bool) -> None:
    it = make(max_queued=2)
    it.put(*"ab"[:waiting])
    error = it.source.make_room(wanted, ON)
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
    error = it.source.make_room(1, ON)
    assert type(error) is SourceDown
    assert "'tidal'" in str(error)


def test_the_oldest_downloads_are_dropped_and_fail_with_queue_full(make: Make) -> None:
    it = make(max_queued=3, on_full="drop_oldest")
    it.put(*"abc")
    assert it.source.make_room(2, ON) is None
    assert list(it.source.queue.pending) == ["c"]
    dropped = [message for message in it.store if getattr(message, "event", None) == "fail"]
    assert [(each.download_id, each.patch["error_type"], each.on) for each in dropped] == [
        ("a", "QueueFull", ON),
        ("b", "QueueFull", ON),
    ]
    it.put("d")
    assert [it.start().download_id for _ in range(1)] == ["c"]


def test_one_that_runs_is_never_dropped(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.put("a")
    running = it.start()
    it.put("b")
    assert it.source.make_room(1, ON) is None
    assert it.source.attempts.in_flight == {"a": running}
    assert it.ends() == [("fail", "b", "dropped: the queue was full, and it had waited longest")]


def test_one_that_backs_off_is_dropped_where_nothing_is_in_the_queue(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.put("a")
    it.source.attempts.settle(it.start(), Again(60.0, "reset", "OSError"), 1.0, ON)
    assert it.source.make_room(1, ON) is None
    assert (it.source.queue.pending, it.source.queue.tried) == ({}, {})


def test_more_than_the_queue_may_hold_drops_nothing(make: Make) -> None:
    it = make(max_queued=2, on_full="drop_oldest")
    it.put(*"ab")
    assert type(it.source.make_room(3, ON)) is QueueFull
    assert list(it.source.queue.pending) == ["a", "b"]


def test_one_that_is_not_on_disk_yet_is_never_dropped(make: Make) -> None:
    it = make(max_queued=1, on_full="drop_oldest")
    it.source.queue.announce([make_ticket("a", "tidal")])
    assert type(it.source.make_room(1, ON)) is QueueFull
    assert list(it.source.queue.pending) == ["a"]


def test_on_full_is_checked() -> None:
    with pytest.raises(ValueError, match="on_full must be 'raise' or 'drop_oldest', not 'drop'"):
        SourcePolicy(on_full="drop")  # type: ignore[arg-type]


def test_those_that_back_off_are_dropped_after_the_queue_in_the_order_of_their_dispatch(make: Make) -> None:
    it = make(max_queued=4, on_full="drop_oldest", concurrency=4)
    it.put(*"cbad")
    running = {transfer.download_id: transfer for transfer in (it.start(), it.start(), it.start())}
    for download_id in "bac":
        it.source.attempts.settle(running[download_id], Again(60.0, "reset", "OSError"), 1.0, ON)
    assert it.source.queue.oldest(3) == ["d", "c", "b"]
    assert it.source.queue.oldest(4) == ["d", "c", "b", "a"]
    assert it.source.queue.oldest(5) is None
    assert it.source.make_room(2, ON) is None
    assert set(it.source.queue.pending) == {"a", "b"}


def test_one_whose_back_off_has_ended_is_counted_once(make: Make) -> None:
    it = make(max_queued=2, on_full="drop_oldest")
    it.put(*"ab")
    it.source.attempts.settle(it.start(), Again(1.0, "reset", "OSError"), 0.0, ON)
    it.source.queue.retry_due("a")
    assert it.source.queue.oldest(2) == ["a", "b"]
    assert it.source.queue.oldest(3) is None
