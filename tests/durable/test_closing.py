"""A closed engine leaves what waits to the next one; so does one that is dropped, and one whose store dies does not."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
import tenacity
from tests.durable.downloads import ONE_DAY, dispatch_many, fetch, phases_of
from tests.waiting import GUARD_S, Gatekeeper, wait_until

from haulier import (
    DownloadCancelled,
    DownloadEngine,
    EngineClosed,
    RetryPolicy,
    SourcePolicy,
    StoreLocked,
    Throttled,
    Transfer,
)

# ---- what waits ------------------------------------------------------------------------------------------------------


def test_whoever_waits_for_what_is_kept_is_told(engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = dispatch_many(engine, 3, impl=None)
    gatekeeper.wait_inside()
    running, queued, _ = ids
    waits = engine.as_completed([running, queued], GUARD_S)
    threading.Timer(0.01, gatekeeper.open).start()
    told: list[Any] = []
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert next(waits)["id"] == running
    with pytest.raises(EngineClosed, match="is kept for the next one"):
        next(waits)
    closing.join()
    with pytest.raises(EngineClosed, match=queued):
        engine.wait(queued, 0)
    assert told == []
    assert phases_of(engine, ids) == ["succeeded", "queued", "queued"]
    assert phases_of(durable.open(), ids) == ["succeeded", "queued", "queued"]


def test_what_is_kept_is_not_to_be_cancelled_any_more(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    """Nobody would write that down: it would start with the next engine, having been reported to be over."""
    engine.register_source("s", impl=gatekeeper)
    heard: list[Any] = []
    engine.subscribe(heard.append)
    ids = dispatch_many(engine, 3, impl=None)
    gatekeeper.wait_inside()
    gatekeeper.open()
    engine.wait(ids[0], GUARD_S)
    engine.pause("s")
    waiting = dispatch_many(engine, 2, impl=None)
    engine.close()
    count = len(heard)
    assert not any(engine.cancel_download(each) for each in waiting)
    assert not engine.cancel_download(waiting[1], remove=True)
    assert phases_of(engine, waiting[:1]) == ["queued"]
    assert [event for event in heard[count:] if event.download_id in waiting] == []
    again = durable.open()
    again.register_source("s", impl=fetch)
    assert [record["phase"] for record in again.as_completed(waiting, GUARD_S)] == ["succeeded"] * 2


def test_a_cancel_that_nobody_writes_down_any_more_is_none(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("s", SourcePolicy(resume_interrupted=True), gatekeeper)
    (running,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    engine.close(timeout=0.0)
    assert engine.cancel_download(running) is False
    gatekeeper.open()
    again = durable.open()
    again.register_source("s", impl=fetch)
    assert again.wait(running, GUARD_S)["phase"] == "succeeded"


def test_what_runs_fails_as_it_always_did(engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper) -> None:
    engine.register_source("s", impl=gatekeeper)
    ids = dispatch_many(engine, 2, impl=None)
    gatekeeper.wait_inside()
    engine.close(timeout=0.01)
    assert engine.wait(ids[0], 0)["error"] == "engine closed"
    again = durable.open()
    assert [(again.get_download_status(each) or {}).get("error") for each in ids] == ["engine closed", None]
    assert [each.outcome for each in again.attempts("s", ids[0])] == ["fail"]


def raises(error: Exception) -> Callable[[Transfer], str]:
    def stop(transfer: Transfer) -> str:
        raise error

    return stop


STOPS: dict[str, Callable[[Transfer], str | None]] = {
    "it says so": raises(DownloadCancelled("asked to")),
    "it comes back with nothing": lambda _: None,
    "it does not notice": lambda _: "/late",
}


@pytest.mark.expect_errors("^Failed: ")
@pytest.mark.parametrize("how", STOPS)
def test_what_runs_is_queued_again_where_its_source_resumes(engine: DownloadEngine, durable: Any, how: str) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def impl(transfer: Transfer) -> str | None:
        asked.set()
        until = monotonic() + GUARD_S
        while not transfer.cancelled:
            assert monotonic() < until
        if how == "it does not notice":
            assert go_on.wait(GUARD_S)
        return STOPS[how](transfer)

    engine.register_source("s", SourcePolicy(resume_interrupted=True), impl=impl)
    ids = dispatch_many(engine, 2, impl=None)
    assert asked.wait(GUARD_S)
    engine.close(timeout=0.01 if how == "it does not notice" else GUARD_S)
    go_on.set()
    with pytest.raises(EngineClosed):
        engine.wait(ids[0], 0)
    again = durable.open()
    assert phases_of(again, ids) == ["queued", "queued"]
    assert [again.explain(each)["position"] for each in ids] == [0, 1]
    again.register_source("s", impl=fetch)
    assert [again.wait(each, GUARD_S)["attempt"] for each in ids] == [1, 1], "it was asked to stop: no attempt"


@pytest.mark.parametrize(
    ("error", "phase", "attempt"), [(OSError("reset"), "backing_off", 1), (Throttled(60.0), "queued", 0)]
)
def test_what_would_be_tried_again_is_by_the_next_engine(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, error: Exception, phase: str, attempt: int
) -> None:
    def impl(*args: Any) -> str:
        gatekeeper(*args)
        raise error

    retry = RetryPolicy(stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_fixed(60))
    engine.register_source("s", SourcePolicy(retry=retry), impl=impl)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    threading.Timer(0.01, gatekeeper.open).start()
    engine.close()
    again = durable.open()
    assert phases_of(again, [download_id]) == [phase]
    assert (again.get_download_status(download_id) or {})["attempt"] == attempt


def test_a_queue_that_runs_dry_first_leaves_nothing(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", impl=fetch)
    ids = dispatch_many(engine, 20)
    engine.close(drain=True)
    assert set(phases_of(engine, ids)) == set(phases_of(durable.open(), ids)) == {"succeeded"}


def test_nothing_goes_on_after_the_close(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    engine.close()
    engine.close()
    assert not [each for each in durable.path.parent.iterdir() if each.name.endswith(("-wal", "-shm", "-lock"))]
    engine.update_record("s", "x", {"a": 1})
    engine.add_record("s", "x", {"a": 1})
    assert engine.get_record("s", "x") == {"a": 1}
    assert durable.open().get_record("s", "x") is None


def path() -> str:
    return "/x"


def fails() -> str:
    raise OSError("it breaks")


def crashes() -> str:
    raise SystemExit


@pytest.mark.expect_errors("^Failed: ", "crashed", "died", "Unhandled exception")
@pytest.mark.parametrize("resumes", [False, True], ids=["", "resumes"])
@pytest.mark.parametrize(
    ("end", "retries", "phase"),
    [
        (path, 1, "succeeded"),
        (fails, 1, "failed"),
        (crashes, 1, "failed"),
        (fails, 2, "backing_off"),
    ],
)
def test_what_comes_of_a_run_that_closes_its_own_engine_is_written_down(
    engine: DownloadEngine, durable: Any, end: Any, retries: int, phase: str, resumes: bool, gatekeeper: Gatekeeper
) -> None:
    def impl(*target: Any) -> str:
        engine.close()
        gatekeeper(*target)
        return str(end())

    retry = RetryPolicy(stop=tenacity.stop_after_attempt(retries), wait=tenacity.wait_fixed(ONE_DAY))
    engine.register_source("s", SourcePolicy(retry=retry, resume_interrupted=resumes), impl=impl)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    with pytest.raises(StoreLocked):  # it runs still, and is not to run twice at once
        durable.open()
    gatekeeper.open()
    wait_until(lambda: phases_of(engine, [download_id]) == [phase], "it ends")
    with engine._system.store._writing:  # in one step with that the store is closed
        pass
    again = durable.open()
    assert phases_of(again, [download_id]) == [phase]
    assert len(again.attempts("s", download_id)) == 1


def test_a_run_that_is_cancelled_after_it_closed_its_own_engine_is_waited_for_no_longer(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper
) -> None:
    engine.register_source("s", impl=lambda *target: engine.close() or gatekeeper(*target))  # type: ignore[func-returns-value]
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    assert engine.cancel_download(download_id)
    assert phases_of(durable.open(), [download_id]) == ["cancelled"]
    gatekeeper.open()


def test_a_store_that_is_dropped_with_its_engine_is_free_for_another(durable: Any) -> None:
    """Also where something waits for a source that nobody will ever register now."""
    engine = durable.open()
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 2)
    again = durable.open()
    gone = weakref.ref(again)
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("haulier")}
    durable._engine = None
    del again
    _forget(durable, gone)
    for thread in threads:
        thread.join(GUARD_S)
        assert not thread.is_alive()
    assert phases_of(durable.open(), ids) == ["queued", "queued"]


def _forget(durable: Any, gone: Any) -> None:
    """Have nobody hold the engine: not the fixture that would close it either."""
    for cell in durable._make_engine.__closure__:
        if isinstance(cell.cell_contents, list) and gone() in cell.cell_contents:
            cell.cell_contents.remove(gone())
    gc.collect()
    assert gone() is None
