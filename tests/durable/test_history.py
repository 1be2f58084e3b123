"""What is over stays in the database when it has left memory, with each attempt at it, as long as it is wanted."""

from __future__ import annotations

from threading import Event
from time import time
from typing import Any

import pytest
import tenacity
from tests.waiting import GUARD_S

from haulier import DownloadEngine, PermanentError, Retention, RetryPolicy, SourcePolicy, StoreUnavailable, Wanted
from haulier._engine import messages as m


def impl(download_id: str, target_id: Any, display_name: str) -> str:
    if target_id == "bad":
        raise PermanentError("gone")
    return f"/{target_id}"


def end(engine: DownloadEngine, *targets: Any, source: str = "s") -> list[str]:
    """Downloads that are over one after another."""
    engine.register_source(source)
    engine.pause(source)
    ids = engine.worker.dispatch_many(source, [Wanted(each, "n", "f") for each in targets], impl)
    arriving = engine.as_completed(ids, GUARD_S)  # from before they start: some stay for no moment
    engine.resume(source)
    assert [record["id"] for record in arriving] == ids
    return ids


def prune(engine: DownloadEngine) -> None:
    """Have the store look after its history now."""
    store: Any = engine._system.store
    store.upkeep.prune_at = 0.0
    store.ask(m.Sync())
    store.ask(m.Sync())  # it looks once all is applied


def ids(rows: list[Any]) -> list[str]:
    return [row.id for row in rows]


pytestmark = pytest.mark.expect_errors("^Failed: ")


def test_what_has_left_memory_is_there(durable: Any) -> None:
    engine = durable.open(retention=Retention(max_terminal=2))
    over = end(engine, *range(5))
    assert {record["id"] for record in engine.get_all_downloads()} == set(over[3:])
    for _ in range(2):
        rows = engine.history()
        assert ids(rows) == over[::-1]
        assert [row.record["file_path"] for row in rows] == ["/4", "/3", "/2", "/1", "/0"]
        assert [(row.source, row.phase, row.record["id"]) for row in rows] == [
            ("s", "succeeded", row.id) for row in rows
        ]
        engine = durable.open(retention=Retention(max_terminal=2))
        assert {record["id"] for record in engine.get_all_downloads()} == set(over[3:])


@pytest.mark.parametrize("listening", [True, False])
def test_nothing_need_stay_in_memory(durable: Any, listening: bool) -> None:
    engine = durable.open(retention=Retention(max_terminal=0))
    if listening:
        engine.subscribe(lambda _: None)
    over = end(engine, 1, "bad")
    durable.settle()
    assert engine.get_all_downloads() == []
    assert [(row.id, row.phase, row.record["phase"]) for row in engine.history()] == [
        (over[1], "failed", "failed"), (over[0], "succeeded", "succeeded"),
    ]  # fmt: skip
    assert [len(engine.attempts("s", each)) for each in over] == [1, 1]
    assert ids(durable.reopen().history()) == over[::-1]


def test_pages(engine: DownloadEngine) -> None:
    over = end(engine, *range(7))
    before, found = None, []
    while page := engine.history(before=before, limit=3):
        found += ids(page)
        before = page[-1].cursor
        end(engine, "one more")
    assert found == over[::-1]


def test_by_source_and_by_phase(engine: DownloadEngine) -> None:
    engine.register_source("deezer", aliases=("deezer_dl",))
    one, bad = end(engine, 1, "bad")
    (other,) = end(engine, 2, source="deezer")
    engine.pause("s")
    (withdrawn,) = engine.worker.dispatch_many("s", [Wanted(1, "n", "f")], impl)
    engine.cancel_download(withdrawn)
    assert ids(engine.history("s")) == [withdrawn, bad, one]
    assert ids(engine.history("deezer_dl")) == [other]
    assert ids(engine.history(phase="failed")) == [bad]
    assert ids(engine.history("s", phase="cancelled")) == [withdrawn]
    assert engine.history("nowhere") == []


def test_it_says_what_was_told_before(engine: DownloadEngine) -> None:
    """The question may come in the same batch as the news."""
    engine.register_source("s")
    engine.pause("s")
    waiting = engine.worker.dispatch_many("s", [Wanted(n, "n", "f") for n in range(50)], impl)
    for count, each in enumerate(waiting, 1):
        engine._system.mailboxes["s"].cancel(each)  # only told
        assert len(engine.history(limit=100)) == count


def test_what_is_removed_by_its_caller_is_history_too(engine: DownloadEngine, durable: Any) -> None:
    over = end(engine, 1, 2)
    engine.remove_record("s", over[0])
    assert engine.clear_all_completed_downloads() == 1
    engine.add_record("peer", "mine", {"state": "Errored", "note": 1})
    assert ids(engine.history()) == ["mine", *over[::-1]]
    engine.remove_record("peer", "mine")
    assert ids(engine.history()) == over[::-1], "a record of its callers' own leaves no trace"
    assert ids(durable.reopen().history()) == over[::-1]


def test_each_attempt_is_told(engine: DownloadEngine) -> None:
    errors = [OSError("reset"), OSError("reset again")]

    def flaky(*_: Any) -> str:
        if errors:
            raise errors.pop(0)
        return "/x"

    retry = RetryPolicy(stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_fixed(0))
    engine.register_source("s", SourcePolicy(retry=retry), impl=flaky)
    download_id = engine.worker.dispatch("s", 1, "n", "f")
    before = time()
    record = engine.wait(download_id, GUARD_S)
    told = engine.attempts("s", download_id)
    assert [(each.attempt, each.outcome, each.error, each.error_type) for each in told] == [
        (1, "back_off", "reset", "OSError"), (2, "back_off", "reset again", "OSError"), (3, "succeed", None, None),
    ]  # fmt: skip
    moments = [moment or 0.0 for each in told for moment in (each.started_on, each.ended_on)]
    assert moments == sorted(moments)
    assert before - GUARD_S < moments[0]
    assert moments[-2:] == [record["started_at"], record["finished_at"]]
    assert engine.attempts("s", "unknown") == []


# ---- how long it stays -----------------------------------------------------------------------------------------------


def test_without_a_limit_it_stays(engine: DownloadEngine) -> None:
    over = end(engine, 1, 2)
    engine.clear_all_completed_downloads()
    prune(engine)
    assert ids(engine.history()) == over[::-1]


def test_the_newest_stay_and_what_is_in_memory(durable: Any) -> None:
    engine = durable.open(retention=Retention(max_terminal=2, max_history=3))
    over = end(engine, *range(8))
    prune(engine)
    assert ids(engine.history()) == over[:2:-1]
    assert [len(engine.attempts("s", each)) for each in over] == [0] * 3 + [1] * 5
    engine.clear_all_completed_downloads()
    prune(engine)
    assert ids(engine.history()) == over[:4:-1]


def test_short_lives_keep_it_short(durable: Any) -> None:
    retention = Retention(max_terminal=0, max_history=1)
    over = end(durable.open(retention=retention), *range(5))
    engine = durable.open(retention=retention)
    durable.settle()
    assert ids(engine.history()) == [over[-1]]


def test_a_smaller_memory_holds_from_the_start(durable: Any) -> None:
    over = end(durable.open(), *range(5))
    engine = durable.open(retention=Retention(max_terminal=2))
    assert [record["id"] for record in engine.get_all_downloads()] == over[3:]
    assert ids(engine.history()) == over[::-1]


def test_what_is_too_old_goes(durable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = durable.open(retention=Retention(history_age=100.0))
    over = end(engine, 1, 2)
    engine.remove_record("s", over[0])
    prune(engine)
    assert ids(engine.history()) == over[::-1]
    monkeypatch.setattr("haulier._engine.shells.upkeep.time", lambda: time() + 101.0)
    prune(engine)
    assert ids(engine.history()) == [over[1]], "it is in memory"


def test_by_age_it_leaves_memory_alone(durable: Any) -> None:
    engine = durable.open(retention=Retention(max_age=0.0))
    over = end(engine, 1, 2)
    assert engine.get_all_downloads() == []
    assert ids(engine.history()) == over[::-1]
    durable.settle()
    engine = durable.reopen()
    assert engine.get_all_downloads() == []
    assert ids(engine.history()) == over[::-1]


def test_a_history_that_cannot_be_shortened_just_now_is_later(
    durable: Any, meddle: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = durable.open(retention=Retention(max_terminal=0, max_history=1))
    over = end(engine, 1, 2)
    meddler = meddle(engine)

    def fail(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(meddler, "prune", fail, raising=False)
    prune(engine)
    assert ids(engine.history()) == over[::-1]
    assert "cannot prune the history: the disk is full" in caplog.text
    monkeypatch.undo()
    prune(engine)
    assert ids(engine.history()) == over[1:]


# ---- its room --------------------------------------------------------------------------------------------------------


def test_a_running_engine_gives_the_room_of_its_history_back(durable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Piece by piece, without a message that wakes the store."""
    monkeypatch.setattr("haulier._engine.storage.sqlite.SHRINK_PAGES", 10)
    monkeypatch.setattr("haulier._engine.shells.upkeep.SHRINK_S", -1.0)
    engine = durable.open(retention=Retention(max_terminal=0, max_history=1))
    storage, done = engine._system.store.storage, Event()
    shrink = storage.shrink

    def watched() -> bool:
        more: bool = shrink()
        if not more:
            done.set()
        return more

    end(engine, *("x" * 4000 for _ in range(100)))
    durable.settle()
    [pages] = storage._connection.execute("PRAGMA page_count").fetchone()
    assert pages > 100
    monkeypatch.setattr(storage, "shrink", watched)
    prune(engine)
    assert done.wait(GUARD_S)
    [left] = storage._connection.execute("PRAGMA page_count").fetchone()
    assert left < 40


def test_room_that_cannot_be_given_back_is_logged(
    durable: Any, meddle: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = durable.open(retention=Retention(max_history=1))
    meddler = meddle(engine)

    def fail() -> bool:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(meddler, "shrink", fail, raising=False)
    prune(engine)
    assert "cannot make the database smaller: the disk is full" in caplog.text


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_without_a_durable_store_there_is_none(make_engine: Any) -> None:
    engine = make_engine()
    with pytest.raises(RuntimeError, match="only a durable store"):
        engine.history()
    with pytest.raises(RuntimeError, match="only a durable store"):
        engine.attempts("s", "x")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"limit": "9"}, TypeError),
        ({"source_name": ""}, ValueError),
        ({"source_name": 5}, TypeError),
    ],
)
def test_bad_input_is_refused(engine: DownloadEngine, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        engine.history(**arguments)
