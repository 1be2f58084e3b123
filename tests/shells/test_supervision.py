"""Crashes, restarts and sources that are down, on real threads: ``behaviour.md#supervision``."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise
from time import monotonic
from typing import Any

import pykka
import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, RestartPolicy, SourcePolicy, State
from haulier._engine.shells.slot import SourceActor

AT_ONCE = RestartPolicy(intensity=100, wait=lambda _: 0.0)

pytestmark = pytest.mark.expect_errors


@pytest.mark.parametrize(
    "crash", [SystemExit(3), KeyboardInterrupt("x"), GeneratorExit(), haulier.SourceCrashed("client gone")]
)
def test_a_crash_costs_what_was_in_hand_and_nothing_else(
    engine: DownloadEngine, gatekeeper: Gatekeeper, crash: BaseException
) -> None:
    engine.register_source("tidal", SourcePolicy(restart=AT_ONCE))
    go = threading.Event()

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        assert go.wait(10)
        if target_id == 0:
            raise crash
        return str(gatekeeper(download_id, target_id, name))

    elsewhere = dispatch(engine, gatekeeper, "elsewhere", source="qobuz")
    ids = [dispatch(engine, fetch, n) for n in range(5)]
    go.set()
    gatekeeper.wait_started(2)
    gatekeeper.open()
    records = {r["id"]: r for r in engine.as_completed([elsewhere, *ids], 10)}
    assert records[ids[0]]["state"] == State.ERRORED
    assert records[ids[0]]["error"] == f"worker crash: {str(crash) or type(crash).__name__}"
    assert records[ids[0]]["error_type"] == type(crash).__name__
    assert [records[i]["state"] for i in ids[1:]] == [State.SUCCEEDED] * 4
    assert [t for t in gatekeeper.order if t != "elsewhere"] == [1, 2, 3, 4]
    assert records[elsewhere]["state"] == State.SUCCEEDED
    status = engine.stats()
    assert (status["tidal"]["restarts"], status["qobuz"]["restarts"]) == (1, 0)


def test_a_crash_of_one_slot_leaves_the_others(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal", SourcePolicy(concurrency=2, restart=AT_ONCE))
    running = dispatch(engine, gatekeeper, "stays")
    gatekeeper.wait_inside(1)

    def crash(*_: Any) -> str:
        raise SystemExit

    assert engine.wait(dispatch(engine, crash), 10)["error"] == "worker crash: SystemExit"
    after = dispatch(engine, gatekeeper, "after")
    gatekeeper.wait_inside(2)
    gatekeeper.open()
    assert [r["state"] for r in engine.as_completed([running, after], 10)] == [State.SUCCEEDED] * 2
    assert gatekeeper.peak == 2


def test_on_crash_error_queued(engine: DownloadEngine) -> None:
    go = threading.Event()
    engine.register_source("tidal", SourcePolicy(on_crash="error_queued", restart=AT_ONCE))

    def crash(*_: Any) -> str:
        assert go.wait(10)
        raise haulier.SourceCrashed("gone")

    ids = [dispatch(engine, crash, n) for n in range(3)]
    go.set()
    assert [r["error"] for r in engine.as_completed(ids, 10)] == ["worker crash: gone"] * 3
    assert engine.stats()["tidal"]["restarts"] == 1
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED


def test_restarts_wait_by_a_tenacity_strategy(engine: DownloadEngine) -> None:
    attempts, starts = [], []

    def wait(state: Any) -> float:
        attempts.append(state.attempt_number)
        return 0.03

    def crash(*_: Any) -> str:
        starts.append(monotonic())
        raise haulier.SourceCrashed("gone")

    engine.register_source("tidal", SourcePolicy(restart=RestartPolicy(wait=wait)), crash)
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(3)]
    list(engine.as_completed(ids, 10))
    assert attempts[:2] == [1, 2]
    assert min(b - a for a, b in pairwise(starts)) >= 0.03


def test_too_many_restarts_bring_the_source_down_and_revive_opens_it(engine: DownloadEngine) -> None:
    def crash(*_: Any) -> str:
        raise haulier.SourceCrashed("gone")

    engine.register_source("tidal", SourcePolicy(restart=RestartPolicy(2, 60, wait=lambda _: 0.0)), crash)
    engine.pause("tidal")
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(6)]
    engine.resume("tidal")
    errors = {r["id"]: r["error"] for r in engine.as_completed(ids, 10)}
    assert [errors[i][:11] for i in ids] == ["worker cras"] * 3 + ["source down"] * 3
    assert errors[ids[-1]] == "source down: more than 2 restarts within 60 s"
    with pytest.raises(haulier.SourceDown):
        engine.worker.dispatch("tidal", 1, "n", "f")
    assert engine.stats()["tidal"]["down"]
    assert engine.wait(dispatch(engine, lambda *_: "/x", source="qobuz"), 10)["state"] == State.SUCCEEDED
    engine.register_source("tidal", impl=lambda *_: "/x")
    engine.revive("tidal")
    assert engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)["state"] == State.SUCCEEDED
    assert not engine.stats()["tidal"]["down"]


def test_on_start_that_fails_n_times_then_works(engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter(range(2))
    real = SourceActor.on_start

    def on_start(self: SourceActor) -> None:
        for _ in failures:
            raise OSError("not yet")
        real(self)

    monkeypatch.setattr(SourceActor, "on_start", on_start)
    engine.register_source("tidal", SourcePolicy(restart=AT_ONCE))
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED
    assert engine.stats()["tidal"]["restarts"] == 2


def test_a_crash_in_the_actors_own_handler(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    broken = iter(range(1))
    real = SourceActor._log

    def log(self: SourceActor, *about: Any) -> None:
        for _ in broken:
            raise ZeroDivisionError("a bug of ours")
        real(self, *about)

    monkeypatch.setattr(SourceActor, "_log", log)
    logging.getLogger("haulier.source").setLevel(logging.INFO)
    request.addfinalizer(lambda: logging.getLogger("haulier.source").setLevel(logging.NOTSET))
    engine.register_source("tidal", SourcePolicy(restart=AT_ONCE))
    ids = [dispatch(engine, lambda *_: "/x", n) for n in range(3)]
    records = {r["id"]: r for r in engine.as_completed(ids, 10)}
    assert records[ids[0]]["error"] == "worker crash: a bug of ours"
    assert [records[i]["state"] for i in ids[1:]] == [State.SUCCEEDED] * 2


def test_no_thread_to_be_had(engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """'can't start new thread': what is queued waits for the next try."""
    failures = iter(range(2))
    real = SourceActor.begin

    def begin(self: SourceActor) -> None:
        for _ in failures:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(SourceActor, "begin", begin)
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED
    assert pykka.ActorRegistry.get_all() == []


class Foreign(pykka.ThreadingActor):
    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        return message


def test_stop_all_by_another_part_of_the_program(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    running, queued = dispatch(engine, gatekeeper, 1), dispatch(engine, gatekeeper, 2)
    gatekeeper.wait_inside(1)
    theirs = Foreign.start()
    pykka.ActorRegistry.stop_all(timeout=10)
    assert not theirs.is_alive()
    gatekeeper.open()
    assert [r["state"] for r in engine.as_completed([running, queued], 10)] == [State.SUCCEEDED] * 2
    assert engine.wait(dispatch(engine, lambda *_: "/x", source="new"), 10)["state"] == State.SUCCEEDED


def test_haulier_never_stops_actors_that_are_not_its_own(engine: DownloadEngine) -> None:
    theirs = Foreign.start()

    def crash(*_: Any) -> str:
        raise SystemExit

    assert engine.wait(dispatch(engine, crash), 10)["state"] == State.ERRORED
    engine.close()
    assert theirs.ask("still there?", timeout=10) == "still there?"
    theirs.stop()


def test_a_dead_store_is_said(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    store = engine._system.store
    store.stop()
    assert store.thread is not None
    store.thread.join(10)
    with pytest.raises(haulier.StoreUnavailable):
        dispatch(engine, lambda *_: "/x")
