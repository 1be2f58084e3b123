"""``at_most_once``: a start is on disk before its impl is called, and what a kill interrupted never runs again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from tests.durable.downloads import Impl, dispatch_many, on_disk, phases_of, retry
from tests.waiting import GUARD_S, Gatekeeper, wait_until

from haulier import DownloadEngine, SourcePolicy
from haulier._engine import messages as m

ONCE = SourcePolicy(at_most_once=True)
PHASES = "SELECT phase FROM downloads ORDER BY seq"

unwell = pytest.mark.expect_errors("the store cannot write; trying again", "the last changes are lost")


class Witness:
    """An impl that looks at what is on disk when it is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[Any] = []

    def __call__(self, download_id: str, target_id: Any, display_name: str) -> str:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT phase, tried FROM downloads WHERE id = ?", (download_id,))
            self.seen += rows.fetchall()
        return f"/{target_id}"


def end_outage(engine: DownloadEngine, meddler: Any) -> None:
    meddler.heal()
    store: Any = engine._system.store
    store._retry_at = 0.0
    store.ask(m.Sync())
    store.ask(m.Sync())
    assert store.failure is None


def is_held_back(engine: DownloadEngine) -> bool:
    return "store" in engine._system.mailboxes["s"].source.gate.holds


def hold_start(engine: DownloadEngine, meddle: Any, impl: Any, policy: SourcePolicy = ONCE) -> tuple[Any, str]:
    """A download whose start is just being written: the store waits for ``meddler.gate``."""
    engine.register_source("s", policy, impl=impl)
    engine.pause("s")
    [download_id] = dispatch_many(engine, 1, impl=None)
    meddler = meddle(engine)
    meddler.hold()
    engine.resume("s")
    assert meddler.arrived.wait(GUARD_S)
    return meddler, download_id


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_start_is_on_disk_before_the_impl_is_called(durable: Any, concurrency: int) -> None:
    engine = durable.open()
    witness = Witness(durable.path)
    engine.register_source("s", SourcePolicy(at_most_once=True, concurrency=concurrency), impl=witness)
    ids = dispatch_many(engine, 12, impl=None)
    for each in ids:
        engine.wait(each, GUARD_S)
    assert [phase for phase, _ in witness.seen] == ["running"] * 12
    assert all(tried.startswith("[1, ") for _, tried in witness.seen)
    assert phases_of(engine, ids) == ["succeeded"] * 12


@pytest.mark.expect_errors("^Failed: ")
def test_so_is_the_start_of_each_attempt(durable: Any) -> None:
    engine = durable.open()
    impl = Impl(**{"0": [OSError("reset"), OSError("reset"), None]})
    seen: list[Any] = []

    def look(download_id: str, target_id: Any, display_name: str, transfer: Any) -> str:
        seen.extend(on_disk(durable, "SELECT phase, substr(tried, 1, 2) FROM downloads"))
        return impl(download_id, target_id, display_name, transfer)

    engine.register_source("s", SourcePolicy(at_most_once=True, retry=retry(3)), impl=look)
    [download_id] = dispatch_many(engine, 1, impl=None)
    assert engine.wait(download_id, GUARD_S)["phase"] == "succeeded"
    assert seen == [("running", "[1"), ("running", "[2"), ("running", "[3")]


def test_what_a_kill_interrupted_is_never_run_again(durable: Any, gatekeeper: Gatekeeper) -> None:
    engine = durable.open()
    engine.register_source("s", ONCE, impl=gatekeeper)
    ids = dispatch_many(engine, 2, impl=None)
    gatekeeper.wait_inside()
    again = durable.reopen()
    gatekeeper.open()
    impl = Impl()
    again.register_source("s", ONCE, impl=impl)
    assert again.wait(ids[1], GUARD_S)["phase"] == "succeeded"
    record = again.wait(ids[0], GUARD_S)
    assert (record["phase"], record["error_type"]) == ("failed", "Interrupted")
    assert impl.ran == [1]


def test_a_policy_that_resumed_before_does_not_count(durable: Any, gatekeeper: Gatekeeper) -> None:
    """The store learns of the new policy with the first start that obeys it, at the latest."""
    engine = durable.open()
    engine.register_source("s", SourcePolicy(resume_interrupted=True), impl=gatekeeper)
    engine.pause("s")
    [download_id] = dispatch_many(engine, 1, impl=None)
    engine.register_source("s", ONCE)
    engine.resume("s")
    gatekeeper.wait_inside()
    assert on_disk(durable, "SELECT resume_interrupted FROM gates WHERE source = 's'") == [0]
    again = durable.reopen()
    gatekeeper.open()
    assert again.wait(download_id, GUARD_S)["error_type"] == "Interrupted"


def test_in_memory_it_changes_nothing(make_engine: Any) -> None:
    engine, impl = make_engine(), Impl()
    engine.register_source("s", ONCE, impl=impl)
    assert {engine.wait(each, GUARD_S)["phase"] for each in dispatch_many(engine, 3, impl=None)} == {"succeeded"}


# ---- while the start is being written --------------------------------------------------------------------------------


def test_a_cancel_then_keeps_the_impl_from_being_called(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    impl = Impl()
    meddler, download_id = hold_start(engine, meddle, impl)
    results: list[bool] = []
    canceller = Thread(target=lambda: results.append(engine.cancel_download(download_id)))
    canceller.start()
    transfer = engine._system.mailboxes["s"].source.attempts.in_flight[download_id]
    wait_until(lambda: transfer.fenced, "the cancel")
    meddler.gate.set()
    canceller.join(GUARD_S)
    assert results == [True]
    [later] = dispatch_many(engine, 1, impl=None)
    assert engine.wait(later, GUARD_S)["phase"] == "succeeded"
    assert len(impl.ran) == 1
    assert phases_of(durable.reopen(), [download_id, later]) == ["cancelled", "succeeded"]


def test_a_close_then_keeps_it_for_the_next_start(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    impl = Impl()
    meddler, download_id = hold_start(engine, meddle, impl)
    transfer = engine._system.mailboxes["s"].source.attempts.in_flight[download_id]
    closer = Thread(target=engine.close)
    closer.start()
    wait_until(lambda: transfer.cancelled, "the close")
    meddler.gate.set()
    closer.join(GUARD_S)
    assert impl.ran == []
    again = durable.open()
    assert phases_of(again, [download_id]) == ["queued"]
    again.register_source("s", ONCE, impl=impl)
    record = again.wait(download_id, GUARD_S)
    assert (record["phase"], record["attempt"], impl.ran) == ("succeeded", 1, [0])


def test_a_close_that_cannot_wait_for_the_store_keeps_it_as_well(
    engine: DownloadEngine, durable: Any, meddle: Any
) -> None:
    impl = Impl()
    meddler, download_id = hold_start(engine, meddle, impl)
    source = engine._system.mailboxes["s"].source
    transfer = source.attempts.in_flight[download_id]
    closer = Thread(target=lambda: engine.close(timeout=0.0))
    closer.start()
    wait_until(lambda: transfer.given_up, "the close")
    meddler.gate.set()
    closer.join(GUARD_S)
    wait_until(lambda: source.slots.zombies == 0, "the slot")
    assert impl.ran == []
    assert phases_of(durable.open(), [download_id]) == ["queued"]


@pytest.mark.expect_errors
@pytest.mark.parametrize("cause", [SystemExit("gone"), MemoryError("gone")], ids=repr)
def test_a_slot_that_dies_then_fails_its_download_without_calling_the_impl(
    engine: DownloadEngine, durable: Any, cause: BaseException
) -> None:
    impl = Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 2, impl=None)
    mailbox = engine._system.mailboxes["s"]
    ask = mailbox.ask_store

    def die(message: Any) -> Any:
        mailbox.ask_store = ask
        raise cause

    mailbox.ask_store = die
    engine.resume("s")
    ends = [engine.wait(each, GUARD_S) for each in ids]
    assert [(end["phase"], end.get("error")) for end in ends] == [("failed", "worker crash: gone"), ("succeeded", None)]
    assert impl.ran == [1]
    assert engine.stats()["s"]["restarts"] == 1
    assert phases_of(durable.reopen(), ids) == ["failed", "succeeded"]


def test_its_time_out_does_not_count_yet(engine: DownloadEngine, meddle: Any) -> None:
    impl = Impl()
    meddler, download_id = hold_start(engine, meddle, impl, SourcePolicy(at_most_once=True, timeout=0.02))
    source = engine._system.mailboxes["s"].source
    transfer = source.attempts.in_flight[download_id]
    assert transfer.deadline is not None
    assert isinstance(source.overdue(transfer, transfer.deadline + 1.0), float)
    meddler.gate.set()
    assert engine.wait(download_id, GUARD_S)["phase"] == "succeeded"


@unwell
def test_while_the_store_cannot_write_nothing_starts(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    impl = Impl()
    engine.register_source("s", SourcePolicy(at_most_once=True, concurrency=2), impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 4, impl=None)
    meddler = meddle(engine)
    meddler.fail()
    engine.resume("s")
    wait_until(lambda: is_held_back(engine) and not engine.stats()["s"]["in_flight"], "the store's failure")
    assert impl.ran == []
    assert phases_of(engine, ids) == ["queued"] * 4
    record = engine.get_download_status(ids[0]) or {}
    assert (record["attempt"], record["started_at"], record["reason"]) == (0, None, "store")
    end_outage(engine, meddler)
    assert {engine.wait(each, GUARD_S)["attempt"] for each in ids} == {1}
    assert sorted(impl.ran) == [0, 1, 2, 3]
    assert [len(engine.attempts("s", each)) for each in ids] == [1] * 4
    assert phases_of(durable.reopen(), ids) == ["succeeded"] * 4


@unwell
def test_an_outage_takes_no_place_of_the_engine(durable: Any, meddle: Any) -> None:
    engine, impl = durable.open(max_running=1), Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 2, impl=None)
    meddler = meddle(engine)
    meddler.fail()
    engine.resume("s")
    wait_until(lambda: is_held_back(engine) and not engine.stats()["s"]["in_flight"], "the store's failure")
    end_outage(engine, meddler)
    assert {engine.wait(each, GUARD_S)["phase"] for each in ids} == {"succeeded"}


@unwell
@pytest.mark.parametrize("late", [False, True], ids=["before", "in the commit"])
def test_killed_meanwhile_it_has_not_run_and_may_be_interrupted(
    engine: DownloadEngine, durable: Any, meddle: Any, late: bool
) -> None:
    """Where the connection is lost in the commit, the start may be on disk: then the download fails."""
    impl = Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    [download_id] = dispatch_many(engine, 1, impl=None)
    durable.settle()
    meddler = meddle(engine)
    meddler.fail(late)
    engine.resume("s")
    wait_until(lambda: is_held_back(engine) and not engine.stats()["s"]["in_flight"], "the store's failure")
    assert on_disk(durable, PHASES) == ["running" if late else "queued"]
    again = durable.reopen()
    again.register_source("s", ONCE, impl=impl)
    assert again.wait(download_id, GUARD_S)["phase"] == ("failed" if late else "succeeded")
    assert impl.ran == ([] if late else [0])


TORN: dict[str, Callable[[Any], tuple[Any, str]]] = {
    "before the source holds back": lambda mailbox: (mailbox.intake, "hold_back"),
    "before it is taken back": lambda mailbox: (mailbox.source.attempts, "take_back"),
    "as the store is told": lambda mailbox: (mailbox.source, "tell_store"),
    "before it waits": lambda mailbox: (mailbox.source.queue, "keep"),
    "before it is in the queue": lambda mailbox: (mailbox.source.queue, "put_back"),
    "before the supervisor hears": lambda mailbox: (mailbox, "tell_supervisor"),
}


@pytest.mark.expect_errors
@pytest.mark.parametrize("where", TORN)
def test_wherever_that_is_interrupted_each_download_ends_and_runs_once_at_most(
    engine: DownloadEngine, durable: Any, meddle: Any, where: str
) -> None:
    impl = Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 3, impl=None)
    durable.settle()
    meddler, mailbox = meddle(engine), engine._system.mailboxes["s"]
    meddler.fail()
    owner, name = TORN[where](mailbox)
    original, torn = getattr(owner, name), Event()

    def tear(*about: Any, **more: Any) -> Any:
        if meddler.tried == 0 or torn.is_set():
            return original(*about, **more)
        torn.set()
        setattr(owner, name, original)
        raise MemoryError

    setattr(owner, name, tear)
    engine.resume("s")
    assert torn.wait(GUARD_S)
    end_outage(engine, meddler)
    ends = [engine.wait(each, GUARD_S) for each in ids]
    assert all(record["phase"] == "succeeded" or record["error_type"] in CRASHED for record in ends), ends
    assert len(impl.ran) == len(set(impl.ran)) == sum(record["phase"] == "succeeded" for record in ends) >= 2


CRASHED = ("MemoryError", "Interrupted")


@unwell
def test_cancelled_while_the_store_cannot_write_it_never_starts(
    engine: DownloadEngine, durable: Any, meddle: Any
) -> None:
    impl = Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 2, impl=None)
    meddler = meddle(engine)
    meddler.fail()
    engine.resume("s")
    wait_until(lambda: is_held_back(engine) and not engine.stats()["s"]["in_flight"], "the store's failure")
    engine._system.mailboxes["s"].cancel(ids[0])
    end_outage(engine, meddler)
    assert engine.wait(ids[1], GUARD_S)["phase"] == "succeeded"
    assert impl.ran == [1]
    assert phases_of(engine, ids) == ["cancelled", "succeeded"]


@pytest.mark.expect_errors("haulier-store", "ActorCrashed", "Unhandled exception")
def test_a_store_that_dies_meanwhile_calls_no_impl_twice(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    impl = Impl()
    engine.register_source("s", ONCE, impl=impl)
    engine.pause("s")
    ids = dispatch_many(engine, 3, impl=None)
    meddler = meddle(engine)

    def die_once() -> BaseException:
        meddler.heal()  # otherwise the slot, which applies the messages meanwhile, dies of the next write
        return SystemExit()

    meddler.failing = die_once
    engine.resume("s")
    assert {engine.wait(each, GUARD_S)["phase"] for each in ids} == {"succeeded"}
    assert impl.ran == [0, 1, 2]


def test_starts_of_several_sources_share_a_commit(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    impl = Impl()
    names = [f"s{n}" for n in range(5)]
    for name in names:
        engine.register_source(name, ONCE, impl=impl)
        engine.pause(name)
        dispatch_many(engine, 1, name, None)
    durable.settle()
    meddler = meddle(engine)
    meddler.hold()
    engine.resume("s0")
    assert meddler.arrived.wait(GUARD_S)
    for name in names[1:]:
        engine.resume(name)
    wait_until(lambda: all(engine._system.mailboxes[each].source.attempts.in_flight for each in names), "the starts")
    wait_until(lambda: len(engine._system.store.backlog) >= 9, "their messages")
    meddler.gate.set()
    for record in engine.get_all_downloads():
        assert engine.wait(record["id"], GUARD_S)["phase"] == "succeeded"
    assert len(meddler.batches[0].changed) == 1
    assert len(meddler.batches[1].changed) in (4, 5), "four starts, and perhaps the end of the first download"
