"""What is to be written down: what changed, in what order it came, and how long each source has to wait still."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from tests.ledgers import ON, A, B, C, add, entry_of, journal_of, make_ledger, moved, running, start, write

from haulier._engine import messages as m
from haulier._engine.core.journal import Attempted, Pacing, standing_of
from haulier._engine.core.ledger import Ledger
from haulier.transfer import Transfer

LANDED = Attempted(*A, 1, ON, ON + 9.0, "succeed", None, None)


# ---- a download's life -----------------------------------------------------------------------------------------------


def test_what_is_dispatched_is_new_and_numbered_in_its_order(ledger: Ledger) -> None:
    add(ledger, B, A)
    add(ledger, C)
    page = write(ledger)
    assert page.new == {B: (1, "text of b"), A: (2, "text of a"), C: (3, "text of c")}
    assert (page.touched, page.is_urgent, page.paced) == ({}, True, {"tidal"})
    assert not write(ledger)


def test_a_start_and_an_end_are_changes_of_what_was_written(ledger: Ledger) -> None:
    (made,) = add(ledger, A)
    write(ledger)
    transfer = start(ledger, made)
    page = write(ledger)
    assert (page.new, page.touched, page.attempts) == ({}, {A: None}, [])
    ledger.apply(m.Succeeded(transfer, "/x", ON + 9.0))
    page = write(ledger)
    assert (page.touched, page.is_urgent) == ({A: None}, True)
    assert page.attempts == ([] if ledger.table.events is None else [LANDED])
    assert (page.paced, journal_of(ledger).pacing) == ({"tidal"}, {"tidal": Pacing(ON + 9.0, None)})


@pytest.mark.parametrize(
    "touch", [m.Patch(*A, {"note": 1}), m.PatchUnless(*A, {}, ()), m.Put(*A, {"state": "Errored"})]
)
def test_an_attempt_that_its_row_tells_of_is_noted_once_the_record_says_more(touch: Any) -> None:
    ledger = make_ledger()
    ledger.apply(m.Succeeded(running(ledger), "/x", ON + 9.0))
    assert write(ledger).attempts == []
    ledger.apply(touch)
    assert write(ledger).attempts == [LANDED]
    ledger.apply(touch)
    assert write(ledger).attempts == []


def test_what_is_new_is_written_once_as_it_is_by_then(ledger: Ledger) -> None:
    (made,) = add(ledger, A)
    ledger.apply(m.Succeeded(start(ledger, made), "/x", ON + 9.0))
    page = write(ledger)
    assert (list(page.new), page.touched) == ([A], {})
    assert page.attempts == ([] if ledger.table.events is None else [LANDED])


def test_the_next_start_comes_with_the_end_before_it(ledger: Ledger) -> None:
    first, second = add(ledger, A, B)
    transfer = start(ledger, first)
    write(ledger)
    following = Transfer(second, 1, {}, 6.0, ON + 9.0)
    ledger.apply(m.Succeeded(transfer, "/x", ON + 9.0, following))
    assert set(write(ledger).touched) == {A, B}


def test_each_attempt_is_noted_with_its_outcome(ledger: Ledger) -> None:
    (made,) = add(ledger, A)
    first = start(ledger, made)
    again = {"error": "reset", "error_type": "OSError", "next_attempt_at": ON + 12.0}
    write(ledger)
    ledger.apply(moved("back_off", first, patch=again, standing=m.Standing(1, ON, 3.0, ON + 12.0)))
    assert list(journal_of(ledger).batch.touched) == [A]
    second = start(ledger, made, attempt=2, on=ON + 12.0)
    ledger.apply(moved("fail", second, patch={"error": "gone", "error_type": "PermanentError"}))
    assert write(ledger).attempts == [
        Attempted(*A, 1, ON, ON + 9.0, "back_off", "reset", "OSError"),
        Attempted(*A, 2, ON + 12.0, ON + 9.0, "fail", "gone", "PermanentError"),
    ]


def test_news_that_come_too_late_change_nothing(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(moved("cancel", transfer))
    write(ledger)
    ledger.apply(moved("fail", transfer))
    assert not write(ledger)


def test_a_download_that_ends_without_having_run_has_no_attempt(ledger: Ledger) -> None:
    add(ledger, A)
    write(ledger)
    ledger.apply(moved("cancel", None))
    page = write(ledger)
    assert (list(page.touched), page.attempts, page.paced) == ([A], [], set())


# ---- how far it has come ---------------------------------------------------------------------------------------------


def test_the_standing_of_a_download(ledger: Ledger) -> None:
    (made,) = add(ledger, A)
    assert standing_of(entry_of(ledger)) is None
    transfer = start(ledger, made)
    assert standing_of(entry_of(ledger)) == m.Standing(1, ON, 0.0, ON)
    transfer.first_start, transfer.idle_s = 2.0, 1.5  # three seconds before this one
    assert standing_of(entry_of(ledger)) == m.Standing(1, ON - 3.0, 1.5, ON)
    standing = m.Standing(1, ON - 3.0, 4.5, ON + 20.0)
    ledger.apply(moved("back_off", transfer, patch={"next_attempt_at": ON + 20.0}, standing=standing))
    assert standing_of(entry_of(ledger)) == standing
    ledger.apply(m.Patch(*A, {"attempt": "mine", "next_attempt_at": None}))
    assert standing_of(entry_of(ledger)) == standing, "it is nobody's to change"
    ledger.apply(moved("cancel", None))
    assert standing_of(entry_of(ledger)) is None


def test_what_never_ran_has_no_standing_either_once_it_was_written_to(ledger: Ledger) -> None:
    add(ledger, A)
    ledger.apply(m.Patch(*A, {"note": 1}))
    assert standing_of(entry_of(ledger)) is None
    assert not entry_of(ledger).is_noted


def test_an_end_has_no_standing(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "/x", ON))
    assert standing_of(entry_of(ledger)) is None


# ---- delays ----------------------------------------------------------------------------------------------------------


def test_a_suspension_is_kept_until_a_later_one(ledger: Ledger) -> None:
    ledger.apply(moved("put_back", running(ledger), patch={"next_attempt_at": ON + 60.0}))
    ledger.apply(m.Succeeded(running(ledger, B), "/x", ON + 10.0))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(ON + 10.0, ON + 60.0)


def test_a_start_that_was_taken_back_is_no_attempt(ledger: Ledger) -> None:
    write(ledger)
    ledger.apply(moved("take_back", running(ledger), patch={"attempt": 0}))
    page = write(ledger)
    assert (page.attempts, journal_of(ledger).pacing_of("tidal")) == ([], Pacing(None, None))
    assert entry_of(ledger).phase == "queued"


def test_the_back_off_of_one_is_no_suspension_of_its_source(ledger: Ledger) -> None:
    ledger.apply(moved("back_off", running(ledger), patch={"next_attempt_at": ON + 60.0}))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(ON + 9.0, None)


def test_what_was_cancelled_ends_when_its_impl_has_noticed(ledger: Ledger) -> None:
    one, other = running(ledger), running(ledger, B)
    ledger.apply(moved("cancel", one))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(inf, None)
    ledger.apply(m.Succeeded(other, "/x", ON + 10.0))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(inf, None)
    write(ledger)
    ledger.apply(m.Paced("tidal", ON + 11.0, ON + 70.0))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(ON + 11.0, ON + 70.0)
    page = write(ledger)
    assert (page.paced, page.is_urgent) == ({"tidal"}, True)


def test_each_of_them_ends_for_itself(ledger: Ledger) -> None:
    for transfer in (running(ledger), running(ledger, B)):
        ledger.apply(moved("cancel", transfer, (transfer.source, transfer.download_id)))
    ledger.apply(m.Paced("tidal", ON + 11.0, None))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(inf, None)
    ledger.apply(m.Paced("tidal", ON + 12.0, None))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(ON + 12.0, None)


def test_a_source_is_known_from_its_first_download_and_whenever_its_manners_change(ledger: Ledger) -> None:
    add(ledger, A)
    add(ledger, B)
    assert (write(ledger).paced, journal_of(ledger).pacing) == ({"tidal"}, {"tidal": Pacing(None, None)})
    add(ledger, C)
    assert write(ledger).paced == set()
    ledger.apply(m.Registered("tidal"))
    page = write(ledger)
    assert (page.paced, page.is_urgent) == ({"tidal"}, False)


# ---- what callers write ----------------------------------------------------------------------------------------------


def test_the_progress_of_what_runs_is_not_urgent(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Patch(*A, {"transferred": 5, "title": "new", "state": "InProgress, Downloading"}))
    write(ledger)
    for message in (m.Patch(*A, {"transferred": 6}), m.WrittenTo(*A)):
        ledger.apply(message)
        page = write(ledger)
        assert (list(page.touched), page.is_urgent) == ([A], False)


def test_a_state_is_urgent(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Patch(*A, {"state": "Aborted"}))
    assert write(ledger).is_urgent


def test_a_patch_of_what_waits_or_is_over_is_urgent(ledger: Ledger) -> None:
    add(ledger, A)
    write(ledger)
    ledger.apply(m.Patch(*A, {"note": 1}))
    page = write(ledger)
    assert (list(page.touched), page.is_urgent) == ([A], True)
    ledger.apply(moved("cancel", None))
    write(ledger)
    ledger.apply(m.Patch(*A, {"note": 2}))
    assert write(ledger).is_urgent


def test_a_record_of_its_callers_own(ledger: Ledger) -> None:
    ledger.apply(m.Put(*A, {"state": "InProgress"}))
    page = write(ledger)
    assert (page.new, page.is_urgent) == ({A: (1, None)}, True)
    ledger.apply(m.Patch(*A, {"transferred": 5}))
    assert not write(ledger).is_urgent
    ledger.apply(m.Patch(*A, {"state": "Completed, Succeeded"}))
    page = write(ledger)
    assert (list(page.touched), page.is_urgent) == ([A], True)
    ledger.apply(m.Put(*A, {"state": "InProgress"}))
    page = write(ledger)
    assert (page.new, list(page.touched)) == ({}, [A])
    ledger.apply(m.Cancel("a"))
    assert list(write(ledger).touched) == [A]


def test_a_cancel_of_what_its_callers_went_on_with(ledger: Ledger) -> None:
    ledger.apply(m.Put(*A, {"state": "Errored"}))
    ledger.apply(m.Patch(*A, {"state": "InProgress"}))
    write(ledger)
    ledger.apply(m.Cancel("a"))
    page = write(ledger)
    assert (list(page.touched), page.is_urgent) == ([A], True)
    ledger.apply(m.Cancel("a"))
    assert not write(ledger)


def test_a_patch_of_nothing_is_none(ledger: Ledger) -> None:
    for message in (m.Patch(*A, {"x": 1}), m.WrittenTo(*A), m.PatchUnless(*A, {"x": 1}, ()), m.Cancel("a")):
        ledger.apply(message)
    assert not write(ledger)
