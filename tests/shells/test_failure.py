"""Failure, retry, timeouts on threads: ``behaviour.md#failure``, ``behaviour.md#retry``, ``behaviour.md#timeouts``."""

from __future__ import annotations

import threading
from time import monotonic, time
from typing import Any

import pytest
import tenacity
from tests.dispatching import dispatch

import haulier
from haulier import DownloadEngine, RetryPolicy, SourcePolicy, State, Transfer
from haulier._engine.shells.slot import SourceActor

TWICE_MORE = RetryPolicy(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.02))


class Silent(Exception):
    pass


@pytest.mark.expect_errors
def test_what_a_record_says_of_a_failure(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    def fails(download_id: str, target_id: Any, name: str) -> str | None:
        if isinstance(target_id, Exception):
            raise target_id
        engine.update_record("tidal", download_id, {"error": "the plugin's own words"})
        return target_id if isinstance(target_id, str) else None

    said = {}
    for target in (OSError("disk"), Silent(), "", None):
        record = engine.wait(dispatch(engine, fails, target), 10)
        assert (record["state"], record["phase"], record["progress"]) == (State.ERRORED, "failed", 0.0)
        said[type(target).__name__] = (record["error"], record["error_type"])
    assert said == {
        "OSError": ("disk", "OSError"),
        "Silent": ("Silent", "Silent"),
        "str": ("the plugin's own words", None),
        "NoneType": ("the plugin's own words", None),
    }
    assert engine.wait(dispatch(engine, lambda *_: None), 10)["error"] == "the impl returned no file path"
    assert "Traceback" in caplog.text
    assert engine.stats()["tidal"]["restarts"] == 0


@pytest.mark.expect_errors
@pytest.mark.parametrize("kind", [OSError, haulier.PermanentError, haulier.SourceCrashed, SystemExit])
def test_a_long_error_is_cut_in_the_record_and_whole_in_the_log(
    engine: DownloadEngine, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    page = "<p>" * 100_000

    def fails(*_: Any) -> None:
        raise kind(page)

    record = engine.wait(dispatch(engine, fails), 10)
    assert record["error"].removeprefix("worker crash: ").startswith("<p><p>")
    assert record["error"].endswith(" more characters)")
    assert 4080 < len(record["error"].encode()) <= 4096
    engine.close()
    assert page in caplog.text


@pytest.mark.expect_errors
def test_one_attempt_by_default(engine: DownloadEngine) -> None:
    calls = []

    def fails(*_: Any) -> None:
        calls.append(1)
        raise OSError("no")

    assert engine.wait(dispatch(engine, fails), 10)["attempt"] == 1
    assert len(calls) == 1


def test_retry_until_it_works(engine: DownloadEngine) -> None:
    calls: list[float] = []
    attempts: list[int] = []

    def third_time(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str | None:
        calls.append(monotonic())
        attempts.append(transfer.attempt)
        if len(calls) == 1:
            raise OSError("first")
        return None if len(calls) == 2 else "/x"

    engine.register_source("tidal", SourcePolicy(retry=TWICE_MORE), third_time)
    record = engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)
    assert (record["state"], record["attempt"], record["error"], attempts) == (State.SUCCEEDED, 3, None, [1, 2, 3])
    assert calls[1] - calls[0] >= 0.02
    assert "next_attempt_at" not in record


@pytest.mark.expect_errors
def test_retry_gives_up(engine: DownloadEngine) -> None:
    calls = []

    def fails(*_: Any) -> None:
        calls.append(1)
        raise OSError(f"no {len(calls)}")

    engine.register_source("tidal", SourcePolicy(retry=TWICE_MORE), fails)
    record = engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)
    assert (len(calls), record["attempt"], record["error"]) == (3, 3, "no 3")


@pytest.mark.expect_errors
@pytest.mark.parametrize("error", [haulier.PermanentError("gone"), ValueError("not worth it")])
def test_some_errors_are_never_retried(engine: DownloadEngine, error: Exception) -> None:
    calls = []

    def fails(*_: Any) -> None:
        calls.append(1)
        raise error

    retry = RetryPolicy(tenacity.stop_never, tenacity.wait_none(), tenacity.retry_if_not_exception_type(ValueError))
    engine.register_source("tidal", SourcePolicy(retry=retry), fails)
    assert engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)["error"] == str(error)
    assert len(calls) == 1


@pytest.mark.expect_errors
def test_a_retry_policy_that_raises_ends_the_download_with_its_own_error(engine: DownloadEngine) -> None:
    def broken(_: Any) -> bool:
        raise RuntimeError("the policy is broken")

    engine.register_source("tidal", SourcePolicy(retry=RetryPolicy(stop=broken)))
    assert engine.wait(dispatch(engine, lambda *_: 1 / 0), 10)["error"] == "division by zero"
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED


def test_while_it_backs_off_its_slot_is_free_and_it_can_be_cancelled(engine: DownloadEngine) -> None:
    calls = []

    def fails(download_id: str, target_id: Any, name: str) -> str | None:
        calls.append(target_id)
        return "/x" if target_id == "other" else None

    retry = RetryPolicy(tenacity.stop_never, tenacity.wait_fixed(3600))
    engine.register_source("tidal", SourcePolicy(retry=retry), fails)
    download_id = engine.worker.dispatch("tidal", "fails", "n", "f")
    assert engine.wait(engine.worker.dispatch("tidal", "other", "n", "f"), 10)["state"] == State.SUCCEEDED
    record = engine.get_record("tidal", download_id)
    assert record is not None
    assert (record["state"], record["phase"], record["reason"]) == ("Initializing", "backing_off", "back-off")
    assert 3590 < record["next_attempt_at"] - time() <= 3600
    assert engine.explain(download_id)["earliest_start"] == pytest.approx(record["next_attempt_at"], abs=1.0)
    assert engine.stats()["tidal"]["queued"] == 1
    assert engine.cancel_download(download_id) is True
    assert engine.get_record("tidal", download_id)["state"] == "Cancelled"  # type: ignore[index]
    assert calls == ["fails", "other"]


def test_a_progress_of_the_first_attempt_is_not_the_seconds(engine: DownloadEngine) -> None:
    seen = []

    def fetch(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str | None:
        if transfer.attempt == 1:
            transfer.progress(500, 1000)
            return None
        record = engine.get_record("tidal", download_id)
        assert record is not None
        seen.append((record["transferred"], record["progress"], record["attempt"]))
        return "/x"

    engine.register_source("tidal", SourcePolicy(retry=TWICE_MORE), fetch)
    engine.wait(engine.worker.dispatch("tidal", 1, "n", "f"), 10)
    assert seen == [(0, 0.0, 2)]


@pytest.mark.expect_errors
@pytest.mark.parametrize(("policy", "reason"), [({"timeout": 0.05}, "timed out"), ({"stall_timeout": 0.05}, "stalled")])
def test_a_hung_impl_is_given_up_on(engine: DownloadEngine, policy: dict[str, float], reason: str) -> None:
    go, done = threading.Event(), threading.Event()

    def hangs(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
        transfer.progress(10, 100)
        assert go.wait(10)
        transfer.progress(100, 100)
        engine.update_record("tidal", download_id, {"state": "InProgress, Downloading"})
        done.set()
        return "/late"

    engine.register_source("tidal", SourcePolicy(**policy))  # type: ignore[arg-type]
    hung = dispatch(engine, hangs)
    record = engine.wait(hung, 10)
    assert record["state"] == State.ERRORED
    assert record["error"].startswith(reason)
    assert (record["error_type"], record["transferred"]) == ("TimeoutError", 10)
    assert engine.stats()["tidal"]["zombies"] == 1
    assert engine.wait(dispatch(engine, lambda *_: "/x"), 10)["state"] == State.SUCCEEDED  # the source goes on
    go.set()
    assert done.wait(10)
    while engine.stats()["tidal"]["zombies"]:
        threading.Event().wait(0.001)
    record = engine.wait(hung)
    assert (record["state"], record["file_path"], record["transferred"]) == (State.ERRORED, None, 10)


@pytest.mark.expect_errors
def test_what_is_given_up_on_before_its_impl_is_called_never_calls_it(
    engine: DownloadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread got no turn for so long: a machine that is busy, or was asleep."""
    engine.register_source("tidal", SourcePolicy(timeout=0.5, delay=0.001))
    called: list[str] = []
    real = SourceActor._announce

    def announce(slot: SourceActor, transfer: Transfer) -> None:
        real(slot, transfer)
        while transfer.target_id == "late" and not transfer.given_up:
            threading.Event().wait(0.001)

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        called.append(target_id)
        return "/x"

    monkeypatch.setattr(SourceActor, "_announce", announce)
    ids = [dispatch(engine, fetch, target) for target in ("late", "next")]
    records = {each["id"]: each for each in engine.as_completed(ids, 10)}
    assert records[ids[0]]["error"].startswith("timed out")
    assert records[ids[1]]["state"] == State.SUCCEEDED
    while engine.stats()["tidal"]["zombies"]:
        threading.Event().wait(0.001)
    assert called == ["next"]


def test_progress_keeps_a_slow_impl_alive(engine: DownloadEngine) -> None:
    def slow(download_id: str, target_id: Any, name: str, transfer: Transfer) -> str:
        for n in range(60):
            if target_id == "patches":
                engine.update_record("tidal", download_id, {"transferred": n})
            else:
                transfer.progress(n, 100)
            threading.Event().wait(0.02)
        return "/x"

    engine.register_source("tidal", SourcePolicy(stall_timeout=0.9), slow)
    ids = [engine.worker.dispatch("tidal", kind, "n", "f") for kind in ("patches", "transfer")]
    assert [r["state"] for r in engine.as_completed(ids, 10)] == [State.SUCCEEDED] * 2


@pytest.mark.expect_errors
def test_too_many_zombies_bring_the_source_down(engine: DownloadEngine) -> None:
    go = threading.Event()
    engine.register_source("tidal", SourcePolicy(timeout=0.2, max_zombies=1), lambda *_: go.wait(10) and "/x")
    ids = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(4)]
    errors = {r["id"]: r["error"] for r in engine.as_completed(ids, 10)}
    assert [errors[i][:11] for i in ids] == ["timed out a", "timed out a", "source down", "source down"]
    with pytest.raises(haulier.SourceDown):
        dispatch(engine, lambda *_: "/x")
    assert engine.stats()["tidal"]["zombies"] == 2
    go.set()
