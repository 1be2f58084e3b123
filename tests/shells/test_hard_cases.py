"""Regressions: each of these tests failed before the engine was fixed."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from itertools import pairwise
from time import monotonic
from typing import Any

import pykka
import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, RestartPolicy, Retention, RetryPolicy, SourcePolicy, State, Transfer
from haulier._engine.shells.slot import SourceActor


def test_a_writer_that_nobody_reads_does_not_stall(engine: DownloadEngine) -> None:
    ended = threading.Event()

    def slow(download_id: str, *_: Any) -> str:
        for n in range(60):
            engine.update_record("tidal", download_id, {"transferred": n + 1})
            threading.Event().wait(0.02)
        ended.set()
        return "/x"

    engine.register_source("tidal", SourcePolicy(stall_timeout=0.9))
    download_id = dispatch(engine, slow)
    assert ended.wait(10)  # no wait(): a watcher would wake the store
    while (record := engine.get_record("tidal", download_id))["phase"] == "running":  # type: ignore[index]
        threading.Event().wait(0.001)
    assert record["state"] == State.SUCCEEDED  # type: ignore[index]


def test_drain_from_an_impl_does_not_wait_for_what_waits_behind_it(make_engine: Any, gatekeeper: Gatekeeper) -> None:
    engine = make_engine()

    def closes(*_: Any) -> str:
        with pytest.raises(RuntimeError, match="slot"):
            engine.wait(behind)
        engine.close(drain=True)
        return "/x"

    go = threading.Event()
    own = dispatch(engine, lambda *args: go.wait(10) and closes(*args))
    behind = dispatch(engine, closes)
    elsewhere = dispatch(engine, gatekeeper, source="qobuz")
    go.set()
    gatekeeper.wait_inside(1)
    gatekeeper.open()
    while engine.get_download_status(own)["phase"] == "running":
        threading.Event().wait(0.001)
    states = [engine.get_download_status(i)["state"] for i in (own, behind, elsewhere)]
    assert states == [State.SUCCEEDED, State.ERRORED, State.SUCCEEDED]


def test_a_pause_during_a_drain_ends_it(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    ids = [dispatch(engine, gatekeeper, n) for n in range(2)]
    gatekeeper.wait_inside(1)
    closing = threading.Thread(target=lambda: engine.close(drain=True))
    closing.start()
    engine.pause("tidal")
    gatekeeper.open()
    closing.join(10)
    assert not closing.is_alive()
    assert [engine.get_download_status(i)["state"] for i in ids] == [State.SUCCEEDED, State.ERRORED]  # type: ignore[index]


class Exits:
    def __str__(self) -> str:
        sys.exit(1)

    def __bool__(self) -> bool:
        sys.exit(1)

    def __eq__(self, _: object) -> bool:
        sys.exit(1)

    __hash__ = None  # type: ignore[assignment]


class ExitsInText(Exception):
    def __str__(self) -> str:
        sys.exit(1)


def raises(error: BaseException) -> Any:
    def fetch(*_: Any) -> str:
        raise error

    return fetch


@pytest.mark.expect_errors
def test_hooks_that_exit_stop_nobody_elses_actors(engine: DownloadEngine) -> None:
    logging.getLogger("pykka").setLevel(logging.CRITICAL)  # its formatter would call the text, too
    theirs = pykka.ThreadingActor.start()
    try:
        rest = RestartPolicy(100, wait=lambda _: 0.0)
        engine.register_source("retry", SourcePolicy(restart=rest, retry=RetryPolicy(retry=lambda _: sys.exit(1))))
        engine.register_source("falsy", SourcePolicy(restart=rest))
        engine.register_source("restart", SourcePolicy(restart=RestartPolicy(wait=lambda _: sys.exit(1))))
        ids = [
            dispatch(engine, lambda *_: None, source="retry"),
            dispatch(engine, lambda *_: Exits(), source="falsy"),
            dispatch(engine, raises(haulier.SourceCrashed("x")), source="restart"),
        ]
        assert {r["state"] for r in engine.as_completed(ids, 10)} == {State.ERRORED}
        assert theirs.is_alive()
        with pytest.raises(SystemExit):
            engine.update_record_unless_state("retry", ids[0], {"x": 1}, (Exits(),))
        assert engine.wait(dispatch(engine, lambda *_: "/x", source="new"), 10)["state"] == State.SUCCEEDED
        assert theirs.is_alive()
    finally:
        theirs.stop()
        logging.getLogger("pykka").setLevel(logging.NOTSET)


def test_an_error_whose_text_exits_is_named_by_its_type(engine: DownloadEngine) -> None:
    logger = logging.getLogger("haulier.source")
    logger.setLevel(logging.CRITICAL)
    try:
        assert engine.wait(dispatch(engine, raises(ExitsInText())), 10)["error"] == "ExitsInText"
    finally:
        logger.setLevel(logging.NOTSET)


class SlowLog(logging.Handler):
    """Every second start is logged slowly, between the take and the impl."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.starts = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("start of"):
            self.starts += 1
            if self.starts % 2:
                threading.Event().wait(0.04)


@pytest.mark.parametrize(("concurrency", "delay_from"), [(1, "start"), (3, "start"), (3, "end")])
def test_never_early_from_start_to_start(
    engine: DownloadEngine, request: pytest.FixtureRequest, concurrency: int, delay_from: Any
) -> None:
    logger, handler = logging.getLogger("haulier.source"), SlowLog()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    request.addfinalizer(lambda: logger.setLevel(logging.NOTSET))
    starts: list[float] = []

    def fetch(transfer: Transfer) -> str:
        # When the engine called: a thread may lose the interpreter between that and its first line.
        starts.append(transfer.started_at)
        assert monotonic() >= transfer.started_at
        return "/x"

    policy = SourcePolicy(concurrency=concurrency, delay=0.05, delay_from=delay_from)
    engine.register_source("tidal", policy, fetch)
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(6)]
    list(engine.as_completed(ids, 10))
    assert handler.starts == len(starts) == 6
    assert min(b - a for a, b in pairwise(starts)) >= 0.05


def test_a_close_that_was_interrupted_can_be_finished(
    engine: DownloadEngine, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    download_id = dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    slot = next(iter(engine._system.mailboxes["tidal"].slots))

    def interrupted(timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slot.thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.close(timeout=5)
    monkeypatch.undo()
    engine.close(timeout=0.01)
    assert engine.get_download_status(download_id)["error"] == "engine closed"  # type: ignore[index]


def test_times_beyond_what_a_lock_can_wait(make_engine: Any) -> None:
    engine = make_engine(idle_timeout=1e300)
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 1e300)["state"] == State.SUCCEEDED
    engine.close(timeout=1e300)


def test_records_may_say_anything_of_themselves(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    extras = {"source": "spotify", "phase": "succeeded", "reason": "mine"}
    queued = engine.worker.dispatch("tidal", 1, "n", "f", gatekeeper, extras)
    engine.add_record("tidal", queued, {"note": "mine"})
    engine.add_record("tidal", "theirs", {"phase": "queued", "id": []})
    engine.update_record("tidal", queued, {"id": []})
    assert len(engine.get_all_downloads()) == len(list(engine.iter_records_for_source("tidal"))) == 3
    assert engine.get_record("tidal", queued)["phase"] == "queued"  # type: ignore[index]
    assert engine.explain(queued)["reason"] == "slot"
    assert engine.get_record("tidal", "theirs") == {"phase": "queued", "id": []}


def test_time_outs_of_runs_that_are_over_hold_nothing(make_engine: Any) -> None:
    class Target:
        pass

    engine = make_engine(retention=Retention(max_terminal=10))
    engine.register_source("tidal", SourcePolicy(timeout=3600), lambda *_: "/x")
    targets = weakref.WeakSet[Target]()
    for _ in range(5000):
        target = Target()
        targets.add(target)
        last = engine.worker.dispatch("tidal", target, "n", "f")
    del target
    engine.wait(last, 20)
    gc.collect()
    assert len(targets) < 3000  # of 5,000; the agenda forgets in strides


def test_a_discard_that_fails_costs_nothing(engine: DownloadEngine) -> None:
    engine.register_source("tidal", SourcePolicy(discard_cancelled=True))
    started = threading.Event()

    def lands(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
        started.set()
        while not transfer.cancelled:
            threading.Event().wait(0.001)
        return "/tmp/a\0b"

    first, second = dispatch(engine, lands), dispatch(engine, lambda *_: "/x")
    assert started.wait(10)
    assert engine.cancel_download(first)
    assert engine.wait(second, 10)["state"] == State.SUCCEEDED


@pytest.mark.expect_errors
@pytest.mark.parametrize("error", [MemoryError(), OSError("no"), RuntimeError("can't start new thread")])
def test_a_thread_that_does_not_start_is_tried_again(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failures, real = iter(range(1)), SourceActor.start.__func__  # type: ignore[attr-defined]

    def start(cls: Any, *args: Any) -> Any:
        for _ in failures:
            raise error
        return real(cls, *args)

    monkeypatch.setattr(SourceActor, "start", classmethod(start))
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED


def test_a_conditional_cancel_is_one_step(engine: DownloadEngine) -> None:
    """'Unless it runs': True only for what is then never called."""
    called = set()

    def fetch(download_id: str, *_: Any) -> str:
        called.add(download_id)
        return "/x"

    ids = [dispatch(engine, fetch, n) for n in range(1500)]
    running_or_over = (State.IN_PROGRESS, State.SUCCEEDED)
    patch = {"state": State.CANCELLED}
    won = [i for i in reversed(ids) if engine.update_record_unless_state("tidal", i, patch, running_or_over)]
    engine.close(drain=True)
    assert called.isdisjoint(won)
    assert called.union(won) == set(ids)


def test_adding_one_record_again_and_again_piles_up_nothing(engine: DownloadEngine) -> None:
    for _ in range(5000):
        engine.add_record("tidal", "x", {"state": State.ERRORED})
    engine.get_record("tidal", "x")
    assert len(engine._system.ledger.table.retained._ends) < 2500


@pytest.mark.expect_errors
def test_a_later_crash_is_not_cut_short_by_an_earlier_rest(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    rests = iter([0.02, 0.2])
    engine.register_source("tidal", SourcePolicy(concurrency=2, restart=RestartPolicy(wait=lambda _: next(rests))))
    go = [threading.Event(), threading.Event()]

    def crash(download_id: str, target_id: Any, name: str) -> str:
        assert go[target_id].wait(10)
        raise haulier.SourceCrashed("gone")

    ids = [dispatch(engine, crash, n) for n in range(2)]
    while engine.stats()["tidal"]["in_flight"] < 2:
        threading.Event().wait(0.001)
    go[0].set()
    engine.wait(ids[0], 10)
    go[1].set()
    engine.wait(ids[1], 10)
    crashed_at = monotonic()
    after = engine.wait(dispatch(engine, lambda *_: str(monotonic())), 10)
    assert float(after["file_path"]) - crashed_at >= 0.15


def test_a_finalizer_on_the_stores_thread_may_ask(engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle collector runs on whatever thread, the store's too, and between two drains."""
    engine.add_record("tidal", "x", {"state": "Errored"})
    ledger, once, removed = engine._system.ledger, iter([True]), threading.Event()
    real = ledger.table.retained.next_expiry

    def collects() -> float | None:
        for _ in once:
            assert engine.remove_record("tidal", "x") is not None
            removed.set()
        return real()

    monkeypatch.setattr(ledger.table.retained, "next_expiry", collects)
    engine.update_record_unless_state("elsewhere", "y", {})  # the store wakes, answers, and goes back to waiting
    assert removed.wait(10)


def test_who_never_asks_for_the_first_arrival_leaves_no_watch(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    download_id = dispatch(engine, gatekeeper)
    for _ in range(10):
        engine.as_completed([download_id])
    assert engine.get_record("tidal", download_id) is not None
    assert engine._system.ledger.table.watches.callbacks == {}


def test_what_a_thread_of_an_impl_says_after_its_end_no_longer_counts(engine: DownloadEngine) -> None:
    transfers: list[Transfer] = []

    def fetch(transfer: Transfer) -> str:
        transfers.append(transfer)
        transfer.progress(1000, 1000)
        return "/x"

    record = engine.wait(dispatch(engine, fetch), 10)
    transfers[0].progress(7, 1000)
    after = engine.get_record("tidal", record["id"])
    assert after is not None
    assert (after["state"], after["progress"], after["transferred"]) == (State.SUCCEEDED, 100.0, 1000)
