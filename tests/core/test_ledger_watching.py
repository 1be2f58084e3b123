"""How callers watch the ledger: each watch is answered once, also when the engine closes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.one_download import ID, TICKET, hear, hear_too, moved, patch, running

from haulier._engine import messages as m
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket
from haulier.policies import Retention


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Retention())


# ---- watching --------------------------------------------------------------------------------------------------------


def called(ledger: Ledger) -> list[Any]:
    """Who is to be called with what phase (or state)."""
    return [
        (callback, each.get("phase", each.get("state")))
        for callbacks, each in ledger.table.watches.due
        for callback in callbacks
    ]


def test_a_watch_is_called_once_at_the_end(ledger: Ledger) -> None:
    transfer = running(ledger)
    assert ledger.apply(m.Watch([ID], hear)) == m.Watched([], [])
    assert ledger.table.is_watched
    patch(ledger, progress=5.0)
    assert called(ledger) == []
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    ledger.apply(m.Remove(None, ID))
    assert called(ledger) == [(hear, "succeeded")]
    assert not ledger.table.is_watched


def test_a_watch_of_what_nobody_has_looked_at_is_called_too(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert called(ledger) == [(hear, "succeeded")]


def test_a_watch_of_what_is_over_or_unknown_is_answered_at_once(ledger: Ledger) -> None:
    ledger.apply(m.Succeeded(running(ledger), "x", 30.0))
    watched = ledger.apply(m.Watch([ID, "unknown"], hear))
    assert ([each["phase"] for each in watched.ended], watched.unknown) == (["succeeded"], ["unknown"])
    assert not ledger.table.is_watched


def test_a_watch_hears_of_a_removal(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Remove(None, ID))
    assert called(ledger) == [(hear, "running")]


def test_a_watch_of_a_callers_record_hears_of_its_state(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    ledger.apply(m.Watch([ID], hear))
    patch(ledger, state="Errored")
    assert called(ledger) == [(hear, "Errored")]


def test_a_watch_of_a_callers_record_hears_of_its_cancel(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Cancel(ID))
    assert called(ledger) == [(hear, "Cancelled")]


def test_unwatch_takes_back_one_watch_only(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Watch([ID], hear_too))
    ledger.apply(m.Unwatch([ID, "unknown"], hear))
    ledger.apply(m.Unwatch([ID], hear))
    ledger.apply(moved("cancel", transfer))
    assert called(ledger) == [(hear_too, "cancelled")]


def test_what_is_called_twice_for_is_heard_once(ledger: Ledger) -> None:
    """As where somebody is torn between having noted it and having it off the books."""
    transfer = running(ledger)
    ledger.apply(m.Watch([ID], hear))
    callbacks = ledger.table.watches.callbacks[ID]
    ledger.apply(moved("cancel", transfer))
    ledger.table.watches.callbacks[ID] = callbacks
    ledger.table.repair()
    (first, _), (again, _) = ledger.table.watches.due
    assert first is again is callbacks
    assert ledger.table.watches.callbacks == {}


def test_a_watch_that_was_taken_back_leaves_nobody_watching(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Unwatch([ID], hear))
    assert not ledger.table.is_watched


def test_a_watch_of_a_dispatch_that_is_taken_back_does_not_hang(ledger: Ledger) -> None:
    ledger.apply(TICKET)
    ledger.apply(m.Watch([ID], hear))
    ledger.apply(m.Forget("tidal", ID))
    assert called(ledger) == [(hear, "queued")]
    assert not ledger.table.is_watched


# ---- what goes on with the next engine -------------------------------------------------------------------------------


def test_who_waits_for_what_waits_hears_when_the_engine_closes(ledger: Ledger) -> None:
    transfer = running(ledger)
    other: Ticket = ("another", *TICKET[1:])
    ledger.apply(other)
    ledger.apply(m.Watch([ID, "another"], hear))
    ledger.apply(m.Closed())
    assert [(callbacks, told["id"]) for callbacks, told in ledger.table.watches.due] == [([hear], "another")]
    ledger.apply(m.Succeeded(transfer, "/x", 30.0))
    assert [told["id"] for _, told in ledger.table.watches.due] == ["another", ID]


def test_who_asks_later_hears_at_once(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(moved("back_off", transfer))
    ledger.apply(m.Closed())
    assert [told["id"] for told in ledger.apply(m.Watch([ID], hear)).ended] == [ID]
    assert not ledger.table.watches.due


def test_what_still_runs_is_waited_for(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Closed())
    assert not ledger.apply(m.Watch([ID], hear)).ended


def test_before_the_engine_closes_what_waits_is_waited_for(ledger: Ledger) -> None:
    ledger.apply(TICKET)
    assert not ledger.apply(m.Watch([ID], hear)).ended


def test_the_end_of_the_engine_is_nothing_to_who_waits_for_what_was_removed(ledger: Ledger) -> None:
    ledger.apply(TICKET)
    ledger.apply(m.Watch([ID], hear))
    ledger.table.buckets["tidal"].clear()
    ledger.apply(m.Closed())
    assert not ledger.table.watches.due
