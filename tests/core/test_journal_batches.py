"""Batches of the journal: what leaves memory, and what could not be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.ledgers import ON, A, B, C, add, journal_of, make_ledger, moved, running, start, ticket, write

from haulier._engine import messages as m
from haulier._engine.core.entry import view
from haulier._engine.core.journal import Attempted, Batch, Journal, Key
from haulier._engine.core.ledger import Ledger
from haulier.events import Changed

# ---- what leaves -----------------------------------------------------------------------------------------------------


def test_what_leaves_memory_having_ended_becomes_history(ledger: Ledger) -> None:
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    write(ledger)
    ledger.apply(m.Remove(*A))
    page = write(ledger)
    assert (list(page.gone), page.touched, page.forgotten, page.is_urgent) == ([A], {}, {}, True)


def test_retention_is_not_urgent() -> None:
    ledger = make_ledger(max_age=100.0)
    ledger.apply(m.Succeeded(running(ledger), "/x", ON))
    write(ledger)
    ledger.table.now = ON + 100.0
    ledger.table.expire()
    page = write(ledger)
    assert (list(page.gone), page.is_urgent) == ([A], False)


def test_what_leaves_before_it_was_written_is_written_as_it_was() -> None:
    """Nothing that has ended stays in memory here: it leaves in the step in which it ends."""
    ledger = make_ledger(max_terminal=0)
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
    ledger = make_ledger()
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
