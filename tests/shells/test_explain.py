"""explain(), stats() and a record's reason, while threads are at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper, Listener

from haulier import DownloadEngine, SourcePolicy, Throttled


def throttled_once(seconds: float, then: Callable[..., str]) -> Callable[..., str]:
    first = iter([True])

    def fetch(*args: Any) -> str:
        if next(first, False):
            raise Throttled(seconds)
        return then(*args)

    return fetch


def test_on_probation_all_wait_for_the_one_that_is_tried(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal", SourcePolicy(concurrency=2))
    probe = dispatch(engine, throttled_once(0.0, gatekeeper))
    gatekeeper.wait_inside(1)
    waiting = [dispatch(engine, gatekeeper) for _ in range(2)]
    for position, each in enumerate(waiting):
        told = {"phase": "queued", "reason": "slot", "position": position, "earliest_start": None}
        assert engine.explain(each) == told
        assert engine.get_record("tidal", each)["reason"] == "slot"  # type: ignore[index]
    assert {record["reason"] for record in engine.get_all_downloads() if record["id"] != probe} == {"slot"}
    status = engine.stats()["tidal"]
    assert (status["queued"], status["in_flight"], status["concurrency"]) == (2, 1, 2)
    assert (status["suspended_until"], status["next_start"]) == (None, None)
    gatekeeper.release()
    gatekeeper.wait_inside(2)
    assert [engine.explain(each)["phase"] for each in (probe, *waiting)] == ["succeeded", "running", "running"]


def test_while_it_is_suspended_the_next_start_is_told(engine: DownloadEngine, listener: Listener) -> None:
    engine.register_source("tidal", SourcePolicy(concurrency=2))
    download_id = dispatch(engine, throttled_once(600.0, lambda *_: "/x"))
    listener.wait_for(lambda _: listener.phases_of(download_id) == ["queued", "running", "queued"])
    behind = dispatch(engine, lambda *_: "/x")
    at: Any = pytest.approx(engine.get_record("tidal", download_id)["next_attempt_at"], abs=5.0)  # type: ignore[index]
    told = {"phase": "queued", "reason": "suspension", "position": 0, "earliest_start": at}
    assert engine.explain(download_id) == told
    assert engine.explain(behind) == {**told, "position": 1, "earliest_start": None}
    status = engine.stats()["tidal"]
    assert (status["suspended_until"], status["next_start"]) == (at, at)


def test_what_is_told_of_a_source_is_of_one_moment(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    """Nobody can be in the middle of a step there."""
    running, waiting = dispatch(engine, gatekeeper), dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    mailbox = engine._system.mailboxes["tidal"]
    looks: list[bool] = []

    class InFlight(dict[str, Any]):
        def __len__(self) -> int:
            looks.append(mailbox.lock._is_owned())  # type: ignore[attr-defined]
            return super().__len__()

    mailbox.source.attempts.in_flight = InFlight(mailbox.source.attempts.in_flight)
    assert engine.explain(waiting)["reason"] == "slot"
    assert engine.stats()["tidal"]["in_flight"] == 1
    assert looks
    assert all(looks)
    gatekeeper.open()
    assert engine.wait(running, 10)["phase"] == "succeeded"


def test_explain_while_everything_changes(engine: DownloadEngine, at_once: Callable[..., list[Any]]) -> None:
    """What its source and its record say of a download go together."""
    engine.register_source("tidal", SourcePolicy(concurrency=2))
    ids: list[str] = []
    told: list[Any] = []

    def dispatch_some() -> None:
        for n in range(500):
            ids.append(dispatch(engine, lambda *_: "/x"))
            if n % 3 == 0:
                engine.cancel_download(ids[-1])

    def explain() -> None:
        while len(ids) < 1500:
            for each in ids[-20:]:
                told.append(engine.explain(each))
                told.append(engine.stats()["tidal"])

    at_once(dispatch_some, dispatch_some, dispatch_some, explain)
    engine.close(drain=True)
    explained = [each for each in told if "phase" in each]
    assert explained
    for each in explained:
        if each["phase"] == "queued":
            assert each["reason"] in (None, "slot")
            assert (each["earliest_start"] is None) == (each["reason"] == "slot" or each["position"] is None)
        else:
            assert each == {"phase": each["phase"], "reason": None, "position": None, "earliest_start": None}
    for each in told:
        if "phase" not in each:
            assert each["in_flight"] <= 2
            assert (each["next_start"] is None) == (each["in_flight"] == 2)
