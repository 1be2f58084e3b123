"""A dispatched download's life in the ledger, with nobody listening (news are kept as they came) and with somebody."""

from __future__ import annotations

from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.entry import view
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.events import Changed, Discarded, Removed
from haulier.policies import Retention
from haulier.records import Record
from haulier.transfer import Transfer

ID = "an-id"


def ticket(download_id: str = ID, extras: tuple[Any, ...] | None = None) -> Ticket:
    return make_ticket(download_id, "tidal", object(), "A Song", "song.flac", "me", fields=extras, queued_at=10.0)


def moved(event: str, transfer: Transfer | None = None, on: float = 30.0, **patch: Any) -> m.Moved:
    return m.Moved(event, "tidal", ID, transfer, patch, on)


@pytest.fixture(params=[False, True], ids=["nobody listens", "somebody listens"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    made = Ledger(Retention())
    made.apply(m.Listen(active=request.param))
    return made


def record(ledger: Ledger, download_id: str = ID) -> Record:
    found = ledger.table.find("tidal", download_id)
    assert found is not None
    return view(found[1])


def queued(ledger: Ledger) -> Ticket:
    made = ticket()
    ledger.apply(made)
    return made


def running(ledger: Ledger, attempt: int = 1) -> Transfer:
    transfer = Transfer(queued(ledger), attempt, {}, started_at=1.0, started_on=20.0)
    ledger.apply(transfer)
    return transfer


# ---- the way through -------------------------------------------------------------------------------------------------


def test_the_first_record_has_the_promised_keys(ledger: Ledger) -> None:
    ledger.apply(ticket(extras=("url", "size", "http://x", 5)))
    first = record(ledger)
    assert {key: first[key] for key in ("id", "filename", "username", "state", "source", "phase", "url")} == {
        "id": ID, "filename": "song.flac", "username": "me", "state": "Initializing", "source": "tidal",
        "phase": "queued", "url": "http://x",
    }  # fmt: skip
    numbers = ("progress", "size", "transferred", "speed", "time_remaining", "file_path", "attempt", "queued_at")
    assert [first[key] for key in numbers] == [0.0, 5, 0, 0, None, None, 0, 10.0]
    assert "error" not in first


def test_from_the_queue_to_success(ledger: Ledger) -> None:
    transfer = running(ledger)
    assert (record(ledger)["state"], record(ledger)["phase"]) == ("InProgress, Downloading", "running")
    assert (record(ledger)["attempt"], record(ledger)["started_at"]) == (1, 20.0)
    transfer.cell.update(transferred=30, size=40, progress=75.0, time_remaining=3.0, error="a try failed")
    assert record(ledger)["transferred"] == 30
    ledger.apply(m.Succeeded(transfer, "a/song.flac", 30.0))
    done = record(ledger)
    assert (done["state"], done["phase"], done["file_path"]) == ("Completed, Succeeded", "succeeded", "a/song.flac")
    assert (done["progress"], done["transferred"], done["size"], done["time_remaining"]) == (100.0, 40, 40, None)
    assert (done["error"], done["error_type"], done["finished_at"]) == (None, None, 30.0)


def test_success_without_a_size_keeps_what_was_transferred(ledger: Ledger) -> None:
    transfer = running(ledger)
    transfer.cell.update(transferred=30)
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert record(ledger)["transferred"] == 30
    assert "error" not in record(ledger)


def test_reading_a_record_changes_nothing(ledger: Ledger) -> None:
    transfer = running(ledger)
    transfer.cell.update(transferred=30, speed=7, error="a try failed")
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    first = record(ledger)
    assert record(ledger) == first
    assert record(ledger) == first


def test_a_landing_brings_the_news_of_the_next_start(ledger: Ledger) -> None:
    first = running(ledger)
    following = Transfer(ticket("another"), 1, {}, started_at=2.0, started_on=30.0)
    ledger.apply(following.ticket)
    ledger.apply(m.Succeeded(first, "x", 30.0, following))
    assert (record(ledger)["phase"], record(ledger, "another")["phase"]) == ("succeeded", "running")
    assert record(ledger, "another")["started_at"] == 30.0


def test_with_nobody_looking_the_news_are_kept_as_they_came() -> None:
    ledger = Ledger(Retention())
    made = queued(ledger)
    assert ledger.table.find(None, ID) == ("tidal", made)
    transfer = Transfer(made, 1, {}, 1.0, 20.0)
    ledger.apply(transfer)
    assert ledger.table.find(None, ID) == ("tidal", transfer)
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert ledger.table.find(None, ID) == ("tidal", (made, 1, 20.0, "x", 30.0, None))


def test_a_failure_has_the_exceptions_text(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(moved("fail", transfer, error="boom", error_type="ValueError"))
    done = record(ledger)
    assert (done["state"], done["phase"], done["error"], done["error_type"]) == (
        "Errored", "failed", "boom", "ValueError",
    )  # fmt: skip


def test_a_failure_without_a_text_keeps_the_impls_own(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Patch("tidal", ID, {"error": "no such track"}))
    ledger.apply(moved("fail", transfer, error_type=None))
    assert record(ledger)["error"] == "no such track"


def test_a_failure_without_any_text_says_that_there_was_no_file(ledger: Ledger) -> None:
    ledger.apply(moved("fail", running(ledger), error_type=None))
    assert record(ledger)["error"] == "the impl returned no file path"


def test_a_back_off_and_the_next_attempt(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(moved("back_off", transfer, error="reset", error_type="OSError", next_attempt_at=40.0))
    waits = record(ledger)
    assert (waits["state"], waits["phase"], waits["next_attempt_at"]) == ("Initializing", "backing_off", 40.0)
    again = Transfer(transfer.ticket, 2, transfer.cell, started_at=2.0, started_on=40.0)
    ledger.apply(again)
    assert (record(ledger)["phase"], record(ledger)["attempt"]) == ("running", 2)
    assert "next_attempt_at" not in record(ledger)
    assert (record(ledger)["error"], record(ledger)["error_type"]) == (None, None), "those of the attempt before"
    ledger.apply(m.Succeeded(again, "x", 50.0))
    assert (record(ledger)["phase"], record(ledger)["error"]) == ("succeeded", None)


@pytest.mark.parametrize("key", ["error", "error_type"])
def test_what_an_impl_wrote_of_its_error_is_gone_with_the_next_attempt(ledger: Ledger, key: str) -> None:
    """It is in the progress cell, which all attempts share and readers lay over the record."""
    transfer = running(ledger)
    ledger.apply(m.Patch("tidal", ID, {key: "its own words"}))
    ledger.apply(moved("back_off", transfer, next_attempt_at=40.0))
    assert record(ledger)[key] == "its own words"
    ledger.apply(Transfer(transfer.ticket, 2, transfer.cell, started_at=2.0, started_on=40.0))
    assert (record(ledger)["error"], record(ledger)["error_type"]) == (None, None)


def test_a_success_clears_an_error_that_its_impl_wrote(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Patch("tidal", ID, {"error": "its own words", "error_type": "Own"}))
    ledger.apply(m.Succeeded(transfer, "x", 50.0))
    assert (record(ledger)["error"], record(ledger)["error_type"]) == (None, None)


def test_a_first_attempt_adds_no_error(ledger: Ledger) -> None:
    transfer = running(ledger)
    assert "error" not in record(ledger)
    assert transfer.cell == {}


def test_a_put_back_spends_no_attempt(ledger: Ledger) -> None:
    ledger.apply(moved("put_back", running(ledger), attempt=0))
    assert (record(ledger)["phase"], record(ledger)["attempt"]) == ("queued", 0)


@pytest.mark.parametrize("event", ["cancel", "fail"])
def test_what_waits_can_end(ledger: Ledger, event: str) -> None:
    queued(ledger)
    ledger.apply(moved(event, None, error="source down: x"))
    assert record(ledger)["phase"] == {"cancel": "cancelled", "fail": "failed"}[event]
    assert record(ledger)["finished_at"] == 30.0


@pytest.mark.parametrize("event", ["cancel", "fail"])
def test_what_backs_off_can_end(ledger: Ledger, event: str) -> None:
    ledger.apply(moved("back_off", running(ledger), next_attempt_at=40.0))
    ledger.apply(moved(event, None, error="gone"))
    assert record(ledger)["phase"] == {"cancel": "cancelled", "fail": "failed"}[event]
    assert "next_attempt_at" not in record(ledger)


# ---- what comes too late ---------------------------------------------------------------------------------------------


def late(transfer: Transfer) -> list[Any]:
    others = (moved(event, transfer) for event in ("fail", "back_off", "put_back", "cancel"))
    return [m.Succeeded(transfer, "late", 99.0), *others]


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
def test_terminal_means_over(ledger: Ledger, end: str) -> None:
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "x", 30.0) if end == "succeed" else moved(end, transfer, error="boom"))
    before = record(ledger)
    for message in late(transfer):
        ledger.apply(message)
    assert record(ledger) == before
    assert len(ledger.dead_letters) == 5
    assert sum(ledger.counts["tidal"].values()) == 1


def test_a_report_of_another_attempt_is_fenced(ledger: Ledger) -> None:
    transfer = running(ledger)
    for message in late(Transfer(transfer.ticket, 1, {}, 1.0)):
        ledger.apply(message)
    assert record(ledger)["phase"] == "running"
    assert len(ledger.dead_letters) == 5
    assert ledger.dead_letters[1] == "fail of an-id at tidal: it is running"


def test_a_start_of_a_record_that_is_not_there_is_a_dead_letter(ledger: Ledger) -> None:
    ledger.apply(Transfer(ticket(), 1, {}, 1.0))
    ledger.apply(m.Succeeded(Transfer(ticket(), 1, {}, 1.0), "x", 30.0))
    assert ledger.table.find(None, ID) is None
    assert ledger.dead_letters == ["take of an-id at tidal: no record", "succeed of an-id at tidal: no record"]


def test_a_start_of_a_record_that_is_over_is_a_dead_letter(ledger: Ledger) -> None:
    made = queued(ledger)
    ledger.apply(moved("fail", error="source down: x"))
    ledger.apply(Transfer(made, 1, {}, 1.0))
    assert ledger.dead_letters == ["take of an-id at tidal: it is failed"]
    assert record(ledger)["phase"] == "failed"


def test_a_report_of_a_record_that_was_removed_is_a_dead_letter(ledger: Ledger) -> None:
    transfer = running(ledger)
    assert ledger.apply(m.Remove("tidal", ID))["phase"] == "running"
    for message in late(transfer):
        ledger.apply(message)
    assert ledger.table.find(None, ID) is None
    assert ledger.dead_letters[1] == "fail of an-id at tidal: no record"


def test_a_cancel_that_overtook_the_start_stays(ledger: Ledger) -> None:
    made = queued(ledger)
    ledger.apply(moved("cancel"))
    ledger.apply(Transfer(made, 1, {}, 1.0, started_on=20.0))
    assert (record(ledger)["state"], record(ledger)["attempt"], record(ledger)["started_at"]) == ("Cancelled", 1, 20.0)


@pytest.mark.parametrize("event", ["nonsense", "succeed", "back_off", "put_back"])
def test_a_move_that_the_table_does_not_have_is_a_dead_letter(ledger: Ledger, event: str) -> None:
    queued(ledger)
    ledger.apply(moved(event))
    assert record(ledger)["phase"] == "queued"
    assert len(ledger.dead_letters) == 1


def test_a_second_start_is_a_dead_letter(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(Transfer(transfer.ticket, 1, {}, 1.0))
    assert len(ledger.dead_letters) == 1
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert record(ledger)["phase"] == "succeeded"


@pytest.mark.parametrize("nonsense", [object(), None, 5, "text", m.Hire(None)])
def test_a_message_that_no_actor_knows_is_a_dead_letter(ledger: Ledger, nonsense: Any) -> None:
    assert ledger.apply(nonsense) is None
    assert ledger.dead_letters == [f"no such message: {type(nonsense).__name__}"]


def test_a_dispatch_that_was_refused_leaves_no_trace(ledger: Ledger) -> None:
    queued(ledger)
    ledger.apply(m.Forget("tidal", ID))
    ledger.apply(m.Forget("tidal", "another"))
    ledger.apply(m.Forget("nowhere", ID))
    assert ledger.table.find(None, ID) is None
    assert ledger.counts == {}


# ---- events and counts -----------------------------------------------------------------------------------------------


def test_events_in_the_order_in_which_it_happened() -> None:
    ledger = Ledger(Retention())
    ledger.apply(m.Listen(active=True))
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    ledger.apply(Discarded(ID, "tidal", "late", False, 31.0))
    ledger.table.now = 32.0
    ledger.apply(m.Remove("tidal", ID))
    assert ledger.table.events is not None
    changed = [event for event in ledger.table.events if isinstance(event, Changed)]
    assert [(event.phase, event.on) for event in changed] == [("queued", 10.0), ("running", 20.0), ("succeeded", 30.0)]
    assert {(event.download_id, event.source) for event in changed} == {(ID, "tidal")}
    assert list(ledger.table.events)[3:] == [Discarded(ID, "tidal", "late", False, 31.0), Removed(ID, "tidal", 32.0)]


def test_an_events_record_is_a_copy_as_of_then() -> None:
    ledger = Ledger(Retention())
    ledger.apply(m.Listen(active=True))
    transfer = running(ledger)
    ledger.apply(moved("fail", transfer, error="boom"))
    assert ledger.table.events is not None
    phases = [event.record["phase"] for event in ledger.table.events if isinstance(event, Changed)]
    assert phases == ["queued", "running", "failed"]


def test_who_subscribes_while_it_runs_hears_of_its_end() -> None:
    ledger = Ledger(Retention())
    transfer = running(ledger)
    ledger.apply(m.Listen(active=True))
    ledger.apply(m.Succeeded(transfer, "x", 30.0))
    assert ledger.table.events is not None
    assert [event.phase for event in ledger.table.events if isinstance(event, Changed)] == ["succeeded"]


def test_no_event_is_kept_while_nobody_listens() -> None:
    ledger = Ledger(Retention())
    assert not ledger.table.is_watched
    ledger.apply(m.Listen(active=True))
    assert ledger.table.is_watched
    ledger.apply(m.Listen(active=False))
    ledger.apply(m.Succeeded(running(ledger), "x", 30.0))
    ledger.apply(Discarded(ID, "tidal", "late", False, 31.0))
    assert ledger.table.events is None


def test_a_second_listener_takes_nothing_from_the_first() -> None:
    ledger = Ledger(Retention())
    ledger.apply(m.Listen(active=True))
    running(ledger)
    ledger.apply(m.Listen(active=True))
    assert ledger.table.events is not None
    assert [event[0] for event in ledger.table.events] == [ID, ID]


def test_ends_are_counted_by_phase(ledger: Ledger) -> None:
    for end in ("succeed", "succeed", "fail", "cancel"):
        transfer = running(ledger)
        ledger.apply(m.Succeeded(transfer, "x", 30.0) if end == "succeed" else moved(end, transfer))
        ledger.apply(m.Remove("tidal", ID))
    assert ledger.counts == {"tidal": {"succeeded": 2, "failed": 1, "cancelled": 1}}


def test_sync_answers_nothing(ledger: Ledger) -> None:
    assert ledger.apply(m.Sync()) is None
    assert ledger.dead_letters == []
