"""Audits of the ledger: which records are lost, and how it repairs an interrupted step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haulier._engine import messages as m
from haulier._engine.core.entry import view
from haulier._engine.core.ledger import Ledger
from haulier._engine.core.retention import ended_on
from haulier._engine.ticket import Ticket, make_ticket
from haulier.policies import Retention
from haulier.transfer import Transfer

ON = 1_000_000.0
Make = Callable[..., Any]


def ticket(download_id: str) -> Ticket:
    return make_ticket(download_id, "tidal", username="tidal", queued_at=10.0)


def ledger() -> Ledger:
    """One download in each phase, and a record that ``add_record`` made."""
    made = Ledger(Retention())
    made.apply(m.Put("tidal", "added", {"state": "InProgress"}))
    made.apply(ticket("queued"))
    transfers = [Transfer(ticket(each), 1, {}, 1.0, 20.0) for each in ("running", "waiting", "landed", "failed")]
    for transfer in transfers:
        made.apply(transfer.ticket)
        made.apply(transfer)
    made.apply(m.Moved("back_off", "tidal", "waiting", transfers[1], {"next_attempt_at": 40.0}, 30.0))
    made.apply(m.Succeeded(transfers[2], "x", 30.0))
    made.apply(m.Moved("fail", "tidal", "failed", transfers[3], {"error": "boom"}, 30.0))
    return made


def phases(it: Ledger) -> dict[str, Any]:
    return {each: view(held).get("phase") for each, held in it.table.buckets["tidal"].items()}


def test_what_the_engine_has_not_ended_is_unfinished() -> None:
    it = ledger()
    assert it.apply(m.Unfinished("tidal")) == ["queued", "running", "waiting"]
    assert it.apply(m.Unfinished("nowhere")) == []


def test_what_is_lost_fails_and_nothing_else_does() -> None:
    it = ledger()
    before = it.apply(m.Unfinished("tidal"))
    lost = m.Lost("tidal", [*phases(it), "unknown"], "interrupted: x", "Interrupted", 50.0)
    assert (it.apply(lost), it.apply(lost)) == (before, [])
    assert phases(it) == {
        "added": None, "queued": "failed", "running": "failed", "waiting": "failed", "landed": "succeeded",
        "failed": "failed",
    }  # fmt: skip
    for download_id in ("queued", "running", "waiting"):
        record = view(it.table.buckets["tidal"][download_id])
        assert (record["error"], record["error_type"], record["finished_at"]) == ("interrupted: x", "Interrupted", 50.0)
    assert view(it.table.buckets["tidal"]["failed"])["error"] == "boom"
    assert (it.counts["tidal"]["failed"], it.dead_letters) == (4, [])


def dead(phase: str, *, damaged: bool = False) -> bool:
    """Whether the ledger counts as damaged after a report that nobody expects of a record in that phase."""
    it = ledger()
    it.table.is_damaged = damaged
    it.apply(m.Succeeded(Transfer(ticket(phase), 1, {}, 1.0), "/late", 60.0))
    assert len(it.dead_letters) == 1
    return it.table.is_damaged


def test_a_report_that_does_not_fit_shows_damage_where_the_record_is_not_over() -> None:
    assert [dead(each) for each in ("queued", "running", "waiting")] == [True] * 3
    assert [dead(each) for each in ("landed", "failed", "added", "unknown")] == [False] * 4
    assert dead("landed", damaged=True)
    assert not ledger().table.is_damaged


def test_what_is_put_right_is_let_go_of_in_the_order_in_which_it_ended() -> None:
    it = Ledger(Retention(max_terminal=9))
    for source, on in (("torn", 50.0), ("late", 40.0), ("first", 20.0), ("past", 30.0)):
        own: Ticket = ("an-id", source, *ticket("")[2:])
        transfer = Transfer(own, 1, {}, 1.0, 10.0)
        for message in (own, transfer):
            it.apply(message)
        if source == "past":
            it.apply(m.Succeeded(transfer, "/x", on))
        else:
            it.apply(m.Moved("fail", source, "an-id", transfer, {}, on))
    it.apply(m.Put("own", "an-id", {"state": "InProgress"}))
    it.table.retained._ends.clear()
    it.table.retained._terminal = 77
    it.table.entry("torn", "an-id").ended_on = None  # type: ignore[union-attr]
    it.table.now = 60.0
    it.table.repair()
    ends = {source: ended_on(bucket["an-id"]) for source, bucket in it.table.buckets.items()}
    assert ends == {"torn": 60.0, "late": 40.0, "first": 20.0, "past": 30.0, "own": None}
    assert (it.table.is_damaged, it.table.retained._terminal) == (False, 4)
    left = []
    for it.table.retained._max_terminal in (3, 2, 1, 0):
        it.table.expire()
        left.append([source for source, bucket in it.table.buckets.items() if bucket])
    assert left == [["torn", "late", "past", "own"], ["torn", "late", "own"], ["torn", "own"], ["own"]]


def test_a_state_that_can_be_neither_hashed_nor_compared_keeps_nothing_from_being_put_right() -> None:
    class Awkward(str):
        def __hash__(self) -> int:
            raise RuntimeError

        __eq__ = __hash__  # type: ignore[assignment]

    it = ledger()
    for state in ("InProgress", "Errored"):
        it.apply(m.Put("own", state, {"state": Awkward(state)}))
    it.table.is_damaged = True
    it.table.repair()
    assert not it.table.is_damaged
    assert [held.is_terminal for held in it.table.buckets["own"].values()] == [False, True]  # type: ignore[union-attr]
    assert it.apply(m.Clear()) == 3


def test_who_watches_what_is_over_hears_of_it_when_things_are_put_right() -> None:
    it, heard = ledger(), list[Any]()
    callbacks: list[Any] = [heard.append]
    it.table.watches.callbacks = {"landed": callbacks, "running": [heard.append], "unknown": [heard.append]}
    it.table.repair()
    assert [(due, each["id"]) for due, each in it.table.watches.due] == [(callbacks, "landed")]
    assert list(it.table.watches.callbacks) == ["running", "unknown"]
