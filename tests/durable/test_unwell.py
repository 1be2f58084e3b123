"""The storage fails: dispatch says so, what runs finishes, nothing is lost, and all is well once it is well again."""

from __future__ import annotations

from threading import Event, current_thread
from typing import Any

import pytest
from tests.waiting import GUARD_S, Gatekeeper, Listener

from haulier import Changed, DownloadEngine, SourcePolicy, StoreUnavailable, Wanted
from haulier._engine import messages as m

pytestmark = pytest.mark.expect_errors("the store cannot write; trying again", "could not be written")


def fetch(download_id: str, target_id: Any, display_name: str) -> str:
    return f"/{target_id}"


def many(engine: DownloadEngine, count: int, impl: Any = fetch, source: str = "s") -> list[str]:
    return engine.worker.dispatch_many(source, [Wanted(n, "n", "f") for n in range(count)], impl)


def phases(engine: DownloadEngine, ids: list[str]) -> list[str]:
    return [(engine.get_download_status(each) or {})["phase"] for each in ids]


def write_again(engine: DownloadEngine, meddler: Any) -> None:
    """The storage is well again: come to that now, not when the next try is due."""
    meddler.heal()
    store: Any = engine._system.store
    store._retry_at = 0.0
    store.ask(m.Sync())
    store.ask(m.Sync())
    assert store.failure is None


@pytest.mark.parametrize("late", [False, True], ids=["before", "in the commit"])
def test_dispatch_says_so_and_nothing_was_accepted(
    engine: DownloadEngine, durable: Any, meddle: Any, late: bool
) -> None:
    engine.register_source("s")
    engine.pause("s")
    accepted = many(engine, 2)
    meddler = meddle(engine)
    meddler.fail(late)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            engine.worker.dispatch("s", 1, "n", "f", fetch)
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            many(engine, 5)
    assert [each["id"] for each in engine.get_all_downloads()] == accepted
    assert engine.stats()["s"]["queued"] == 2
    write_again(engine, meddler)
    accepted += many(engine, 1)
    again = durable.reopen()
    assert [each["id"] for each in again.get_all_downloads()] == accepted
    again.register_source("s")
    assert {again.wait(each, GUARD_S)["phase"] for each in accepted} == {"succeeded"}


def test_nobody_hears_of_what_was_refused(engine: DownloadEngine, listener: Listener, meddle: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    meddler = meddle(engine)
    meddler.fail()
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            many(engine, 2)
    write_again(engine, meddler)
    (accepted,) = many(engine, 1)
    heard = listener.wait_for(lambda events: events)
    assert [event.download_id for event in heard if isinstance(event, Changed)] == [accepted]


def test_each_who_is_told_has_an_exception_of_his_own(engine: DownloadEngine, meddle: Any, at_once: Any) -> None:
    meddle(engine).fail()

    def call() -> BaseException:
        with pytest.raises(StoreUnavailable) as caught:
            many(engine, 1)
        return caught.value

    errors = at_once(*[call] * 8)
    assert len({id(error) for error in errors}) == 8


def test_what_runs_finishes_and_is_written_later(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 3, None)
    gatekeeper.wait_inside()
    meddler = meddle(engine)
    meddler.fail()
    gatekeeper.release()
    assert engine.wait(ids[0], GUARD_S)["phase"] == "succeeded"
    durable.settle()
    assert meddler.batches == []
    gatekeeper.open()
    write_again(engine, meddler)
    assert [engine.wait(each, GUARD_S)["phase"] for each in ids] == ["succeeded"] * 3
    again = durable.reopen()
    assert phases(again, ids) == ["succeeded"] * 3
    assert [len(again.attempts("s", each)) for each in ids] == [1, 1, 1]
    assert [row.id for row in again.history()] == ids[::-1]


def test_nothing_starts_that_could_not_be_noted(
    engine: DownloadEngine, durable: Any, make_gatekeeper: Any, meddle: Any
) -> None:
    """A full disk would have a whole queue fail, one after another. What lives in memory alone goes on."""
    kept, volatile = make_gatekeeper(), make_gatekeeper()
    engine.register_source("s", SourcePolicy(concurrency=2), impl=kept)
    engine.register_source("volatile", SourcePolicy(durable=False), impl=volatile)
    ids = many(engine, 5, None)
    kept.wait_inside(2)
    meddler = meddle(engine)
    meddler.fail()
    with pytest.raises(StoreUnavailable):
        many(engine, 1, None)
    while "store" not in engine._system.mailboxes["s"].source.gate.holds:
        durable.settle()
    kept.release(2)
    assert {engine.wait(each, GUARD_S)["phase"] for each in ids[:2]} == {"succeeded"}
    assert [engine.explain(each)["reason"] for each in ids[2:]] == ["store"] * 3
    assert engine.stats()["s"]["next_start"] is None
    volatile.open()
    assert engine.wait(many(engine, 1, None, "volatile")[0], GUARD_S)["phase"] == "succeeded"
    assert len(kept.order) == 2
    kept.open()
    write_again(engine, meddler)
    assert {engine.wait(each, GUARD_S)["phase"] for each in ids} == {"succeeded"}


def test_callers_go_on_with_records(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = many(engine, 3)
    meddler = meddle(engine)
    meddler.fail()
    engine.update_record("s", ids[0], {"note": 1})
    with pytest.raises(
        StoreUnavailable, match="cancelled in this engine, but that is not on disk yet: the disk is full"
    ):
        engine.cancel_download(ids[1])
    with pytest.raises(StoreUnavailable, match="not on disk yet"):
        engine.remove_record("s", ids[2])
    engine.add_record("peer", "mine", {"state": "InProgress"})
    engine.update_record("peer", "mine", {"transferred": 5})
    assert (engine.get_record("s", ids[0]) or {})["note"] == 1
    assert phases(engine, ids[:2]) == ["queued", "cancelled"]
    assert engine.history() == [], "as it is on disk"
    write_again(engine, meddler)
    again = durable.reopen()
    assert (again.get_record("s", ids[0]) or {})["note"] == 1
    assert phases(again, ids[:2]) == ["queued", "cancelled"]
    assert again.get_record("peer", "mine") == {"state": "InProgress", "transferred": 5}
    assert {row.id for row in again.history()} == {ids[1], ids[2]}


def test_it_tries_again_by_itself(engine: DownloadEngine, durable: Any, meddle: Any, caplog: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = many(engine, 1)
    meddler = meddle(engine)
    meddler.fail()
    engine.update_record("s", ids[0], {"note": 1})
    durable.settle()
    while meddler.tried < 3:  # after 0.1 s, 0.2 s
        meddler.arrived.clear()
        assert meddler.arrived.wait(GUARD_S)
        durable.settle()
    meddler.heal()
    meddler.arrived.clear()
    assert meddler.arrived.wait(GUARD_S)
    durable.settle()
    assert [len(batch.changed) for batch in meddler.batches] == [1]
    assert caplog.text.count("the store cannot write; trying again") == 1
    assert caplog.text.count("the store writes again, after") == 1
    assert many(engine, 1)


def test_it_does_not_spin_where_nothing_is_left_to_write(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    many(engine, 1)
    meddler = meddle(engine)
    meddler.fail()
    store: Any = engine._system.store
    with pytest.raises(StoreUnavailable):
        many(engine, 1)
    meddler.heal()
    store._retry_at = 0.0
    store.ask(m.Sync())
    assert not store._journal.batch or store._next_look() is None or store._next_look() > 0 or meddler.batches
    durable.settle()
    assert store._next_look() is None


def test_the_last_changes_are_tried_once_more_at_the_end(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 1, None)
    gatekeeper.wait_inside()
    meddler = meddle(engine)
    meddler.fail()
    gatekeeper.open()
    engine.wait(ids[0], GUARD_S)
    meddler.heal()
    engine.close()
    assert phases(durable.open(), ids) == ["succeeded"]


@pytest.mark.expect_errors("the last changes are lost, because they could not be written: the disk is full")
def test_what_could_not_be_written_to_the_very_end_is_said(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any, tmp_path: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 2, None)
    gatekeeper.wait_inside()
    durable.settle()
    meddle(engine).fail()
    gatekeeper.open()
    assert engine.wait(ids[0], GUARD_S)["phase"] == "succeeded"
    again = durable.open(trace=tmp_path / "another")
    assert phases(again, ids) == ["failed", "queued"], "as far as the disk knows it was interrupted"


@pytest.mark.parametrize("error", [ValueError("seq"), RuntimeError("odd"), MemoryError()], ids=repr)
def test_whatever_a_storage_raises_is_a_failure(
    engine: DownloadEngine, durable: Any, meddle: Any, error: Exception
) -> None:
    engine.register_source("s")
    engine.pause("s")
    meddler = meddle(engine)
    meddler.failing = lambda: error
    thread = engine._system.store.thread
    with pytest.raises(StoreUnavailable, match=type(error).__name__):
        many(engine, 1)
    write_again(engine, meddler)
    ids = many(engine, 2)
    assert engine._system.store.thread is thread, "nobody died of it"
    assert phases(durable.reopen(), ids) == ["queued", "queued"]


# ---- the store's actor dies ------------------------------------------------------------------------------------------


@pytest.mark.expect_errors("haulier-store", "ActorCrashed", "Unhandled exception")
@pytest.mark.parametrize("late", [False, True], ids=["before", "in the commit"])
def test_a_store_that_dies_as_it_writes_has_a_successor_on_the_same_storage(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any, late: bool
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 3, None)
    gatekeeper.wait_inside()
    meddler = meddle(engine)
    meddler.fails_late, meddler.failing = late, SystemExit
    died = engine._system.store.thread
    with pytest.raises(StoreUnavailable, match="died while it wrote"):
        many(engine, 1, None)
    meddler.heal()
    ids += many(engine, 1, None)
    gatekeeper.open()
    assert [engine.wait(each, GUARD_S)["phase"] for each in ids] == ["succeeded"] * 4
    while engine._system.store.thread is died:  # until its successor is there, whoever asks applies
        Event().wait(0.001)
    assert engine._system.store.restarts.total == 1
    assert len(engine.get_all_downloads()) == 4
    again = durable.reopen()
    assert [each["id"] for each in again.get_all_downloads()] == ids
    assert phases(again, ids) == ["succeeded"] * 4


@pytest.mark.expect_errors
def test_a_store_that_keeps_dying_is_given_up_on(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any, tmp_path: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = many(engine, 1, None)
    gatekeeper.wait_inside()
    meddler = meddle(engine)
    durable.settle()

    def dies() -> BaseException:  # whoever asks while there is no actor applies, and so writes
        return SystemExit() if current_thread().name == "haulier-store" else StoreUnavailable("the disk is full")

    meddler.failing = dies
    told = ""
    while told != "the record store has died":
        with pytest.raises(StoreUnavailable) as caught:
            many(engine, 1, None)
        told = str(caught.value)
    gatekeeper.open()
    assert engine.wait(ids[0], GUARD_S)["phase"] == "succeeded"
    assert len(engine.get_all_downloads()) == 1
    assert phases(durable.open(trace=tmp_path / "another"), ids) == ["failed"]
