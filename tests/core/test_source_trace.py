"""What a source notes in a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.outcome import PutBack

ON = 1_000_000.0
Make = Callable[..., Any]


def traced(it: Any) -> list[tuple[Any, ...]]:
    """The notes of a source from now on: event, id, and what else there is."""
    notes: list[tuple[Any, ...]] = []

    def note(event: str, *, source: str, **more: Any) -> None:
        assert source == "tidal"
        notes.append((event, more.pop("id"), more))

    it.source.note = note
    return notes


def started(it: Any, *download_ids: str) -> list[Any]:
    it.put(*download_ids)
    return [it.start() for _ in download_ids]


def test_an_end_with_its_moment(make: Make) -> None:
    it = make()
    notes = traced(it)
    (transfer,) = started(it, "a")
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "x"), 5.0, ON)
    assert notes == [("end", "a", {"stamped": 5.0})]


def test_an_end_that_the_next_start_came_with(make: Make) -> None:
    it = make()
    notes = traced(it)
    (transfer,) = started(it, "a")
    it.put("b")
    assert it.source.attempts.settle_and_take(transfer, m.Succeeded(transfer, "x"), 5.0, ON) is not None
    assert notes == [("end", "a", {"stamped": 5.0})]


def test_an_end_by_a_pause_that_the_source_asked_for(make: Make) -> None:
    it = make()
    notes = traced(it)
    (transfer,) = started(it, "a")
    it.source.attempts.settle(transfer, PutBack(8.0), 5.0, ON)
    assert notes == [("end", "a", {"stamped": 5.0}), ("suspended", "a", {"until": 13.0})]


def test_a_run_that_was_given_up_on(make: Make) -> None:
    it = make(timeout=10.0)
    notes = traced(it)
    (transfer,) = started(it, "a")
    it.source.give_up(transfer, "timed out", "TimeoutError", 10.0, ON)
    assert notes == [("gave_up", "a", {"stamped": 10.0})]


def test_cancels(make: Make) -> None:
    it = make()
    notes = traced(it)
    started(it, "a")
    it.put("b")
    for download_id in ("b", "a", "a", "unknown"):
        it.source.cancel(download_id, ON)
    assert notes == [("withdrawn", "b", {}), ("cancelled", "a", {})]


def test_what_waits_when_the_source_ends(make: Make) -> None:
    it = make()
    notes = traced(it)
    it.put("a", "b")
    it.source.close(ON)
    assert notes == [("withdrawn", "a", {}), ("withdrawn", "b", {})]
