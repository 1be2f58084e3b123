"""A source whose downloads outlive the engine: what it says of its delays, and what it keeps at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.outcome import BackOff, Failed, Outcome, PutBack, StoppedEarly
from haulier._engine.ticket import make_ticket

ON = 1_000_000.0
AT = 100.0
"""When a run ends, monotonic; UTC seconds are 1,000,000 then."""
Make = Callable[..., Any]


def kept(make: Make, **policy: Any) -> Any:
    it = make(**policy)
    it.source.is_durable = True
    return it


def started(it: Any, download_id: str = "a", now: float = AT - 8.0) -> Any:
    it.put(download_id)
    it.source.slots.live += 1
    return it.start(now)


def traced(it: Any) -> list[tuple[str, str]]:
    notes: list[tuple[str, str]] = []
    it.source.note = lambda event, *, id, **_: notes.append((event, id))
    return notes


# ---- how long it has to wait -----------------------------------------------------------------------------------------


def cancelled(it: Any, transfer: Any) -> None:
    it.source.cancel("a", ON)


def test_what_was_cancelled_has_ended_when_it_returns(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    cancelled(it, transfer)
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "/x"), AT, ON)
    assert it.store[-1] == m.Paced("tidal", ON, None)


def test_with_the_suspension_that_it_asked_for(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    cancelled(it, transfer)
    it.source.attempts.settle(transfer, PutBack(60.0), AT, ON)
    assert it.store[-1] == m.Paced("tidal", ON, ON + 60.0)


def test_a_suspension_that_is_over_is_none(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    it.source.gate.suspend(AT)
    cancelled(it, transfer)
    it.source.attempts.settle(transfer, m.Succeeded(transfer, "/x"), AT, ON)
    assert it.store[-1] == m.Paced("tidal", ON, None)


def test_what_was_cancelled_ends_with_its_slot(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    cancelled(it, transfer)
    it.crash(transfer, SystemExit("gone"), AT)
    assert it.store[-1] == m.Paced("tidal", ON, None)


def test_what_was_cancelled_and_is_given_up_on_ends_then(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    cancelled(it, transfer)
    it.source.gate.suspend(AT + 5.0)
    it.source.give_up(transfer, "timed out", "TimeoutError", AT, ON)
    assert it.store[-1] == m.Paced("tidal", ON, ON + 5.0)


def test_one_that_stops_by_itself_ends_as_it_is_cancelled(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    it.source.gate.suspend(AT + 5.0)
    it.source.attempts.settle(transfer, StoppedEarly(), AT, ON)
    assert it.store[-2:] == [
        m.Moved("cancel", "tidal", "a", transfer, None, ON),
        m.Paced("tidal", ON, ON + 5.0),
    ]


@pytest.mark.parametrize("outcome", [Failed("gone", "OSError"), BackOff(3.0, "reset", "OSError"), PutBack(3.0)])
def test_any_other_end_is_in_its_own_news(make: Make, outcome: Outcome) -> None:
    it = kept(make)
    it.source.attempts.settle(started(it), outcome, AT, ON)
    assert not [each for each in it.store if isinstance(each, m.Paced)]


def test_where_nothing_outlives_the_engine_nobody_is_to_know(make: Make) -> None:
    it = make()
    transfer = started(it)
    cancelled(it, transfer)
    it.source.attempts.settle(transfer, StoppedEarly(), AT, ON)
    assert it.ends() == [("cancel", "a", None)]
    assert not [each for each in it.store if isinstance(each, m.Paced)]


# ---- what is kept when the engine closes -----------------------------------------------------------------------------


def test_what_waits_is_kept(make: Make) -> None:
    it = kept(make)
    notes = traced(it)
    it.put("a", "b")
    it.source.close(ON)
    assert (notes, it.ends(), list(it.source.queue.pending)) == ([("kept", "a"), ("kept", "b")], [], ["a", "b"])


def test_what_has_another_attempt_is_kept_for_it(make: Make) -> None:
    it = kept(make)
    transfer = started(it)
    it.source.close(ON)
    notes = traced(it)
    it.source.attempts.settle(transfer, BackOff(30.0, "reset", "OSError"), AT, ON)
    patch = {"error_type": "OSError", "error": "reset", "next_attempt_at": ON + 30.0}
    standing = m.Standing(1, ON - 8.0, 30.0, ON + 30.0)
    assert it.store[-1] == m.Moved("back_off", "tidal", "a", transfer, patch, ON, standing)
    assert notes == [("end", "a"), ("kept", "a")]


def test_what_has_another_attempt_at_a_source_that_is_down_is_not(make: Make) -> None:
    it = kept(make)
    notes = traced(it)
    transfer = started(it)
    it.source.go_down("broken", ON)
    it.source.attempts.settle(transfer, BackOff(30.0, "reset", "OSError"), AT, ON)
    patch = {"error": "reset", "error_type": "OSError"}
    assert it.store[-1] == m.Moved("fail", "tidal", "a", transfer, patch, ON)
    assert ("kept", "a") not in notes


def put_back(transfer: Any, **patch: Any) -> m.Moved:
    return m.Moved("put_back", "tidal", "a", transfer, patch, ON, m.Standing(0, ON - 8.0, 0.0, ON))


GAVE_WAY = [StoppedEarly(), Failed(None, None)]
"""What comes of an impl that was asked to stop: it says so, or comes back with nothing."""


@pytest.mark.parametrize("outcome", GAVE_WAY)
def test_what_stops_is_put_back_where_it_is_to_be_resumed(make: Make, outcome: Outcome) -> None:
    it = kept(make, resume_interrupted=True)
    notes = traced(it)
    transfer = started(it)
    it.source.close(ON)
    it.source.attempts.settle(transfer, outcome, AT, ON)
    assert it.store[-1] == put_back(transfer, attempt=0, next_attempt_at=None)
    assert (notes[-1], it.ends()) == (("kept", "a"), [("put_back", "a", None)])


def test_what_failed_has_failed(make: Make) -> None:
    it = kept(make, resume_interrupted=True)
    transfer = started(it)
    it.source.close(ON)
    it.source.attempts.settle(transfer, Failed("gone", "OSError"), AT, ON)
    assert it.ends() == [("fail", "a", "gone")]


@pytest.mark.parametrize(("outcome", "error"), [(StoppedEarly(), "engine closed"), (Failed(None, None), None)])
def test_what_stops_fails_elsewhere(make: Make, outcome: Outcome, error: str | None) -> None:
    it = kept(make)
    transfer = started(it)
    it.source.close(ON)
    it.source.attempts.settle(transfer, outcome, AT, ON)
    assert it.ends() == [("fail", "a", error)]


@pytest.mark.parametrize(("outcome", "event"), [(StoppedEarly(), "cancel"), (Failed(None, None), "fail")])
def test_before_the_end_of_the_engine_what_stops_is_not_resumed(make: Make, outcome: Outcome, event: str) -> None:
    it = kept(make, resume_interrupted=True)
    it.source.attempts.settle(started(it), outcome, AT, ON)
    assert it.ends() == [(event, "a", None)]


def test_what_is_down_is_not_resumed(make: Make) -> None:
    it = kept(make, resume_interrupted=True)
    transfer = started(it)
    it.source.go_down("broken", ON)
    it.source.attempts.settle(transfer, StoppedEarly(), AT, ON)
    assert it.ends() == [("fail", "a", "source down: broken")]


def test_what_hangs_at_the_end_is_put_back_where_it_is_to_be_resumed(make: Make) -> None:
    it = kept(make, resume_interrupted=True)
    transfer = started(it)
    it.source.close(ON)
    it.source.give_up(transfer, "engine closed", "EngineClosed", AT, ON)
    assert it.store[-1] == put_back(transfer, attempt=0, next_attempt_at=None)


@pytest.mark.parametrize(("until", "told"), [(AT + 5.0, ON + 5.0), (AT, None)])
def test_what_is_put_back_starts_after_the_suspension(make: Make, until: float, told: float | None) -> None:
    it = kept(make, resume_interrupted=True)
    transfer = started(it)
    it.source.gate.suspend(until)
    it.source.close(ON)
    it.source.attempts.settle(transfer, StoppedEarly(), AT, ON)
    assert it.store[-1] == put_back(transfer, attempt=0, next_attempt_at=told)


# ---- on disk before it is in the queue -------------------------------------------------------------------------------


def test_what_is_announced_waits_and_starts_once_it_is_queued(make: Make) -> None:
    it = kept(make)
    tickets = [make_ticket(each, "tidal", username="tidal") for each in ("a", "b")]
    it.source.queue.announce(tickets)
    assert (list(it.source.queue.pending.items()), it.start()) == ([("a", tickets[0]), ("b", tickets[1])], float("inf"))
    it.source.queue.enqueue(tickets)
    assert it.start().ticket is tickets[0]


def test_what_is_renounced_is_told_of_where_it_was_still_there(make: Make) -> None:
    it = kept(make)
    tickets = [make_ticket(each, "tidal", username="tidal") for each in ("a", "b")]
    it.source.queue.announce(tickets)
    assert it.source.queue.withdraw("a")
    assert it.source.queue.renounce(tickets) == ["b"]
    assert (it.source.queue.pending, it.source.queue.renounce(tickets)) == ({}, [])
