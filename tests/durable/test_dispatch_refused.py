"""A dispatch that raises leaves nothing: no record, nothing in the queue, no row on disk."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.durable.downloads import dispatch_one_or_three, fetch, has_nothing, on_disk, wanted
from tests.waiting import GUARD_S

from haulier import DownloadEngine, EngineClosed, QueueFull, SourceDown, SourcePolicy, Wanted


class Client:
    @staticmethod
    def static(download_id: str, target_id: Any, display_name: str) -> str:
        return "/static"

    @classmethod
    def of_class(cls, download_id: str, target_id: Any, display_name: str) -> str:
        return f"/{cls.__name__}"

    def bound(self, download_id: str, target_id: Any, display_name: str) -> str:
        return "/bound"


@pytest.fixture(autouse=True)
def stopped(engine: DownloadEngine) -> None:
    """Nothing starts of itself."""
    engine.register_source("s")
    engine.pause("s")


def nested(download_id: str, target_id: Any, display_name: str) -> str:
    return "/x"


nested.__qualname__ = "elsewhere"


@pytest.mark.parametrize("impl", [lambda *_: "/x", Client().bound, nested, Client()], ids=str)
def test_an_impl_that_would_not_be_found_again_is_refused(engine: DownloadEngine, durable: Any, impl: Any) -> None:
    words = "impl_callable" if callable(impl) else "must be callable"
    with pytest.raises(TypeError, match=words):
        engine.worker.dispatch("s", 1, "n", "f", impl)
    with pytest.raises(TypeError, match=words):
        engine.worker.dispatch_many("s", wanted(2), impl)
    assert has_nothing(engine, durable)


@pytest.mark.parametrize("impl", [fetch, Client.static, Client.of_class], ids=str)
def test_an_impl_that_can_be_imported_is_found_again(engine: DownloadEngine, durable: Any, impl: Any) -> None:
    download_id = engine.worker.dispatch("s", 1, "n", "f", impl)
    again = durable.reopen()
    again.register_source("s")
    assert again.wait(download_id, GUARD_S)["file_path"] == impl("", 1, "")


def test_the_sources_own_impl_may_be_anything(engine: DownloadEngine, durable: Any) -> None:
    client = Client()
    engine.register_source("s", impl=client.bound)
    ids = [engine.worker.dispatch("s", 1, "n", "f", impl) for impl in (None, client.bound)]
    again = durable.reopen()
    again.register_source("s", impl=lambda *_: "/later")
    assert [again.wait(each, GUARD_S)["file_path"] for each in ids] == ["/later", "/later"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"extra_record_fields": {"fine": 1, "cover": b"x"}}, r"extra_record_fields\['cover'\]"),
        ({"extra_record_fields": {"a": {"b": [1, (2,)]}}}, r"extra_record_fields\['a'\]\['b'\]\[1\]"),
        ({"extra_record_fields": {"speed_limit": math.inf}}, "speed_limit"),
        ({"extra_record_fields": {"x": math.nan}}, "x"),
        ({"target_id": object()}, "target_id"),
        ({"display_name": {1}}, "display_name"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(
    engine: DownloadEngine, durable: Any, arguments: dict[str, Any], key: str
) -> None:
    call = {"target_id": 1, "display_name": "n", "original_filename": "f", "impl_callable": fetch, **arguments}
    with pytest.raises(TypeError, match=f"^{key}: cannot be stored|^{key}|{key}.*: cannot be stored"):
        engine.worker.dispatch("s", **call)
    assert has_nothing(engine, durable)


def test_many_are_all_or_none(engine: DownloadEngine, durable: Any) -> None:
    bad = [*wanted(2), Wanted(2, "n", "f", {"cover": b"x"}), *wanted(2)]
    with pytest.raises(TypeError, match="cover"):
        engine.worker.dispatch_many("s", bad, fetch)
    with pytest.raises(TypeError, match=r"haulier\.Wanted"):
        engine.worker.dispatch_many("s", [*wanted(2), (1, "n", "f")], fetch)  # type: ignore[list-item]
    assert has_nothing(engine, durable)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_full_queue_refuses_all_of_them(engine: DownloadEngine, durable: Any, is_kept: bool) -> None:
    engine.register_source("s", SourcePolicy(max_queued=3, durable=is_kept))
    with pytest.raises(QueueFull):
        engine.worker.dispatch_many("s", wanted(4), fetch)
    assert has_nothing(engine, durable)
    ids = engine.worker.dispatch_many("s", wanted(2), fetch)
    with pytest.raises(QueueFull):
        engine.worker.dispatch_many("s", wanted(2), fetch)
    ids.append(engine.worker.dispatch("s", 1, "n", "f", fetch))
    with pytest.raises(QueueFull):
        engine.worker.dispatch("s", 1, "n", "f", fetch)
    assert [record["id"] for record in engine.get_all_downloads()] == ids
    assert on_disk(durable) == (ids if is_kept else [])


def test_a_limit_holds_also_for_those_that_are_being_written(engine: DownloadEngine, meddle: Any, at_once: Any) -> None:
    engine.register_source("s", SourcePolicy(max_queued=3))
    meddler = meddle(engine)

    def call() -> int:
        try:
            return len(dispatch_one_or_three(engine, many=False))
        except QueueFull:
            return 0

    meddler.hold()
    calls: list[Callable[[], int]] = [call] * 8

    def let_go() -> int:
        assert meddler.arrived.wait(GUARD_S)
        meddler.gate.set()
        return 0

    assert sum(at_once(let_go, *calls)) == 3
    assert engine.stats()["s"]["queued"] == 3


@pytest.mark.parametrize("many", [False, True])
def test_a_source_that_goes_down_meanwhile_takes_none(
    engine: DownloadEngine, durable: Any, meddle: Any, at_once: Any, many: bool
) -> None:
    meddler = meddle(engine)
    meddler.hold()

    def go_down() -> None:
        assert meddler.arrived.wait(GUARD_S)
        mailbox = engine._system.mailboxes["s"]
        mailbox.change(lambda source: source.go_down("it is broken", 0.0))
        meddler.gate.set()

    def call() -> None:
        with pytest.raises(SourceDown):
            dispatch_one_or_three(engine, many)

    at_once(go_down, call)
    assert has_nothing(engine, durable)
    engine.revive("s")
    assert len(engine.worker.dispatch_many("s", wanted(2), fetch)) == 2


def test_a_dispatch_while_the_engine_closes_is_kept_or_refused(
    engine: DownloadEngine, durable: Any, at_once: Any
) -> None:
    accepted: list[str] = []

    def call() -> None:
        while True:
            try:
                accepted.append(engine.worker.dispatch("s", 1, "n", "f", fetch))
            except EngineClosed:
                return

    def close() -> None:
        until = threading.Event()
        while len(accepted) < 20:
            until.wait(0.001)
        engine.close()

    at_once(close, call, call, call)
    assert sorted(on_disk(durable)) == sorted(accepted)
    again = durable.open()
    again.register_source("s", impl=fetch)
    assert {again.wait(each, GUARD_S)["phase"] for each in accepted} == {"succeeded"}
