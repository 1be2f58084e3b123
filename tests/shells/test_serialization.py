"""Limits, delay and order on real threads: ``behaviour.md#limits``, ``behaviour.md#delay``, ``behaviour.md#order``."""

from __future__ import annotations

import threading
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, SourcePolicy, State, Transfer


def test_one_at_a_time_and_in_order(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    ids = [dispatch(engine, gatekeeper, n) for n in range(50)]
    gatekeeper.wait_inside(1)
    gatekeeper.open()
    assert all(r["state"] == State.SUCCEEDED for r in engine.as_completed(ids, 10))
    assert gatekeeper.peak == 1
    assert gatekeeper.order == list(range(50))


@pytest.mark.parametrize("limit", [2, 5])
def test_as_many_as_the_limit_and_no_more(engine: DownloadEngine, gatekeeper: Gatekeeper, limit: int) -> None:
    engine.worker.set_concurrency("tidal", limit)
    ids = [dispatch(engine, gatekeeper, n) for n in range(40)]
    gatekeeper.wait_inside(limit)
    gatekeeper.open()
    assert len(list(engine.as_completed(ids, 10))) == 40
    assert gatekeeper.peak == limit


def test_a_higher_limit_starts_waiting_downloads_now(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    for n in range(10):
        dispatch(engine, gatekeeper, n)
    gatekeeper.wait_inside(1)
    engine.worker.set_concurrency("tidal", 4)
    gatekeeper.wait_inside(4)
    assert engine.stats()["tidal"]["in_flight"] == 4


def test_under_a_lower_limit_none_starts_until_the_count_is_below_it(
    engine: DownloadEngine, gatekeeper: Gatekeeper
) -> None:
    engine.worker.set_concurrency("tidal", 4)
    ids = [dispatch(engine, gatekeeper, n) for n in range(10)]
    gatekeeper.wait_inside(4)
    engine.worker.set_concurrency("tidal", 2)
    gatekeeper.release(2)
    gatekeeper.wait_inside(2)
    assert len(gatekeeper.order) == 4
    gatekeeper.release(1)
    gatekeeper.wait_started(5)
    gatekeeper.open()
    list(engine.as_completed(ids, 10))
    assert gatekeeper.peak == 4
    # From the fifth start on, never more than two overlapped.
    starts = sorted(gatekeeper.spans)[4:]
    assert all(sum(a <= since < b for a, b in gatekeeper.spans) <= 2 for since, _ in starts)


@pytest.mark.parametrize("delay_from", ["end", "start"])
def test_never_early(engine: DownloadEngine, delay_from: Any) -> None:
    spans: list[tuple[float, float]] = []

    def fetch(transfer: Transfer) -> str:
        # A start is when its slot calls the impl; on a busy machine it may be a while until the first line of that.
        since = transfer.started_at if delay_from == "start" else monotonic()
        threading.Event().wait(0.005)
        spans.append((since, monotonic()))
        return "/x"

    engine.register_source("tidal", SourcePolicy(delay=0.03, delay_from=delay_from), fetch)
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(6)]
    list(engine.as_completed(ids, 10))
    gaps = [b[0] - a[1 if delay_from == "end" else 0] for a, b in pairwise(spans)]
    assert len(gaps) == 5
    assert min(gaps) >= 0.03


@pytest.mark.expect_errors
def test_the_delay_counts_after_failures_crashes_and_cancels(engine: DownloadEngine) -> None:
    ends: list[float] = []
    starts: list[float] = []
    begun = threading.Event()

    def fetch(download_id: str, target_id: Any, name: str) -> str | None:
        starts.append(monotonic())
        try:
            if target_id == "fail":
                raise OSError("no")
            if target_id == "crash":
                raise haulier.SourceCrashed("broken")
            if target_id == "cancel":
                begun.set()
                while not haulier.current_transfer().cancelled:
                    threading.Event().wait(0.001)
            return None
        finally:
            ends.append(monotonic())

    restart = haulier.RestartPolicy(wait=lambda _: 0.0)
    engine.register_source("tidal", SourcePolicy(delay=0.04, restart=restart), fetch)
    ids = [engine.worker.dispatch("tidal", kind, "n", "f") for kind in ("fail", "crash", "cancel", "none", "none")]
    assert begun.wait(10)
    assert engine.cancel_download(ids[2])
    list(engine.as_completed(ids, 10))
    assert len(starts) == 5
    assert min(after - end for end, after in zip(ends, starts[1:], strict=False)) >= 0.04


def test_between_two_starts_too_where_there_are_more_slots(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    stamps: list[float] = []

    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        stamps.append(haulier.current_transfer().started_at)  # between that and this line a thread may lose its turn
        return str(gatekeeper(download_id, target_id, display_name))

    engine.register_source("tidal", SourcePolicy(concurrency=3, delay=0.03), fetch)
    for n in range(3):
        engine.worker.dispatch("tidal", n, "n", "f")
    gatekeeper.wait_inside(3)
    gatekeeper.open()
    engine.close(drain=True)
    assert gatekeeper.peak == 3
    assert min(b - a for a, b in pairwise(sorted(stamps))) >= 0.03


def test_one_source_never_holds_up_another(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.worker.set_delay("patient", 3600)
    dispatch(engine, lambda *_: "/x", source="patient")
    for n in range(1000):
        dispatch(engine, gatekeeper, n, source="blocked")
        dispatch(engine, gatekeeper, n, source="patient")
    gatekeeper.wait_inside(1)
    assert engine.wait(dispatch(engine, lambda *_: "/x", source="free"), 10)["state"] == State.SUCCEEDED
    status = engine.stats()["patient"]
    assert status["next_start"] is not None
    assert status["queued"] == 1000


def test_pause_and_resume(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal")
    engine.pause("tidal")
    waiting = dispatch(engine, gatekeeper)
    assert engine.stats()["tidal"]["paused"]
    assert engine.get_record("tidal", waiting)["reason"] == "pause"  # type: ignore[index]
    assert engine.explain(waiting) == {"phase": "queued", "reason": "pause", "position": 0, "earliest_start": None}
    assert gatekeeper.order == []
    engine.resume("tidal")
    gatekeeper.wait_inside(1)
    assert not engine.stats()["tidal"]["paused"]


def test_throttled_suspends_the_source_and_one_probe_goes_first(engine: DownloadEngine) -> None:
    calls: list[tuple[float, Any]] = []
    lock = threading.Lock()
    inside, peak = 0, 0

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        nonlocal inside, peak
        with lock:
            calls.append((monotonic(), target_id))
            if len(calls) == 1:
                raise haulier.Throttled(0.05)
            inside += 1
            peak = max(peak, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1
        return "/x"

    engine.register_source("tidal")
    engine.pause("tidal")
    engine.register_source("tidal", SourcePolicy(concurrency=1), fetch)
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(6)]
    engine.resume("tidal")
    records = {r["id"]: r for r in engine.as_completed(ids, 10)}
    assert [target for _, target in calls] == [0, 0, 1, 2, 3, 4, 5]  # back to the head
    assert calls[1][0] - calls[0][0] >= 0.05
    assert [records[i]["attempt"] for i in ids] == [1] * 6  # no attempt spent
    assert all(r["state"] == State.SUCCEEDED for r in records.values())


def test_threads_do_not_grow_with_the_queue_and_idle_ones_go(make_engine: Any, gatekeeper: Gatekeeper) -> None:
    before = threading.active_count()
    engine = make_engine(idle_timeout=0.02)
    ids = [dispatch(engine, gatekeeper, n) for n in range(2000)]
    gatekeeper.wait_inside(1)
    assert threading.active_count() <= before + 3  # store, supervisor, one slot
    gatekeeper.open()
    list(engine.as_completed(ids, 20))
    slot = [t for t in threading.enumerate() if t.name.startswith("haulier-tidal")]
    for thread in slot:
        thread.join(10)
        assert not thread.is_alive()
    assert engine.stats()["tidal"]["slots"] == 0
    assert engine.wait(dispatch(engine, gatekeeper), 10)["state"] == State.SUCCEEDED  # it wakes


def test_two_engines_know_nothing_of_each_other(make_engine: Any, gatekeeper: Gatekeeper) -> None:
    one, two = make_engine(), make_engine()
    dispatch(one, gatekeeper)
    gatekeeper.wait_inside(1)
    assert two.wait(dispatch(two, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED
    assert len(one.get_all_downloads()) == len(two.get_all_downloads()) == 1
    two.close()
    assert one.stats()["tidal"]["in_flight"] == 1
