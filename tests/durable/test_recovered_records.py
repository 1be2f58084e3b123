"""Records, and impls that are known by name, are the same after a restart."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from tests.durable.downloads import Impl, dispatch_many, fetch, record_of, retry
from tests.waiting import GUARD_S, Gatekeeper

from haulier import DownloadEngine, PermanentError, SourcePolicy
from haulier.policies import Retention

# ---- records ---------------------------------------------------------------------------------------------------------


def test_records_are_as_they_were(engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper) -> None:
    engine.register_source("s", SourcePolicy(concurrency=2), impl=gatekeeper)
    ids = dispatch_many(engine, 4, impl=None)
    gatekeeper.wait_inside(2)
    engine.update_record("s", ids[2], {"note": ["while it waits"]})
    assert engine.update_record_unless_state("s", ids[3], {"title": "é"}, ("Errored",))
    gatekeeper.release()
    over = next(each for each in engine.as_completed(ids[:2], GUARD_S))
    engine.update_record("s", over["id"], {"note": "once it is over", "state": "InProgress"})
    engine.add_record("peer", "mine", {"state": "InProgress", "anything": {"a": 1}})
    engine.add_record("peer", "gone", {"state": "InProgress"})
    engine.add_record("peer", "ended", {"state": "InProgress"})
    engine.update_record("peer", "ended", {"state": "Completed, Succeeded"})
    assert engine.cancel_download("gone")
    before = {each["id"] if "id" in each else str(each): each for each in engine.get_all_downloads()}
    before = {key: each for key, each in before.items() if each.get("phase") != "running"}
    for _ in range(2):
        engine = durable.reopen()
        after = {each["id"] if "id" in each else str(each): each for each in engine.get_all_downloads()}
        for key, each in before.items():
            assert {**after[key], "reason": None} == {**each, "reason": None}
    assert engine.get_record("peer", "gone") == {"state": "Cancelled"}
    engine.update_record("peer", "mine", {"state": "Cancelled"})
    assert engine.clear_all_completed_downloads() == 6
    last = durable.reopen()
    assert {each.get("phase") for each in last.get_all_downloads()} == {"queued"}


def test_what_is_removed_does_not_come_back(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", impl=fetch)
    ids = dispatch_many(engine, 3)
    for each in ids:
        engine.wait(each, GUARD_S)
    engine.add_record("peer", "mine", {"state": "InProgress"})
    assert engine.remove_record("s", ids[0]) is not None
    assert engine.remove_record("peer", "mine") is not None
    again = durable.reopen()
    assert [each["id"] for each in again.get_all_downloads()] == ids[1:]
    assert again.clear_all_completed_downloads() == 2
    assert durable.reopen().get_all_downloads() == []


def test_progress_of_what_runs_is_there_within_a_second(
    engine: DownloadEngine, durable: Any, gatekeeper: Gatekeeper, meddle: Any
) -> None:
    engine.register_source("s", impl=gatekeeper)
    (download_id,) = dispatch_many(engine, 1, impl=None)
    gatekeeper.wait_inside()
    engine.add_record("peer", "mine", {"state": "InProgress"})
    durable.settle()
    meddler = meddle(engine)
    for transferred in range(1000):
        engine.update_record("s", download_id, {"transferred": transferred, "state": "InProgress, Downloading"})
        engine.update_record("peer", "mine", {"transferred": transferred, "state": "InProgress"})
    assert meddler.arrived.wait(GUARD_S), "nobody else wrote"
    durable.settle()
    assert len(meddler.batches) <= 3, "not one for each patch"
    engine.update_record("s", download_id, {"transferred": 5000})
    engine.update_record("peer", "mine", {"transferred": 5000})
    count = len(meddler.batches)
    while len(meddler.batches) == count:
        meddler.arrived.clear()
        assert meddler.arrived.wait(GUARD_S)
        durable.settle()
    again = durable.reopen()
    assert record_of(again, download_id)["transferred"] == 5000
    assert again.get_record("peer", "mine") == {"state": "InProgress", "transferred": 5000}


def test_nobody_writes_where_nothing_happens(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    engine.register_source("s", impl=fetch)
    ids = dispatch_many(engine, 3)
    for each in ids:
        engine.wait(each, GUARD_S)
    durable.settle()
    meddler = meddle(engine)
    engine.get_all_downloads()
    engine.stats()
    engine.history()
    engine.cancel_download(ids[0])
    engine.update_record("s", "unknown", {"x": 1})
    engine.remove_record("s", "unknown")
    durable.settle()
    assert meddler.batches == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(b"x", "bytes"), (float("inf"), "inf"), ((1,), "tuple"), ({"a": {1}}, r"\['x'\]\['a'\]"), ({1: 2}, "the key 1")],
)
def test_a_value_that_cannot_be_written_is_refused_at_the_call(
    engine: DownloadEngine, durable: Any, value: Any, words: str
) -> None:
    engine.add_record("peer", "mine", {"state": "InProgress"})
    for call in (
        lambda: engine.add_record("peer", "other", {"x": value}),
        lambda: engine.update_record("peer", "mine", {"fine": 1, "x": value}),
        lambda: engine.update_record_unless_state("peer", "mine", {"x": value}, ()),
    ):
        with pytest.raises(TypeError, match=words) as caught:
            call()
        assert "['x']" in str(caught.value)
    assert engine.get_all_downloads() == [{"state": "InProgress"}]


def test_a_key_or_an_id_that_cannot_be_written_is_refused(engine: DownloadEngine) -> None:
    bad: Any = {5: "x"}
    with pytest.raises(TypeError, match="the key 5"):
        engine.add_record("peer", "mine", bad)
    with pytest.raises(TypeError, match="the key 5"):
        engine.update_record("peer", "mine", bad)
    with pytest.raises(TypeError, match="download_id"):
        engine.add_record("peer", 5, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="source_name must not be longer than 1000 bytes"):
        dispatch_many(engine, 1, source="ü" * 501)
    with pytest.raises(ValueError, match="source_name must not be longer than 1000 bytes"):
        engine.add_record("x" * 1001, "mine", {})
    with pytest.raises(ValueError, match="download_id must not be longer than 1000 bytes"):
        engine.add_record("peer", "\0" * 201, {})
    engine.add_record("x" * 1000, "\0" * 200, {})
    assert engine.remove_record("x" * 1000, "\0" * 200) == {}
    assert engine.get_all_downloads() == []


def test_what_an_impl_wrote_past_the_checks_is_left_out(
    engine: DownloadEngine, durable: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.register_source("s", impl=lambda transfer: transfer.cell.update(size={1}, note="fine") or "/x")
    (download_id,) = dispatch_many(engine, 1, impl=None)
    engine.wait(download_id, GUARD_S)
    again = durable.reopen()
    after = record_of(again, download_id)
    assert (after["note"], after["file_path"], "size" in after) == ("fine", "/x", False)
    assert "record['size']: cannot be stored: set" in caplog.text


# ---- impls by name ---------------------------------------------------------------------------------------------------


@pytest.mark.expect_errors("^Failed: ")
def test_an_impl_that_is_gone_is_a_failed_attempt_that_says_so(engine: DownloadEngine, durable: Any) -> None:
    module = types.ModuleType("plugin_that_goes")
    exec("def fetch(*_): return '/x'\ndef other(*_): return '/y'\n", module.__dict__)
    sys.modules["plugin_that_goes"] = module
    engine.register_source("s")
    engine.pause("s")
    ids = [engine.worker.dispatch("s", 1, "n", "f", each) for each in (module.fetch, module.other, module.other)]
    engine.worker.set_concurrency("s", 1)
    del module.fetch
    module.other = "no impl"  # type: ignore[attr-defined]
    again = durable.reopen()
    again.register_source("s")
    first, second, _ = [again.wait(each, GUARD_S) for each in ids]
    assert (first["phase"], first["error_type"], first["attempt"]) == ("failed", "ImportError", 1)
    assert first["error"].startswith(
        "cannot import the impl plugin_that_goes:fetch, which the download was dispatched with: Attr"
    )
    assert second["error"] == (
        "the impl plugin_that_goes:other, which the download was dispatched with, is not callable: 'no impl'"
    )
    del sys.modules["plugin_that_goes"]


def test_it_is_looked_for_again_at_the_next_attempt(engine: DownloadEngine, durable: Any) -> None:
    module = types.ModuleType("plugin_that_comes")
    exec("def fetch(*_): return '/x'\n", module.__dict__)
    sys.modules["plugin_that_comes"] = module
    engine.register_source("s")
    engine.pause("s")
    download_id = engine.worker.dispatch("s", 1, "n", "f", module.fetch)
    del sys.modules["plugin_that_comes"]
    again = durable.reopen()
    again.register_source("s", SourcePolicy(retry=retry(10_000, 0.001)))
    errors: set[str | None] = set()
    while record_of(again, download_id)["attempt"] < 3 or not errors - {None}:
        durable.settle()
        errors.add(record_of(again, download_id).get("error"))  # None while an attempt runs
    assert all(each.endswith("No module named 'plugin_that_comes'") for each in errors if each is not None)
    sys.modules["plugin_that_comes"] = module
    assert again.wait(download_id, GUARD_S)["file_path"] == "/x"
    del sys.modules["plugin_that_comes"]


@pytest.mark.expect_errors("^Failed: ")
def test_a_permanent_error_stays_one(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s")
    engine.pause("s")
    ids = dispatch_many(engine, 1, impl=fetch)
    again = durable.reopen(retention=Retention())
    again.register_source("s", SourcePolicy(retry=retry(5)))
    again.wait(ids[0], GUARD_S)
    again.register_source("s", impl=Impl(**{"0": PermanentError("gone")}))
    assert again.wait(dispatch_many(again, 1, impl=None)[0], GUARD_S)["attempt"] == 1
