"""What callers write into the ledger."""

from __future__ import annotations

import pytest
from tests.one_download import ID, TICKET, hear, moved, patch, record, running

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry
from haulier._engine.core.ledger import Ledger
from haulier.policies import Retention
from haulier.transfer import Transfer


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Retention())


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
