"""Terminal records beyond a number or an age leave, the oldest first; and the books do not grow either."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from haulier._engine import messages as m
from haulier._engine.core.ledger import Ledger
from haulier._engine.ticket import Ticket, make_ticket
from haulier.events import Changed, Removed
from haulier.policies import Retention
from haulier.records import Record
from haulier.transfer import Transfer


def end(ledger: Ledger, download_id: str, on: float = 0.0) -> None:
    """A download comes and lands."""
    ticket: Ticket = make_ticket(download_id, "tidal", username="tidal")
    transfer = Transfer(ticket, 1, {}, 0.0)
    for message in (ticket, transfer, m.Succeeded(transfer, "x", on)):
        ledger.apply(message)


def hear(record: Record) -> None:
    """A callback; nothing calls it."""


def ids(ledger: Ledger) -> list[str]:
    return [download_id for bucket in ledger.table.buckets.values() for download_id in bucket]


def test_by_number_the_oldest_leave() -> None:
    ledger = Ledger(Retention(max_terminal=2))
    for download_id in "abcd":
        end(ledger, download_id)
    assert ids(ledger) == ["c", "d"]
    assert ledger.counts["tidal"]["succeeded"] == 4


def test_the_number_is_that_of_the_engine_not_of_each_source() -> None:
    ledger = Ledger(Retention(max_terminal=2))
    for download_id in "abc":
        ledger.apply(m.Put(f"source-{download_id}", download_id, {"state": "Errored"}))
    assert ids(ledger) == ["b", "c"]


def test_what_is_not_over_stays_however_much_there_is() -> None:
    ledger = Ledger(Retention(max_terminal=0, max_age=0.0))
    for download_id in "abc":
        ledger.apply(make_ticket(download_id, "tidal", username="tidal"))
    ledger.table.now = 1e9
    ledger.table.expire()
    assert ids(ledger) == ["a", "b", "c"]


def test_with_0_nothing_that_is_over_stays_and_the_events_are_in_order() -> None:
    ledger = Ledger(Retention(max_terminal=0))
    ledger.apply(m.Listen(active=True))
    end(ledger, "a")
    assert ids(ledger) == []
    assert ledger.table.events is not None
    told = [event.phase if isinstance(event, Changed) else type(event) for event in ledger.table.events]
    assert told == ["queued", "running", "succeeded", Removed]


def test_whoever_listens_hears_of_what_leaves() -> None:
    ledger = Ledger(Retention(max_terminal=0))
    ledger.table.now = 50.0
    ledger.apply(m.Listen(active=True))
    end(ledger, "a")
    assert ledger.table.events is not None
    assert ledger.table.events[-1] == Removed("a", "tidal", 50.0)


def test_what_was_looked_at_leaves_in_its_turn() -> None:
    ledger = Ledger(Retention(max_terminal=2))
    end(ledger, "a")
    ledger.apply(m.Patch("tidal", "a", {"note": "seen"}))
    end(ledger, "b")
    end(ledger, "c")
    assert ids(ledger) == ["b", "c"]


def test_a_late_patch_is_no_second_end() -> None:
    ledger = Ledger(Retention(max_terminal=2))
    end(ledger, "a")
    ledger.apply(m.Patch("tidal", "a", {"note": "late"}))
    ledger.apply(m.Put("tidal", "b", {"state": "Errored"}))
    ledger.apply(m.Patch("tidal", "b", {"state": "Errored"}))
    assert ids(ledger) == ["a", "b"]


def test_a_record_that_has_anothers_place_is_not_counted_as_over() -> None:
    ledger = Ledger(Retention(max_terminal=1))
    end(ledger, "a")
    ledger.apply(m.Put("tidal", "a", {"state": "InProgress"}))
    end(ledger, "b")
    assert ids(ledger) == ["a", "b"]


def test_a_callers_record_that_was_cancelled_leaves_in_its_turn() -> None:
    ledger = Ledger(Retention(max_terminal=1))
    ledger.apply(m.Put("tidal", "a", {"state": "InProgress"}))
    ledger.apply(m.Cancel("a"))
    end(ledger, "b")
    assert ids(ledger) == ["b"]


def test_by_age_to_the_second() -> None:
    ledger = Ledger(Retention(max_age=10.0))
    assert ledger.table.is_watched
    assert ledger.table.retained.next_expiry() is None
    end(ledger, "a", on=100.0)
    end(ledger, "b", on=105.0)
    assert ledger.table.retained.next_expiry() == 110.0
    ledger.table.now = 109.0
    ledger.table.expire()
    assert ids(ledger) == ["a", "b"]
    ledger.table.now = 110.0
    ledger.table.expire()
    assert ids(ledger) == ["b"]
    assert ledger.table.retained.next_expiry() == 115.0


def test_without_an_age_none_leaves_by_age() -> None:
    ledger = Ledger(Retention())
    end(ledger, "a", on=100.0)
    ledger.table.now = 1e12
    ledger.table.expire()
    assert ids(ledger) == ["a"]
    assert ledger.table.retained.next_expiry() is None


def test_a_callers_record_that_lives_again_stays_and_is_counted_anew() -> None:
    ledger = Ledger(Retention(max_terminal=1))
    ledger.apply(m.Put("tidal", "a", {"state": "Errored"}))
    ledger.apply(m.Patch("tidal", "a", {"state": "InProgress"}))
    for download_id in "bc":
        end(ledger, download_id)
    assert ids(ledger) == ["a", "c"]
    ledger.apply(m.Patch("tidal", "a", {"state": "Errored"}))
    assert ids(ledger) == ["a"]


def test_several_that_live_again_are_each_counted_off() -> None:
    ledger = Ledger(Retention(max_terminal=3))
    for download_id in "abc":
        ledger.apply(m.Put("tidal", download_id, {"state": "Errored"}))
    for download_id in "ab":
        ledger.apply(m.Patch("tidal", download_id, {"state": "InProgress"}))
    for download_id in "de":
        end(ledger, download_id)
    assert ids(ledger) == ["a", "b", "c", "d", "e"]
    end(ledger, "f")
    assert ids(ledger) == ["a", "b", "d", "e", "f"]


def test_a_record_that_was_added_anew_is_as_old_as_its_own_end() -> None:
    ledger = Ledger(Retention(max_terminal=2))
    for download_id in "aba":
        ledger.table.now += 1.0
        ledger.apply(m.Remove("tidal", download_id))
        ledger.apply(m.Put("tidal", download_id, {"state": "Errored"}))
    ledger.apply(m.Put("tidal", "c", {"state": "Errored"}))
    assert sorted(ids(ledger)) == ["a", "c"]


def test_the_books_are_bounded_when_callers_remove_the_records() -> None:
    ledger = Ledger(Retention())
    for number in range(20_000):
        end(ledger, str(number))
        ledger.apply(m.Remove("tidal", str(number)))
    assert ids(ledger) == []
    assert len(ledger.table.retained._ends) < 3_000
    for number in range(5_000):
        end(ledger, str(number))
    assert ledger.apply(m.Clear()) == 5_000
    assert len(ledger.table.retained._ends) < 3_000


def test_what_stays_is_still_let_go_of_after_the_books_were_tidied() -> None:
    ledger = Ledger(Retention(max_terminal=3))
    ledger.apply(m.Put("tidal", "a", {"state": "Errored"}))
    end(ledger, "b")
    for number in range(3_000):
        end(ledger, str(number))
        ledger.apply(m.Remove("tidal", str(number)))
    assert ids(ledger) == ["a", "b"]
    end(ledger, "c")
    end(ledger, "d")
    assert ids(ledger) == ["b", "c", "d"]
    end(ledger, "e")
    assert ids(ledger) == ["c", "d", "e"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.lists(st.tuples(st.sampled_from(["end", "remove", "put", "revive"]), st.integers(0, 9))))
def test_never_more_than_max_terminal(most: int, steps: list[tuple[str, int]]) -> None:
    ledger = Ledger(Retention(max_terminal=most))
    for what, number in steps:
        download_id = str(number)
        match what:
            case "end":
                ledger.apply(m.Remove(None, download_id))
                end(ledger, download_id)
            case "remove":
                ledger.apply(m.Remove(None, download_id))
            case "put":
                ledger.apply(m.Put("tidal", download_id, {"state": "Cancelled"}))
            case "revive":
                ledger.apply(m.Patch("tidal", download_id, {"state": "InProgress"}))
        before = set(ids(ledger))
        over = ledger.apply(m.Watch(sorted(before), hear)).ended
        assert len(over) <= most
        assert ledger.table.retained._terminal >= len(over)
        ledger.apply(m.Unwatch(sorted(before), hear))
    kept = len(ids(ledger))
    assert kept - ledger.apply(m.Clear()) == len(ids(ledger))
