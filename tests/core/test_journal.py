"""What is to be written down: what changed, in what order it came, and how long each source has to wait still."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, view
from haulier._engine.core.journal import Attempted, Batch, Journal, Key, Pacing, standing_of
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.events import Changed
from haulier.policies import Retention
from haulier.transfer import Transfer

A, B, C = ("tidal", "a"), ("tidal", "b"), ("tidal", "c")
ON = 1_000_000.0


def make(keeps: bool = True, **retention: Any) -> Ledger:
    return Ledger(Retention(**retention), Journal(lambda source: keeps and source != "volatile"))


def ticket(key: Key = A) -> Ticket:
    return make_ticket(key[1], key[0], display_name="A Song", filename="song.flac", username=key[0], queued_at=10.0)


def add(ledger: Ledger, *keys: Key) -> list[Ticket]:
    tickets = [ticket(key) for key in keys]
    ledger.apply(m.Add(keys[0][0], tickets, [f"text of {key[1]}" for key in keys]))
    return tickets


def start(ledger: Ledger, of: Ticket, attempt: int = 1, on: float = ON) -> Transfer:
    transfer = Transfer(of, attempt, {}, started_at=5.0, started_on=on)
    ledger.apply(transfer)
    return transfer


def running(ledger: Ledger, key: Key = A) -> Transfer:
    (made,) = add(ledger, key)
    transfer = start(ledger, made)
    write(ledger)
    return transfer


def moved(event: str, transfer: Transfer | None, key: Key = A, **more: Any) -> m.Moved:
    return m.Moved(event, *key, transfer, more.pop("patch", None), ON + 9.0, **more)


def journal_of(ledger: Ledger) -> Journal:
    assert ledger.journal is not None
    return ledger.journal


def write(ledger: Ledger) -> Batch:
    return journal_of(ledger).take_batch()


@pytest.fixture(params=[False, True], ids=["nobody listens", "somebody listens"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    made = make()
    made.apply(m.Listen(active=request.param))
    return made


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


LANDED = Attempted(*A, 1, ON, ON + 9.0, "succeed", None, None)


@pytest.mark.parametrize(
    "touch", [m.Patch(*A, {"note": 1}), m.PatchUnless(*A, {}, ()), m.Put(*A, {"state": "Errored"})]
)
def test_an_attempt_that_its_row_tells_of_is_noted_once_the_record_says_more(touch: Any) -> None:
    ledger = make()
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


def held(ledger: Ledger, key: Key = A) -> Any:
    return ledger.table.buckets[key[0]][key[1]]


def test_the_standing_of_a_download(ledger: Ledger) -> None:
    (made,) = add(ledger, A)
    assert standing_of(held(ledger)) is None
    transfer = start(ledger, made)
    assert standing_of(held(ledger)) == m.Standing(1, ON, 0.0, ON)
    transfer.first_start, transfer.idle_s = 2.0, 1.5  # three seconds before this one
    assert standing_of(held(ledger)) == m.Standing(1, ON - 3.0, 1.5, ON)
    standing = m.Standing(1, ON - 3.0, 4.5, ON + 20.0)
    ledger.apply(moved("back_off", transfer, patch={"next_attempt_at": ON + 20.0}, standing=standing))
    assert standing_of(held(ledger)) == standing
    ledger.apply(m.Patch(*A, {"attempt": "mine", "next_attempt_at": None}))
    assert standing_of(held(ledger)) == standing, "it is nobody's to change"
    ledger.apply(moved("cancel", None))
    assert standing_of(held(ledger)) is None


def test_what_never_ran_has_no_standing_either_once_it_was_written_to(ledger: Ledger) -> None:
    add(ledger, A)
    ledger.apply(m.Patch(*A, {"note": 1}))
    assert standing_of(held(ledger)) is None
    assert not held(ledger).is_noted


def test_an_end_has_no_standing(ledger: Ledger) -> None:
    transfer = running(ledger)
    ledger.apply(m.Succeeded(transfer, "/x", ON))
    assert standing_of(held(ledger)) is None


# ---- delays ----------------------------------------------------------------------------------------------------------


def test_a_suspension_is_kept_until_a_later_one(ledger: Ledger) -> None:
    ledger.apply(moved("put_back", running(ledger), patch={"next_attempt_at": ON + 60.0}))
    ledger.apply(m.Succeeded(running(ledger, B), "/x", ON + 10.0))
    assert journal_of(ledger).pacing_of("tidal") == Pacing(ON + 10.0, ON + 60.0)


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


# ---- what leaves -----------------------------------------------------------------------------------------------------


def test_what_leaves_memory_having_ended_becomes_history(ledger: Ledger) -> None:
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    write(ledger)
    ledger.apply(m.Remove(*A))
    page = write(ledger)
    assert (list(page.gone), page.touched, page.forgotten, page.is_urgent) == ([A], {}, {}, True)


def test_retention_is_not_urgent() -> None:
    ledger = make(max_age=100.0)
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    write(ledger)
    ledger.table.now = ON + 100.0
    ledger.table.expire()
    page = write(ledger)
    assert (list(page.gone), page.is_urgent) == ([A], False)


def test_what_leaves_before_it_was_written_is_written_as_it_was() -> None:
    """Nothing that has ended stays in memory here: it leaves in the step in which it ends."""
    ledger = make(max_terminal=0)
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    page = write(ledger)
    assert (list(page.touched), list(page.gone)) == ([A], [A])
    assert view(page.gone[A])["file_path"] == "/x"
    (made,) = add(ledger, B)
    ledger.apply(m.Moved("fail", *B, start(ledger, made), {"error": "gone"}, ON))
    page = write(ledger)
    assert (list(page.new), view(page.gone[B])["error"]) == ([B], "gone")


@pytest.mark.parametrize("state", ["InProgress", "Errored"])
def test_a_record_of_its_callers_own_leaves_no_trace(ledger: Ledger, state: str) -> None:
    ledger.apply(m.Put(*A, {"state": state}))
    write(ledger)
    ledger.apply(m.Remove(*A))
    page = write(ledger)
    assert (page.gone, list(page.forgotten)) == ({}, [A])


def test_a_download_that_is_taken_out_before_it_has_ended_leaves_no_trace(ledger: Ledger) -> None:
    """Nobody would ever see it in a history, or prune it."""
    running(ledger)
    ledger.apply(m.Remove(*A))
    page = write(ledger)
    assert (page.gone, list(page.forgotten)) == ({}, [A])


def test_what_comes_back_after_it_left_is_new(ledger: Ledger) -> None:
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    ledger.apply(m.Remove(*A))
    ledger.apply(m.Put(*A, {"state": "InProgress"}))
    page = write(ledger)
    assert (list(page.new), page.gone, page.touched) == ([A], {}, {})


def test_a_dispatch_that_is_taken_back_is_forgotten(ledger: Ledger) -> None:
    add(ledger, A, B)
    ledger.apply(m.Forget(*A))
    page = write(ledger)
    assert (list(page.new), list(page.forgotten), list(ledger.table.buckets["tidal"])) == ([B], [A], ["b"])
    ledger.apply(m.Forget(*B))
    page = write(ledger)
    assert (list(page.forgotten), page.is_urgent) == ([B], True)


# ---- what cannot be written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tried", "forgotten"), [(True, [A, B]), (False, [])])
def test_what_is_new_and_cannot_be_written_is_refused(tried: bool, forgotten: list[Key]) -> None:
    """What was tried may be there: a commit can fail in its last moment."""
    ledger = make()
    ledger.apply(m.Listen(active=True))
    add(ledger, C)
    write(ledger)
    assert ledger.table.events is not None
    ledger.table.events.clear()
    add(ledger, A, B)
    ledger.apply(moved("cancel", None, C))
    ledger.apply(m.Put("tidal", "own", {"state": "InProgress"}))
    ledger.refuse(tried)
    page = write(ledger)
    assert (list(page.new), list(page.touched), list(page.forgotten)) == ([("tidal", "own")], [C], forgotten)
    assert set(ledger.table.buckets["tidal"]) == {"c", "own"}
    assert [event.download_id for event in ledger.table.events if isinstance(event, Changed)] == ["c"]


def test_a_page_that_could_not_be_written_comes_again_with_what_happened_since(ledger: Ledger) -> None:
    one, other = running(ledger), running(ledger, B)
    add(ledger, C)
    ledger.apply(moved("succeed", one, patch={"file_path": "/x"}))
    ledger.apply(m.Put("tidal", "own", {"state": "InProgress"}))
    page = write(ledger)
    ledger.apply(m.Remove(*A))  # a finalizer that came in the middle of the writing, say
    ledger.apply(moved("succeed", other, B, patch={"file_path": "/y"}))
    ledger.apply(m.Forget(*C))
    ledger.apply(m.Put("tidal", "late", {"state": "InProgress"}))
    journal_of(ledger).put_back(page)
    page = write(ledger)
    assert {key: number for key, (number, _) in page.new.items()} == {("tidal", "own"): 4, ("tidal", "late"): 5}
    assert (set(page.touched), list(page.gone), list(page.forgotten)) == ({A, B}, [A], [C])
    assert [attempted.download_id for attempted in page.attempts] == ["a", "b"]
    assert (page.paced, page.is_urgent) == ({"tidal"}, True)


def test_what_came_back_while_a_page_was_written_is_not_gone(ledger: Ledger) -> None:
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    ledger.apply(m.Remove(*A))
    ledger.apply(m.Forget(*B))
    page = write(ledger)
    for key in (A, B):
        ledger.apply(m.Put(*key, {"state": "InProgress"}))
    journal_of(ledger).put_back(page)
    page = write(ledger)
    assert (list(page.new), page.gone, page.forgotten, page.touched) == ([A, B], {}, {}, {})


@pytest.mark.parametrize("urgent", [(True, False), (False, True)])
def test_what_of_two_pages_was_urgent_still_is(urgent: tuple[bool, bool]) -> None:
    journal = Journal(lambda _: True)
    journal.touch(*A, urgent[0])
    journal.know("tidal")
    page = journal.take_batch()
    journal.touch(*B, urgent[1])
    journal.know("qobuz")
    journal.put_back(page)
    assert (list(journal.batch.touched), journal.batch.is_urgent) == ([A, B], True)
    assert journal.batch.paced == {"tidal", "qobuz"}


@pytest.mark.parametrize(
    "before", [lambda it: it.touch(*A), lambda it: it.leave(*A, ticket()), lambda it: it.forget(*A)]
)
def test_what_is_new_is_nothing_else(before: Callable[[Journal], None]) -> None:
    journal = Journal(lambda _: True)
    before(journal)
    journal.add(*A, None)
    page = journal.take_batch()
    assert (list(page.new), page.touched, page.gone, page.forgotten) == ([A], {}, {}, {})


def test_what_is_forgotten_meanwhile_need_not_have_been_new() -> None:
    journal = Journal(lambda _: True)
    page = journal.take_batch()
    journal.forget(*A)
    journal.put_back(page)
    assert list(journal.batch.forgotten) == [A]


@pytest.mark.parametrize(
    "write_one",
    [
        lambda page: page.new.update({A: (1, None)}),
        lambda page: page.touched.update({A: None}),
        lambda page: page.gone.update({A: ticket()}),
        lambda page: page.forgotten.update({A: None}),
        lambda page: page.attempts.append(Attempted(*A, 1, ON, ON, "fail", None, None)),
        lambda page: page.paced.add("tidal"),
    ],
)
def test_one_line_makes_a_page(write_one: Callable[[Batch], None]) -> None:
    page = Batch()
    write_one(page)
    assert page


def test_who_watches_hears_of_the_end(ledger: Ledger) -> None:
    one, other = running(ledger), running(ledger, B)
    heard: list[Any] = []
    ledger.apply(m.Watch(["a", "b"], heard.append))
    ledger.apply(m.Succeeded(one, "/x", ON))
    ledger.apply(moved("cancel", other, B))
    assert [record["id"] for _, record in ledger.table.watches.due] == ["a", "b"]


def test_an_empty_page_is_none() -> None:
    journal = Journal(lambda _: True)
    assert not journal.batch
    journal.put_back(Batch())
    assert not journal.batch
    journal.know("tidal")
    assert journal.batch


# ---- what is not to survive ------------------------------------------------------------------------------------------


def test_a_landing_of_what_is_not_to_survive_is_not_written() -> None:
    ledger = make()
    made = ticket(("volatile", "a"))
    ledger.apply(made)
    ledger.apply(m.Succeeded(start(ledger, made), "/x", ON))
    assert not write(ledger)
    ledger.apply(m.Patch("volatile", "a", {"note": 1}))
    assert not write(ledger)


def test_a_source_that_is_not_to_survive_and_was_never_used() -> None:
    ledger = make(keeps=False)
    ledger.apply(m.Registered("unused"))
    assert not write(ledger)


def test_nothing_is_written_of_a_source_that_is_not_to_survive() -> None:
    ledger = make()
    key = ("volatile", "a")
    made = ticket(key)
    ledger.apply(made)
    transfer = start(ledger, made)
    for message in (
        m.Patch(*key, {"x": 1}),
        m.WrittenTo(*key),
        m.Succeeded(transfer, "/x", ON),
        m.Patch(*key, {"x": 2}),
        m.Remove(*key),
        m.Put(*key, {"state": "InProgress"}),
        m.Remove(*key),
        m.Forget(*key),
        m.Registered("volatile"),
    ):
        ledger.apply(message)
        assert not write(ledger), message


def test_what_is_over_becomes_history_when_its_source_is_no_longer_to_survive() -> None:
    kept = {"tidal"}
    ledger = Ledger(Retention(), Journal(kept.__contains__))
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    ledger.apply(m.Put(*B, {"state": "InProgress"}))
    write(ledger)
    kept.clear()
    ledger.apply(m.Registered("tidal"))
    page = write(ledger)
    assert (list(page.gone), list(page.forgotten)) == ([A], [B])
    assert set(ledger.table.buckets["tidal"]) == {"a", "b"}, "it stays in memory"


# ---- what was found --------------------------------------------------------------------------------------------------


def restored(ledger: Ledger, key: Key, phase: str | None, ended_on: float | None = None, **record: Any) -> Entry:
    entry = Entry({"state": "Errored", "phase": phase, **record}, phase, {} if phase is None else None)
    ledger.table.restore(*key, entry, ended_on)
    return entry


def test_what_was_found_is_no_news_and_leaves_the_oldest_first() -> None:
    ledger = make(max_terminal=2)
    for key, ended_on in ((A, ON + 2.0), (B, ON + 1.0), (C, ON + 3.0)):
        restored(ledger, key, "failed", ended_on)
    ledger.table.restored()
    assert not write(ledger)
    ledger.table.expire()
    assert set(ledger.table.buckets["tidal"]) == {"a", "c"}
    assert list(write(ledger).gone) == [B]


@pytest.mark.parametrize(("phase", "state"), [("failed", "Errored"), (None, "Cancelled")])
def test_over_is_over_also_after_a_restart(phase: str | None, state: str) -> None:
    ledger = make()
    restored(ledger, A, phase, ON, state=state)
    ledger.table.restored()
    ledger.apply(m.Patch(*A, {"state": "InProgress", "note": 1}))
    assert view(held(ledger))["state"] == state
    assert view(held(ledger))["note"] == 1
    ledger.apply(moved("cancel", None))
    assert view(held(ledger))["state"] == state


def test_a_record_of_its_callers_own_that_was_found_goes_on() -> None:
    ledger = make()
    restored(ledger, A, None, state="InProgress")
    ledger.apply(m.Patch(*A, {"state": "Completed, Succeeded"}))
    assert (view(held(ledger))["state"], ledger.apply(m.Clear())) == ("Completed, Succeeded", 1)


def test_no_number_is_given_twice() -> None:
    """Two rows of one number cannot be written, and nothing that comes after them on the same page."""

    class Torn(dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, value)
            raise MemoryError

    journal = Journal(lambda _: True)
    journal.batch.new = torn = Torn()
    with pytest.raises(MemoryError):
        journal.add("tidal", "a", None)
    journal.batch.new = dict(torn)
    journal.add("tidal", "b", None)
    assert [seq for seq, _ in journal.batch.new.values()] == [1, 2]


# ---- torn in the middle of a step ------------------------------------------------------------------------------------


def tear(*_: object) -> None:
    raise SystemExit


@pytest.mark.parametrize("event", ["fail", "succeed", "cancel", "put_back"])
@pytest.mark.parametrize("where", ["_changed", "table.touch", "journal.note_attempt"])
def test_what_a_torn_step_did_in_memory_is_written_down_all_the_same(
    event: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make()
    transfer = running(ledger)
    _ = add(ledger, B), write(ledger)

    with monkeypatch.context() as torn:
        part, _, step = where.rpartition(".")
        torn.setattr(getattr(ledger, part) if part else ledger, step, tear)
        with pytest.raises(SystemExit):
            ledger.apply(moved(event, transfer))
    ledger.table.now = ON + 10.0
    ledger.table.repair()
    page = write(ledger)
    assert (list(page.touched), page.is_urgent) == ([A], True), "what only waits is as it was"
    assert (page.paced, journal_of(ledger).pacing["tidal"]) == ({"tidal"}, Pacing(ON + 10.0, None))


def test_a_start_that_was_torn_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = make()
    (made,) = add(ledger, A)
    write(ledger)
    with monkeypatch.context() as torn:
        torn.setattr(ledger.table, "touch", tear)
        with pytest.raises(SystemExit):
            start(ledger, made)
    ledger.table.repair()
    assert list(write(ledger).touched) == [A]


def test_what_landed_is_written_down_anew_when_things_are_put_right() -> None:
    ledger = make()
    ledger.apply(m.Succeeded(running(ledger), "/x", ON + 9.0))
    write(ledger)
    ledger.table.repair()
    assert list(write(ledger).touched) == [A]


def test_what_is_not_kept_is_not_written_down_either() -> None:
    ledger = make()
    running(ledger, ("volatile", "a"))
    ledger.table.repair()
    assert not write(ledger)


def test_a_record_put_over_one_that_runs_is_written_anew(ledger: Ledger) -> None:
    running(ledger)
    ledger.apply(m.Put(*A, {"note": 1}))
    assert list(write(ledger).touched) == [A]


def test_a_start_at_a_source_that_has_no_record_is_a_dead_letter_and_not_written(ledger: Ledger) -> None:
    start(ledger, ticket(("nowhere", "a")))
    assert len(ledger.dead_letters) == 1
    assert not write(ledger).touched


def test_an_attempt_is_written_with_the_next_batch() -> None:
    journal = Journal(lambda _: True)
    assert not journal.batch.is_urgent
    journal.note(Attempted(*A, 1, ON, ON + 1.0, "interrupted", "e", "E"))
    assert journal.batch.is_urgent
