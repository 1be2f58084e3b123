"""What callers write into the ledger, and how they watch it."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, view
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.policies import Retention
from haulier.records import Record
from haulier.transfer import Transfer

ID = "an-id"
TICKET: Ticket = make_ticket(ID, "tidal", display_name="A Song", filename="song.flac", username="tidal", queued_at=10.0)


def hear(record: Record) -> None:
    """A callback; the ledger never calls it, the shell does."""


def hear_too(record: Record) -> None:
    """Another one."""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Retention())


def record(ledger: Ledger) -> Record:
    found = ledger.table.find(None, ID)
    assert found is not None
    return view(found[1])


def running(ledger: Ledger) -> Transfer:
    transfer = Transfer(TICKET, 1, {}, 1.0, 20.0)
    ledger.apply(TICKET)
    ledger.apply(transfer)
    return transfer


def patch(ledger: Ledger, **changes: Any) -> None:
    ledger.apply(m.Patch("tidal", ID, changes))


def moved(event: str, transfer: Transfer | None = None) -> m.Moved:
    return m.Moved(event, "tidal", ID, transfer, None, 30.0)


# ---- patches ---------------------------------------------------------------------------------------------------------


def test_a_patch_without_a_record_does_nothing(ledger: Ledger) -> None:
    patch(ledger, progress=5.0)
    assert ledger.table.buckets == {}
    assert ledger.dead_letters == []


def test_a_patch_of_what_waits(ledger: Ledger) -> None:
    ledger.apply(TICKET)
    patch(ledger, title="T", size=5)
    assert (record(ledger)["title"], record(ledger)["size"]) == ("T", 5)


def test_a_patch_and_the_transfers_progress_are_one(ledger: Ledger) -> None:
    transfer = running(ledger)
    patch(ledger, transferred=5, title="T")
    assert transfer.cell["transferred"] == 5
    transfer.cell["transferred"] = 6
    assert (record(ledger)["transferred"], record(ledger)["title"]) == (6, "T")


def test_what_was_patched_is_there_after_the_end(ledger: Ledger) -> None:
    transfer = running(ledger)
    patch(ledger, title="T", size=7)
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert (record(ledger)["title"], record(ledger)["transferred"], record(ledger)["file_path"]) == ("T", 7, "x")


def test_a_state_of_the_plugins_own_does_not_end_the_download(ledger: Ledger) -> None:
    transfer = running(ledger)
    patch(ledger, state="Errored", error="first try")
    assert (record(ledger)["state"], record(ledger)["phase"]) == ("Errored", "running")
    assert not ledger.apply(m.Watch([ID], hear)).ended
    patch(ledger, state="Aborted")
    assert record(ledger)["state"] == "Aborted"
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert (record(ledger)["state"], record(ledger)["error"]) == ("Completed, Succeeded", None)


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_a_state_after_the_end_is_dropped_and_the_rest_applied(ledger: Ledger, end: str) -> None:
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "x", 30.0) if end == "succeed" else moved(end, transfer))
    state = record(ledger)["state"]
    patch(ledger, state="InProgress, Downloading", progress=50.0, note="late")
    assert (record(ledger)["state"], record(ledger)["progress"], record(ledger)["note"]) == (state, 50.0, "late")
    assert ledger.apply(m.PatchUnless("tidal", ID, {"state": "Initializing"}, ())) is True
    assert record(ledger)["state"] == state


def test_nobody_patches_the_phase_of_what_the_engine_runs(ledger: Ledger) -> None:
    running(ledger)
    patch(ledger, phase="succeeded", attempt=7)
    assert (record(ledger)["phase"], record(ledger)["attempt"]) == ("running", 7)


def test_the_patch_itself_is_left_as_it_is(ledger: Ledger) -> None:
    running(ledger)
    changes = {"state": "Aborted", "phase": "x"}
    ledger.apply(m.Patch("tidal", ID, changes))
    assert changes == {"state": "Aborted", "phase": "x"}


def test_patch_unless(ledger: Ledger) -> None:
    assert ledger.apply(m.PatchUnless("tidal", ID, {"a": 1}, ())) is False
    running(ledger)
    assert ledger.apply(m.PatchUnless("tidal", ID, {"a": 1}, ("InProgress, Downloading",))) is False
    assert "a" not in record(ledger)
    assert ledger.apply(m.PatchUnless("tidal", ID, {"a": 1}, ("Cancelled",))) is True
    assert record(ledger)["a"] == 1


# ---- records of the callers' own -------------------------------------------------------------------------------------


def test_any_dict_is_a_record(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"x": 1}))
    assert record(ledger) == {"x": 1}
    patch(ledger, phase="mine", state="Whatever")
    assert record(ledger) == {"x": 1, "phase": "mine", "state": "Whatever"}


def test_progress_of_a_callers_record_is_written_past_the_ledger(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    found = ledger.table.find("tidal", ID)
    assert found is not None
    assert isinstance(found[1], Entry)
    assert found[1].overlay is not None
    found[1].overlay["transferred"] = 5
    assert record(ledger) == {"state": "InProgress", "transferred": 5}


def test_a_record_added_over_a_live_one_replaces_what_it_says_and_the_run_goes_on(ledger: Ledger) -> None:
    transfer = running(ledger)
    transfer.cell["transferred"] = 5
    ledger.apply(m.Put("tidal", ID, {"mine": 1, "state": "InProgress"}))
    assert record(ledger) == {"mine": 1, "state": "InProgress", "phase": "running"}
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert (record(ledger)["state"], record(ledger)["mine"], record(ledger)["file_path"]) == (
        "Completed, Succeeded", 1, "x",
    )  # fmt: skip


def test_a_record_added_over_one_that_is_over_belongs_to_the_caller(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    patch(ledger, state="Completed, Succeeded")
    patch(ledger, state="InProgress")
    assert record(ledger) == {"state": "InProgress"}
    ledger.apply(moved("fail", transfer))
    assert (record(ledger), len(ledger.dead_letters)) == ({"state": "InProgress"}, 1)


def test_a_start_does_not_take_over_a_callers_record(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"x": 1}))
    ledger.apply(Transfer(TICKET, 1, {}, 1.0))
    assert (record(ledger), len(ledger.dead_letters)) == ({"x": 1}, 1)


def test_a_callers_record_is_cancelled_for_good(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    assert ledger.apply(m.Cancel(ID)) is True
    assert ledger.apply(m.Cancel(ID)) is False
    patch(ledger, state="InProgress", progress=5.0)
    assert record(ledger) == {"state": "Cancelled", "progress": 5.0}


def test_a_callers_record_that_is_patched_to_cancelled_stays_so(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": "InProgress"}))
    patch(ledger, state="Cancelled")
    patch(ledger, state="InProgress")
    assert record(ledger)["state"] == "Cancelled"


def test_what_the_engine_runs_is_not_cancelled_here(ledger: Ledger) -> None:
    ledger.apply(TICKET)
    assert ledger.apply(m.Cancel(ID)) is False
    assert ledger.apply(m.Cancel("unknown")) is False
    assert record(ledger)["phase"] == "queued"


def test_a_state_of_any_type_is_no_end(ledger: Ledger) -> None:
    ledger.apply(m.Put("tidal", ID, {"state": ["Errored"]}))
    assert ledger.apply(m.Clear()) == 0


# ---- removal ---------------------------------------------------------------------------------------------------------


def test_remove(ledger: Ledger) -> None:
    assert ledger.apply(m.Remove(None, ID)) is None
    ledger.apply(TICKET)
    assert ledger.apply(m.Remove("youtube", ID)) is None
    assert ledger.apply(m.Remove(None, ID))["id"] == ID
    assert ledger.apply(m.Remove(None, ID)) is None


def test_clear_takes_what_is_over_and_nothing_else(ledger: Ledger) -> None:
    running(ledger)
    states = {"done": "Completed, Succeeded", "failed": "Errored", "gone": "Cancelled", "live": "InProgress"}
    for download_id, state in states.items():
        ledger.apply(m.Put("youtube", download_id, {"state": state}))
    assert ledger.apply(m.Clear()) == 3
    assert ledger.apply(m.Clear()) == 0
    assert (list(ledger.table.buckets["youtube"]), list(ledger.table.buckets["tidal"])) == (["live"], [ID])


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
