"""The journal around restarts: sources that do not survive, restored records, and interrupted steps."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ledgers import ON, A, B, C, add, entry_of, journal_of, make_ledger, moved, running, start, ticket, write

from haulier._engine import messages as m
from haulier._engine.core.entry import Entry, view
from haulier._engine.core.journal import Attempted, Journal, Key, Pacing
from haulier._engine.core.ledger import Ledger
from haulier.policies import Retention

# ---- what is not to survive ------------------------------------------------------------------------------------------


def test_a_landing_of_what_is_not_to_survive_is_not_written() -> None:
    ledger = make_ledger()
    made = ticket(("volatile", "a"))
    ledger.apply(made)
    ledger.apply(m.Succeeded(start(ledger, made), "/x", ON))
    assert not write(ledger)
    ledger.apply(m.Patch("volatile", "a", {"note": 1}))
    assert not write(ledger)


def test_a_source_that_is_not_to_survive_and_was_never_used() -> None:
    ledger = make_ledger(keeps=False)
    ledger.apply(m.Registered("unused"))
    assert not write(ledger)


def test_nothing_is_written_of_a_source_that_is_not_to_survive() -> None:
    ledger = make_ledger()
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
    ledger = make_ledger(max_terminal=2)
    for key, ended_on in ((A, ON + 2.0), (B, ON + 1.0), (C, ON + 3.0)):
        restored(ledger, key, "failed", ended_on)
    ledger.table.restored()
    assert not write(ledger)
    ledger.table.expire()
    assert set(ledger.table.buckets["tidal"]) == {"a", "c"}
    assert list(write(ledger).gone) == [B]


@pytest.mark.parametrize(("phase", "state"), [("failed", "Errored"), (None, "Cancelled")])
def test_over_is_over_also_after_a_restart(phase: str | None, state: str) -> None:
    ledger = make_ledger()
    restored(ledger, A, phase, ON, state=state)
    ledger.table.restored()
    ledger.apply(m.Patch(*A, {"state": "InProgress", "note": 1}))
    assert view(entry_of(ledger))["state"] == state
    assert view(entry_of(ledger))["note"] == 1
    ledger.apply(moved("cancel", None))
    assert view(entry_of(ledger))["state"] == state


def test_a_record_of_its_callers_own_that_was_found_goes_on() -> None:
    ledger = make_ledger()
    restored(ledger, A, None, state="InProgress")
    ledger.apply(m.Patch(*A, {"state": "Completed, Succeeded"}))
    assert (view(entry_of(ledger))["state"], ledger.apply(m.Clear())) == ("Completed, Succeeded", 1)


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
    ledger = make_ledger()
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
    ledger = make_ledger()
    (made,) = add(ledger, A)
    write(ledger)
    with monkeypatch.context() as torn:
        torn.setattr(ledger.table, "touch", tear)
        with pytest.raises(SystemExit):
            start(ledger, made)
    ledger.table.repair()
    assert list(write(ledger).touched) == [A]


def test_what_landed_is_written_down_anew_when_things_are_put_right() -> None:
    ledger = make_ledger()
    ledger.apply(m.Succeeded(running(ledger), "/x", ON + 9.0))
    write(ledger)
    ledger.table.repair()
    assert list(write(ledger).touched) == [A]


def test_what_is_not_kept_is_not_written_down_either() -> None:
    ledger = make_ledger()
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
