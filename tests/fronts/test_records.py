"""The calls of existing programs, and the record: ``behaviour.md#calls``, ``behaviour.md#records``."""

from __future__ import annotations

import inspect
import threading
import time
import uuid
from typing import Any

import pytest
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, Phase, State

PARAMETERS = {
    "add_record": ["source_name", "download_id", "record"],
    "update_record": ["source_name", "download_id", "patch"],
    "update_record_unless_state": ["source_name", "download_id", "patch", "skip_if_state_in"],
    "remove_record": ["source_name", "download_id"],
    "get_record": ["source_name", "download_id"],
    "iter_records_for_source": ["source_name"],
    "get_download_status": ["download_id"],
    "get_all_downloads": ["exclude"],
    "cancel_download": ["download_id", "source_hint", "remove"],
    "clear_all_completed_downloads": [],
    "close": ["drain", "timeout"],
}


def impl(download_id: str, target_id: Any, display_name: str) -> str:
    return "/music/a.flac"


def dispatch(engine: DownloadEngine, fetch: Any = impl, source: str = "tidal", **options: Any) -> str:
    return engine.worker.dispatch(source, 1, "A song", "a.flac", fetch, **options)


def test_the_calls_of_existing_programs_are_there() -> None:
    for name, parameters in PARAMETERS.items():
        assert list(inspect.signature(getattr(DownloadEngine, name)).parameters) == ["self", *parameters], name
    worker = inspect.signature(haulier.BackgroundDownloadWorker.dispatch)
    assert list(worker.parameters)[1:] == [
        "source_name", "target_id", "display_name", "original_filename", "impl_callable",
        "extra_record_fields", "username_override", "thread_name",
    ]  # fmt: skip


def test_the_first_record(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    before = time.time()
    download_id = dispatch(
        engine, extra_record_fields={"track_id": 7, "size": 10, "error": None}, username_override="t"
    )
    record = engine.get_record("tidal", download_id)
    assert record is not None
    assert uuid.UUID(download_id).version == 4
    assert str(uuid.UUID(download_id)) == download_id
    assert before <= record.pop("queued_at") <= time.time()
    assert record == {
        "id": download_id, "filename": "a.flac", "username": "t", "state": "Initializing", "progress": 0.0,
        "size": 10, "transferred": 0, "speed": 0, "time_remaining": None, "file_path": None, "error": None,
        "track_id": 7, "source": "tidal", "phase": "queued", "attempt": 0, "started_at": None, "finished_at": None,
        "error_type": None, "reason": "slot",
    }  # fmt: skip


def test_error_is_absent_until_it_fails_and_none_after_success(engine: DownloadEngine) -> None:
    plain = engine.wait(dispatch(engine), 10)
    assert "error" not in plain

    def failed_once(download_id: str, *_: Any) -> str:
        engine.update_record("tidal", download_id, {"error": "first mirror", "state": State.ERRORED, "size": 9})
        return "/x"

    record = engine.wait(dispatch(engine, failed_once), 10)
    assert (record["state"], record["error"], record["transferred"], record["size"]) == (State.SUCCEEDED, None, 9, 9)


def test_a_success(engine: DownloadEngine) -> None:
    record = engine.wait(dispatch(engine), 10)
    assert (record["state"], record["phase"]) == ("Completed, Succeeded", "succeeded")
    assert (record["progress"], record["file_path"], record["attempt"]) == (100.0, "/music/a.flac", 1)
    assert record["queued_at"] <= record["started_at"] <= record["finished_at"] <= time.time()


def test_explain_and_the_record_agree_on_the_phase(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    done = dispatch(engine)
    engine.close(drain=True)
    assert engine.explain(done) == {"phase": "succeeded", "reason": None, "position": None, "earliest_start": None}
    record = engine.get_record("tidal", done)
    assert record is not None
    assert (record["phase"], record["reason"]) == ("succeeded", None)


def test_target_id_is_the_same_object(engine: DownloadEngine) -> None:
    target, seen = object(), set()

    def fetch(download_id: str, target_id: Any, name: str) -> str:
        seen.add(id(target_id))
        return "/x"

    engine.wait(engine.worker.dispatch("tidal", target, "n", "f", fetch), 10)
    assert seen == {id(target)}


def test_reads_see_the_callers_own_writes(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    download_id = dispatch(engine, gatekeeper)
    for n in range(200):
        engine.update_record("tidal", download_id, {"progress": float(n), "note": n})
        record = engine.get_record("tidal", download_id)
        assert record is not None
        assert (record["progress"], record["note"]) == (float(n), n)
    waiting = dispatch(engine)
    assert engine.get_record("tidal", waiting) is not None
    assert engine.get_download_status(waiting) is not None


def test_copies_belong_to_the_caller(engine: DownloadEngine) -> None:
    original = {"state": "x"}
    engine.add_record("tidal", "mine", original)
    original["state"] = "changed"
    for copy in (
        engine.get_record("tidal", "mine"),
        next(engine.iter_records_for_source("tidal")),
        engine.get_download_status("mine"),
        engine.get_all_downloads()[0],
    ):
        assert copy == {"state": "x"}
        assert copy is not None
        copy["state"] = "changed"


def test_everybody_who_waits_has_a_record_of_his_own(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    download_id = dispatch(engine, gatekeeper)
    waiters = [engine.as_completed([download_id], 10) for _ in range(2)]
    gatekeeper.open()
    first, second = map(next, waiters)
    assert first == second
    assert first is not second


def test_foreign_records_are_what_their_owner_says(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.add_record("tidal", "dl-1", {"state": "Weird", 5: "any key"})  # type: ignore[dict-item]
    assert engine.get_record("tidal", "dl-1") == {"state": "Weird", 5: "any key"}
    engine.add_record("tidal", "dl-1", {"state": "Weird again"})
    assert "replaced" in caplog.text
    engine.update_record("tidal", "dl-1", {"state": "Aborted", "x": 1})
    assert engine.get_record("tidal", "dl-1") == {"state": "Aborted", "x": 1}
    assert engine.remove_record("tidal", "dl-1") == {"state": "Aborted", "x": 1}
    assert engine.remove_record("tidal", "dl-1") is None


def test_an_update_without_a_record_does_nothing(engine: DownloadEngine) -> None:
    engine.update_record("tidal", "nobody", {"progress": 1.0})
    assert engine.update_record_unless_state("tidal", "nobody", {"progress": 1.0}) is False
    assert engine.get_all_downloads() == []


def test_update_unless_state_is_exactly_true_or_false(engine: DownloadEngine) -> None:
    engine.add_record("tidal", "x", {"state": "A"})
    assert engine.update_record_unless_state("tidal", "x", {"state": "B"}, ("A",)) is False
    assert engine.update_record_unless_state("tidal", "x", {"state": "B"}, ["C", "D"]) is True
    assert engine.update_record_unless_state("tidal", "x", {"state": "C"}) is True
    assert engine.get_record("tidal", "x") == {"state": "C"}


def test_iteration_is_as_of_the_call(engine: DownloadEngine) -> None:
    engine.add_record("tidal", "a", {"n": 1})
    records = engine.iter_records_for_source("tidal")
    engine.add_record("tidal", "b", {"n": 2})
    engine.update_record("tidal", "a", {"n": 3})
    assert list(records) == [{"n": 1}]
    assert list(engine.iter_records_for_source("nobody")) == []


def test_all_downloads_but_some_sources(engine: DownloadEngine) -> None:
    engine.register_source("deezer", aliases=("deezer_dl",))
    for source in ("tidal", "qobuz", "deezer_dl"):
        engine.add_record(source, "x", {"of": source})
    assert [r["of"] for r in engine.get_all_downloads(exclude=("qobuz", "deezer_dl"))] == ["tidal"]
    assert len(engine.get_all_downloads()) == 3


@pytest.mark.expect_errors
def test_clearing_removes_what_is_over_and_nothing_else(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    done = [dispatch(engine), dispatch(engine, lambda *_: None)]
    list(engine.as_completed(done, 10))
    running = dispatch(engine, gatekeeper)
    engine.add_record("tidal", "theirs", {"state": "Aborted"})
    engine.add_record("tidal", "theirs too", {"state": State.ERRORED})
    assert engine.clear_all_completed_downloads() == 3
    assert [r.get("id") for r in engine.get_all_downloads()] == [running, None]
    assert engine.clear_all_completed_downloads() == 0


def test_an_alias_names_the_same_source_everywhere(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("deezer", impl=gatekeeper, aliases=("deezer_dl",))
    first = engine.worker.dispatch("deezer", 1, "n", "f")
    gatekeeper.wait_inside(1)
    second = engine.worker.dispatch("deezer_dl", 2, "n", "f")
    engine.worker.set_delay("deezer_dl", 0)
    record = engine.get_record("deezer_dl", second)
    assert record is not None
    assert (record["source"], record["username"]) == ("deezer", "deezer")
    assert [r["id"] for r in engine.iter_records_for_source("deezer_dl")] == [first, second]
    assert engine.cancel_download(second, source_hint="deezer_dl", remove=True)
    assert engine.get_record("deezer", second) is None
    gatekeeper.open()
    assert gatekeeper.peak == 1
    assert list(engine.stats()) == ["deezer"]


def test_thread_name_while_the_impl_runs(engine: DownloadEngine) -> None:
    names = []

    def named(*_: Any) -> str:
        names.append(threading.current_thread().name)
        return "/x"

    for name in ("deezer-dl-7", None):
        engine.wait(dispatch(engine, named, thread_name=name), 10)
    assert names[0] == "deezer-dl-7"
    assert names[1].startswith("haulier-tidal")


def test_dispatch_never_runs_the_impl_on_the_callers_thread(engine: DownloadEngine) -> None:
    threads = []

    def fetch(*_: Any) -> str:
        threads.append(threading.current_thread())
        return "/x"

    engine.wait(dispatch(engine, fetch), 10)
    assert threads not in ([], [threading.current_thread()])


def test_an_impl_may_call_everything(engine: DownloadEngine) -> None:
    def busy(download_id: str, *_: Any) -> str:
        other = engine.worker.dispatch("tidal", 2, "n", "f", impl)
        elsewhere = engine.worker.dispatch("qobuz", 2, "n", "f", impl)
        engine.update_record("tidal", download_id, {"progress": 3.0})
        assert engine.get_record("tidal", download_id)["progress"] == 3.0  # type: ignore[index]
        assert engine.update_record_unless_state("tidal", download_id, {"x": 1}, ("Cancelled",))
        engine.worker.set_concurrency("tidal", 1)
        engine.worker.set_delay("tidal", 0)
        assert engine.cancel_download(other)
        assert engine.wait(elsewhere, 10)["phase"] == Phase.SUCCEEDED
        assert len(list(engine.iter_records_for_source("tidal"))) == 2
        with pytest.raises(RuntimeError, match="own"):
            engine.wait(download_id)
        engine.clear_all_completed_downloads()
        engine.stats()
        engine.explain(download_id)
        return "/x"

    assert engine.wait(dispatch(engine, busy), 10)["state"] == State.SUCCEEDED


def test_an_idle_source_has_the_download_before_dispatch_is_back(engine: DownloadEngine) -> None:
    """A caller who sets something up just for the call finds it used."""

    class Client:
        fetch = staticmethod(impl)

    for _ in range(20):
        used: list[int] = []
        called = threading.Event()

        def patched(*_: Any, used: list[int] = used, called: threading.Event = called) -> str:
            used.append(1)
            called.set()
            return "/x"

        client: Any = Client()
        client.fetch = patched
        download_id = engine.worker.dispatch("tidal", 1, "n", "f", lambda *a, c=client: c.fetch(*a))
        client.fetch = impl
        engine.wait(download_id, 10)
        threading.Event().wait(0.002)  # idle for more than a millisecond
        # Bounded at ten milliseconds, so a machine that stalls for longer may miss it: then the original was called.
        if used:
            break
    assert used
