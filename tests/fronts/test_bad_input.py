"""Bad input raises at the call, before anything is stored or started: ``behaviour.md#bad-input``."""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import pykka
import pytest
from tests.waiting import Gatekeeper

import haulier
from haulier import DownloadEngine, SourcePolicy
from haulier._engine.shells.actor import Mail


def impl(download_id: str, target_id: Any, display_name: str) -> str:
    return "/x"


def dispatch(engine: DownloadEngine, source: Any = "tidal", fetch: Any = impl, **options: Any) -> str:
    return engine.worker.dispatch(source, 1, "n", "f", fetch, **options)


def nothing_happened(engine: DownloadEngine) -> bool:
    return engine.get_all_downloads() == [] and all(not s["queued"] and not s["slots"] for s in engine.stats().values())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"source": ""}, ValueError),
        ({"source": None}, TypeError),
        ({"source": 7}, TypeError),
        ({"source": ["tidal"]}, TypeError),
        ({"fetch": None}, TypeError),
        ({"fetch": "not callable"}, TypeError),
        ({"extra_record_fields": {"id": "mine"}}, ValueError),
        ({"extra_record_fields": {"state": "Done"}}, ValueError),
        ({"extra_record_fields": {7: "seven"}}, TypeError),
        ({"extra_record_fields": [("a", 1)]}, TypeError),
    ],
)
def test_a_dispatch_that_makes_no_sense_stores_nothing(
    engine: DownloadEngine, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        dispatch(engine, **options)
    assert nothing_happened(engine)


def test_what_is_not_callable_is_refused_although_the_source_has_an_impl(engine: DownloadEngine) -> None:
    engine.register_source("tidal", impl=impl)
    with pytest.raises(TypeError, match="callable"):
        dispatch(engine, fetch="not callable")
    assert engine.wait(dispatch(engine, fetch=None), 10)["state"] == "Completed, Succeeded"


@pytest.mark.parametrize(
    ("limit", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError), ("2", TypeError), (None, TypeError)],
)
def test_a_limit_is_an_int_of_at_least_one(engine: DownloadEngine, limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="max_concurrent"):
        engine.worker.set_concurrency("tidal", limit)
    assert engine.stats() == {}


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (-0.1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_delay_is_a_finite_number(engine: DownloadEngine, seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="seconds"):
        engine.worker.set_delay("tidal", seconds)
    assert engine.stats() == {}


@pytest.mark.parametrize(("source", "error"), [("", ValueError), (None, TypeError), (3, TypeError)])
def test_every_call_wants_the_name_of_a_source(engine: DownloadEngine, source: Any, error: type[Exception]) -> None:
    calls = [
        lambda: engine.worker.set_concurrency(source, 1),
        lambda: engine.worker.set_delay(source, 1),
        lambda: engine.add_record(source, "x", {}),
        lambda: engine.update_record(source, "x", {}),
        lambda: engine.update_record_unless_state(source, "x", {}),
        lambda: engine.remove_record(source, "x"),
        lambda: engine.get_record(source, "x"),
        lambda: engine.iter_records_for_source(source),
        lambda: engine.register_source(source),
        lambda: engine.pause(source),
        lambda: engine.resume(source),
        lambda: engine.revive(source),
    ]
    for call in calls:
        with pytest.raises(error, match="source_name"):
            call()  # type: ignore[no-untyped-call]


def test_records_and_patches_are_mappings(engine: DownloadEngine) -> None:
    calls: list[Any] = [engine.add_record, engine.update_record, engine.update_record_unless_state]
    for call in calls:
        with pytest.raises(TypeError, match="mapping"):
            call("tidal", "x", "no mapping")


def test_registering_what_makes_no_sense(engine: DownloadEngine) -> None:
    engine.register_source("qobuz")
    with pytest.raises(TypeError):
        engine.register_source("tidal", policy={"delay": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        engine.register_source("tidal", impl="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="qobuz"):
        engine.register_source("tidal", aliases=("qobuz",))
    with pytest.raises(TypeError):
        engine.subscribe("no callback")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        engine.wait("x", timeout="soon")  # type: ignore[arg-type]


def test_an_async_impl_is_refused(engine: DownloadEngine) -> None:
    async def fetch(*_: Any) -> str:
        return "/x"

    with pytest.raises(TypeError, match="coroutine"):
        dispatch(engine, fetch=fetch)
    with pytest.raises(TypeError, match="coroutine"):
        engine.register_source("tidal", impl=fetch)
    assert nothing_happened(engine)


@pytest.mark.expect_errors
def test_a_coroutine_is_no_path(engine: DownloadEngine) -> None:
    async def fetch(*_: Any) -> str:
        return "/x"

    record = engine.wait(dispatch(engine, fetch=lambda *_: fetch()), 10)
    assert (record["state"], record["error_type"]) == ("Errored", "TypeError")


def test_registering_under_a_taken_alias_changes_nothing(engine: DownloadEngine) -> None:
    engine.register_source("deezer_dl", SourcePolicy(delay=7))
    with pytest.raises(ValueError, match="deezer_dl"):
        engine.register_source("deezer", aliases=("fine", "deezer_dl"))
    assert list(engine.stats()) == ["deezer_dl"]
    assert engine._system.aliases == {}


def test_after_close_nothing_is_taken(engine: DownloadEngine) -> None:
    engine.close()
    with pytest.raises(haulier.EngineClosed):
        dispatch(engine)
    with pytest.raises(haulier.EngineClosed):
        dispatch(engine, source="never used before")
    assert engine.get_all_downloads() == []


def test_a_full_queue(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal", SourcePolicy(max_queued=2), gatekeeper)
    ids = [dispatch(engine, fetch=None)]
    gatekeeper.wait_inside(1)
    ids += [dispatch(engine, fetch=None) for _ in range(2)]
    with pytest.raises(haulier.QueueFull):
        dispatch(engine, fetch=None)
    assert [r["id"] for r in engine.get_all_downloads()] == ids
    gatekeeper.open()
    assert [r["state"] for r in engine.as_completed(ids, 10)] == ["Completed, Succeeded"] * 3


@pytest.mark.expect_errors
def test_a_source_that_is_down(engine: DownloadEngine) -> None:
    engine.register_source("tidal", SourcePolicy(restart=haulier.RestartPolicy(intensity=0)), impl)

    def crash(*_: Any) -> str:
        raise haulier.SourceCrashed("broken")

    crashed = dispatch(engine, fetch=crash)
    assert engine.wait(crashed, 10)["error"] == "worker crash: broken"
    while not engine.stats()["tidal"]["down"]:  # the record ends just before the source does
        threading.Event().wait(0.001)
    with pytest.raises(haulier.SourceDown, match="revive"):
        dispatch(engine)
    engine.revive("tidal")
    assert engine.wait(dispatch(engine), 10)["state"] == "Completed, Succeeded"


def test_unknown_messages_are_dead_letters_and_the_actors_live(
    engine: DownloadEngine, caplog: pytest.LogCaptureFixture, gatekeeper: Gatekeeper
) -> None:
    download_id = dispatch(engine, fetch=gatekeeper)
    gatekeeper.wait_inside(1)
    store = engine._system.store
    store.tell("what is this?")
    engine._system.supervisor.tell("and this?")
    assert engine.get_record("tidal", download_id) is not None  # asked after it, so it was handled
    assert store.dead_letters == 1
    gatekeeper.open()
    assert engine.wait(download_id, 10)["state"] == "Completed, Succeeded"
    assert engine.wait(dispatch(engine, source="qobuz"), 10)["state"] == "Completed, Succeeded"  # the supervisor lives
    assert any("and this?" not in r.message and "dead letter" in r.message for r in caplog.records)


def test_every_error_of_haulier_is_a_haulier_error() -> None:
    errors = [each for each in vars(haulier.errors).values() if isinstance(each, type)]
    assert len(errors) > 8
    assert all(issubclass(error, haulier.HaulierError) for error in errors)


def test_pykka_messages_from_outside_reach_nobody(engine: DownloadEngine, caplog: pytest.LogCaptureFixture) -> None:
    store = engine._system.store
    future = pykka.ThreadingFuture[Any]()
    with caplog.at_level(logging.WARNING):
        store.put(Mail("hello", future))
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=10)
    assert engine.wait(dispatch(engine), 10)["state"] == "Completed, Succeeded"


@pytest.mark.parametrize("method", ["pause", "resume", "revive"])
def test_what_is_no_source_is_named(engine: DownloadEngine, method: str) -> None:
    engine.register_source("tidal", aliases=["tides"])
    with pytest.raises(haulier.UnknownSource, match=r"^there is no source 'tidla'; did you mean 'tidal'\?$"):
        getattr(engine, method)("tidla")
    with pytest.raises(haulier.UnknownSource, match=r"^there is no source 'youtube': register it first$"):
        getattr(engine, method)("youtube")
    with pytest.raises(ValueError, match="source_name"):
        getattr(engine, method)("")
    getattr(engine, method)("tides")
    assert list(engine.stats()) == ["tidal"], "and none was made"


@pytest.mark.parametrize("method", ["pause", "resume", "revive"])
def test_a_source_that_was_only_dispatched_to_is_one(engine: DownloadEngine, method: str) -> None:
    engine.wait(dispatch(engine, "a"), 20)
    getattr(engine, method)("a")


def test_a_closed_engine_has_no_sources() -> None:
    engine = DownloadEngine()
    engine.close()
    with pytest.raises(haulier.EngineClosed):
        engine.pause("tidal")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retention": 100}, r"^retention must be a Retention, e.g. Retention\(max_terminal=100\), not 100$"),
        ({"policy": "polite"}, "^policy must be a SourcePolicy, not 'polite'$"),
    ],
)
def test_options_of_another_type_are_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        DownloadEngine(**options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"phase": "done"}, ValueError, r"^phase must be one of 'cancelled', 'failed', 'succeeded', not 'done'$"),
        ({"phase": "running"}, ValueError, "^phase must be one of"),
        ({"before": 7}, TypeError, r"^before must be the cursor of a row, such as rows\[-1\].cursor, not 7$"),
        ({"before": (1.0, 2)}, TypeError, "^before must be"),
        ({"limit": 0}, ValueError, "^limit must be"),
    ],
)
def test_a_history_that_cannot_be_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with DownloadEngine(store=tmp_path / "haulier.db") as engine, pytest.raises(error, match=text):
        engine.history(**options)
