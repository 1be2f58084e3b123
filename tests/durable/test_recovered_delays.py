"""After a restart a source waits out its remaining delay, suspension or back-off, and never longer."""

from __future__ import annotations

from time import time
from typing import Any

import pytest
from tests.durable.downloads import ONE_DAY, Impl, dispatch_many, fetch, record_of, retry
from tests.waiting import GUARD_S, Gatekeeper

from haulier import DownloadEngine, SourcePolicy, Throttled


def next_start(engine: DownloadEngine, **policy: Any) -> float:
    engine.register_source("s", SourcePolicy(delay=ONE_DAY, **policy), impl=fetch)
    start = engine.stats()["s"]["next_start"]
    assert start is not None
    return start


@pytest.mark.parametrize("since", ["end", "start"])
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_a_delay_is_waited_out_by_the_next_process(engine: DownloadEngine, durable: Any, since: Any, how: str) -> None:
    engine.register_source("s", impl=fetch)
    ended_on = engine.wait(dispatch_many(engine, 1)[0], GUARD_S)["finished_at"]
    for _ in range(3):
        engine = durable.reopen() if how == "killed" else durable.open()
        assert next_start(engine, delay_from=since) == pytest.approx(ended_on + ONE_DAY, abs=1.0)
    dispatch_many(engine, 1)
    assert engine.stats()["s"]["in_flight"] == 0


def test_an_interrupted_run_ended_with_its_process(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("s", impl=gatekeeper)
    dispatch_many(engine, 2, impl=None)
    gatekeeper.wait_inside()
    before = time()
    engine = durable.reopen()
    start = next_start(engine)
    assert start >= before + ONE_DAY - 0.1
    engine = durable.reopen()
    assert next_start(engine) == pytest.approx(start, abs=1.0)


def test_a_cancelled_run_has_ended_when_its_impl_has(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert engine.cancel_download(download_id)
    durable.settle()
    [(last_end_on,)] = [gate[1:2] for gate in engine._system.store.storage.load().gates]  # type: ignore[attr-defined]
    assert last_end_on == float("inf"), "it runs still, and whoever comes after this process is to know"
    gatekeeper.release()
    second = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_started(2)
    began = time()
    gatekeeper.open()
    ended_on = engine.wait(second[0], GUARD_S)["finished_at"]
    assert began <= ended_on
    again = durable.reopen()
    assert next_start(again) == pytest.approx(ended_on + ONE_DAY, abs=1.0)


def test_what_was_cancelled_and_ran_on_ended_with_its_process(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert engine.cancel_download(download_id)
    before = time()
    again = durable.reopen()
    assert next_start(again) >= before + ONE_DAY - 0.1
    assert record_of(again, download_id)["phase"] == "cancelled"


def test_a_source_that_was_only_dispatched_to_waits_for_nothing(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    (download_id,) = dispatch_many(engine, 1)
    again = durable.reopen()
    again.register_source("s", SourcePolicy(delay=ONE_DAY))
    assert again.wait(download_id, GUARD_S)["phase"] == "succeeded"


def test_a_clock_that_was_set_back_makes_nobody_wait_for_ever(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.register_source("s", impl=fetch)
    engine.wait(dispatch_many(engine, 1)[0], GUARD_S)
    durable.kill()
    monkeypatch.setattr("haulier._engine.shells.recovery.time", lambda: time() - 400 * ONE_DAY)
    again = durable.open()
    assert next_start(again) <= time() + ONE_DAY


@pytest.mark.parametrize("what", ["suspension", "back-off"])
def test_what_is_to_be_waited_out_is_no_longer_when_the_clock_was_set_back(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fate = Throttled(retry_after=ONE_DAY) if what == "suspension" else OSError("it breaks")
    policy, impl = SourcePolicy(retry=retry(2, ONE_DAY)), Impl(**{"0": fate})
    engine.register_source("s", policy, impl=impl)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    while engine.explain(download_id)["reason"] != what:
        durable.settle()
    on = time()
    for clock in (on - 400 * ONE_DAY, on - 400 * ONE_DAY + 1):  # what was found out is written down
        durable.kill()
        monkeypatch.setattr("haulier._engine.shells.recovery.time", lambda clock=clock: clock)
        again = durable.open()
        again.register_source("s", policy, impl=impl)
        explained = again.explain(download_id)
        assert explained["reason"] == what
        assert ONE_DAY / 2 < explained["earliest_start"] - time() <= ONE_DAY
        again.update_record("s", download_id, {"note": clock})
