"""How many impls of an engine run at once, over all its sources: ``behaviour.md#limits``."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, Gatekeeper, wait_until

from haulier import DownloadEngine, SourceCrashed, SourcePolicy, aio


class Crowd:
    """An impl that counts who is inside, and the most that ever were."""

    def __init__(self) -> None:
        self.inside = self.peak = 0
        self.order: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, download_id: str, target_id: Any, display_name: str) -> str:
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            self.order.append(target_id)
        threading.Event().wait(0.0005)
        with self._lock:
            self.inside -= 1
        return "file.bin"


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_as_may_run_and_no_more(limit: int) -> None:
    crowd = Crowd()
    with DownloadEngine(max_running=limit, policy=SourcePolicy(concurrency=2)) as engine:
        ids = [dispatch(engine, crowd, source=f"host-{number % 10}") for number in range(300)]
        records = list(engine.as_completed(ids, 3 * GUARD_S))
        assert engine.max_running == limit
    assert {each["phase"] for each in records} == {"succeeded"}
    assert (crowd.peak, len(crowd.order)) == (limit, 300)


def test_sources_take_turns_and_none_starves() -> None:
    crowd = Crowd()
    with DownloadEngine(max_running=1) as engine:
        first = Gatekeeper()
        dispatch(engine, first, source="first")
        first.wait_inside()
        ids = [dispatch(engine, crowd, target=source, source=source) for _ in range(20) for source in "abc"]
        first.open()
        list(engine.as_completed(ids, GUARD_S))
    for place in range(0, 60, 3):
        assert sorted(crowd.order[place : place + 3]) == ["a", "b", "c"], crowd.order


def test_a_source_with_ten_places_takes_turns_with_one_that_has_one() -> None:
    crowd = Crowd()
    with DownloadEngine(max_running=2) as engine:
        engine.register_source("wide", SourcePolicy(concurrency=10))
        gate = Gatekeeper()
        held = [dispatch(engine, gate, source=f"held-{number}") for number in range(2)]
        gate.wait_inside(2)
        ids = [dispatch(engine, crowd, target="wide", source="wide") for _ in range(50)]
        ids += [dispatch(engine, crowd, target="narrow", source="narrow") for _ in range(10)]
        gate.open()
        list(engine.as_completed([*held, *ids], GUARD_S))
    assert Counter(crowd.order) == {"wide": 50, "narrow": 10}
    assert crowd.order.index("narrow") < 10, "it did not wait for all of the others"


def test_it_can_be_changed_while_the_engine_runs(gatekeeper: Gatekeeper) -> None:
    with DownloadEngine() as engine:
        assert engine.max_running is None
        ids = [dispatch(engine, gatekeeper, source=f"host-{number}") for number in range(12)][:4]
        gatekeeper.wait_inside(12)
        engine.max_running = 2
        more = [dispatch(engine, gatekeeper, source=f"more-{number}") for number in range(6)]
        gatekeeper.release(10)
        wait_until(lambda: gatekeeper.inside == 2, "only the running ones go on")
        assert engine.explain(more[-1])["phase"] == "queued"
        wait_until(lambda: engine.explain(more[-1])["reason"] == "engine", "it waits for the engine")
        assert len(gatekeeper.order) == 12, "none of the others has started"
        engine.max_running = 4
        gatekeeper.wait_started(14)
        gatekeeper.wait_inside(4)
        engine.max_running = None
        gatekeeper.wait_started(18)
        gatekeeper.open()
        list(engine.as_completed([*ids, *more], GUARD_S))


@pytest.mark.expect_errors("boom", "crashed", "Unhandled exception")
def test_failures_cancels_and_crashes_give_their_places_back() -> None:
    def fetch(download_id: str, target_id: Any, display_name: str) -> str:
        if target_id % 5 == 1:
            raise ValueError("boom")
        if target_id % 40 == 7:
            raise SystemExit("boom")
        return "file.bin"

    with DownloadEngine(max_running=2) as engine:
        ids = [dispatch(engine, fetch, target=number, source=f"host-{number % 8}") for number in range(200)]
        for download_id in ids[::7]:
            engine.cancel_download(download_id)
        assert len(list(engine.as_completed(ids, 3 * GUARD_S))) == 200
        crowd = Crowd()
        again = [dispatch(engine, crowd, source=f"again-{number}") for number in range(20)]
        list(engine.as_completed(again, GUARD_S))
    assert crowd.peak == 2, "no place was lost, and none was won"


def test_a_source_that_is_paused_or_waits_out_its_delay_holds_up_no_other() -> None:
    crowd = Crowd()
    with DownloadEngine(max_running=1) as engine:
        gate = Gatekeeper()
        dispatch(engine, gate, source="held")
        gate.wait_inside()
        engine.register_source("slow", SourcePolicy(delay=60.0))
        engine.register_source("paused")
        slow = [dispatch(engine, crowd, target="slow", source="slow") for _ in range(2)]
        paused = dispatch(engine, crowd, source="paused")
        others = [dispatch(engine, crowd, source=f"host-{number}") for number in range(5)]
        engine.pause("paused")
        gate.open()
        list(engine.as_completed([slow[0], *others], GUARD_S))
        assert engine.explain(slow[1])["reason"] == "delay"
        assert engine.explain(paused)["reason"] == "pause"


def test_many_sources_that_wait_keep_few_threads() -> None:
    with DownloadEngine(max_running=1) as engine:
        gate = Gatekeeper()
        ids = [dispatch(engine, gate, source="held")]
        gate.wait_inside()
        ids += [dispatch(engine, lambda *_: "file.bin", source=f"host-{number}") for number in range(500)]
        names = [each.name for each in threading.enumerate() if each.name.startswith("haulier-")]
        assert len(names) < 50, names
        gate.open()
        assert {each["phase"] for each in engine.as_completed(ids, 3 * GUARD_S)} == {"succeeded"}


def test_with_a_durable_store(tmp_path: Path) -> None:
    crowd = Crowd()
    store = tmp_path / "haulier.db"
    with DownloadEngine(store=store, max_running=2) as engine:
        for number in range(5):
            engine.register_source(f"host-{number}", impl=crowd)
            engine.pause(f"host-{number}")
        for number in range(50):
            dispatch(engine, source=f"host-{number % 5}")
    with DownloadEngine(store=store, max_running=2) as engine:
        ids = [each["id"] for each in engine.get_all_downloads()]
        for number in range(5):
            engine.register_source(f"host-{number}", impl=crowd)
        list(engine.as_completed(ids, 3 * GUARD_S))
    assert (len(ids), crowd.peak, len(crowd.order)) == (50, 2, 50)


def test_a_thousand_sources_that_are_called_in_vain_cost_no_success(gatekeeper: Gatekeeper) -> None:
    with DownloadEngine(max_running=1) as engine:
        first = dispatch(engine, gatekeeper, source="first")
        gatekeeper.wait_inside()
        for number in range(1_000):
            dispatch(engine, lambda *_: "file.bin", source=f"host-{number}")
            engine.pause(f"host-{number}")
        gatekeeper.open()
        assert engine.wait(first, GUARD_S)["phase"] == "succeeded"
        engine.max_running = 2
        assert engine.wait(dispatch(engine, gatekeeper, source="last"), GUARD_S)["phase"] == "succeeded"


def test_a_paused_source_whose_slot_is_busy_keeps_no_place() -> None:
    busy, other = Gatekeeper(), Gatekeeper()
    with DownloadEngine(max_running=2, idle_timeout=0.05) as engine:
        engine.register_source("a", SourcePolicy(concurrency=2))
        dispatch(engine, busy, source="a")
        busy.wait_inside()
        held = dispatch(engine, other, source="b")
        other.wait_inside()
        dispatch(engine, busy, source="a")
        wait_until(lambda: engine._system.turns is not None and engine._system.turns._turns.is_busy, "it waits")
        engine.pause("a")
        other.open()
        more = [dispatch(engine, other, source="b") for _ in range(3)]
        list(engine.as_completed([held, *more], 3.0))  # sooner than any place expires
        busy.open()


class _Slow(logging.Handler):
    """Keeps the supervisor busy when it logs a crash, until it is let go."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.inside, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.inside.set()
        self.go_on.wait(GUARD_S)


@pytest.mark.expect_errors("crashed", "Unhandled exception")
def test_a_source_that_is_paused_after_it_was_called_keeps_no_place(gatekeeper: Gatekeeper) -> None:
    """The supervisor is asked for a slot, and finds the source paused when it comes to it."""
    go = threading.Event()

    def crash(download_id: str, target_id: Any, display_name: str) -> str:
        assert go.wait(GUARD_S)
        raise SourceCrashed("broken")

    slow = _Slow()
    logger = logging.getLogger("haulier.supervisor")
    logger.addHandler(slow)
    try:
        with DownloadEngine(max_running=1, idle_timeout=0.1) as engine:
            dispatch(engine, crash, source="b")
            wait_until(lambda: engine.stats()["b"]["in_flight"] == 1, "b runs")
            dispatch(engine, lambda *_: "file.bin", source="a")
            c = dispatch(engine, lambda *_: "file.bin", source="c")
            wait_until(lambda: engine.explain(c)["reason"] == "engine", "both wait")
            go.set()
            assert slow.inside.wait(GUARD_S)
            engine.pause("a")
            slow.go_on.set()
            assert engine.wait(c, 3.0)["phase"] == "succeeded"
            d = dispatch(engine, lambda *_: "file.bin", source="d")
            assert engine.wait(d, 3.0)["phase"] == "succeeded"
    finally:
        logger.removeHandler(slow)


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_what_is_no_limit_is_refused(limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_running"):
        DownloadEngine(max_running=limit)
    with DownloadEngine() as engine:
        with pytest.raises(error, match="max_running"):
            engine.max_running = limit
        assert engine.max_running is None


async def _aio() -> int | None:
    async with aio.DownloadEngine(max_running=3) as engine:
        engine.max_running = 2
        return engine.max_running


def test_asyncio_has_it_too() -> None:
    import asyncio

    assert asyncio.run(_aio()) == 2
