"""A full queue that drops its oldest download, in a real engine: in memory and on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haulier import DownloadEngine, SourcePolicy, StoreUnavailable, Wanted
from haulier.records import State


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_dispatch_to_a_full_queue_drops_the_one_that_waited_longest(
    make_engine: Callable[..., DownloadEngine], tmp_path: Path, is_durable: bool
) -> None:
    engine = make_engine(**({"store": tmp_path / "haulier.db"} if is_durable else {}))
    called: list[Any] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        called.append(target_id)
        return "/x"

    engine.register_source("tidal", SourcePolicy(max_queued=2, on_full="drop_oldest"), impl)
    engine.pause("tidal")
    first, second, third = (engine.worker.dispatch("tidal", n, "n", "f") for n in range(3))
    dropped = engine.get_record("tidal", first)
    assert dropped is not None
    assert (dropped["state"], dropped["error_type"]) == (State.ERRORED, "QueueFull")
    fourth, fifth = engine.worker.dispatch_many("tidal", [Wanted(n, "n", "f") for n in (3, 4)])
    assert [engine.wait(each, 10)["error_type"] for each in (second, third)] == ["QueueFull", "QueueFull"]
    engine.resume("tidal")
    assert [engine.wait(each, 10)["state"] for each in (fourth, fifth)] == [State.SUCCEEDED] * 2
    assert called == [3, 4]


DROPPING = SourcePolicy(max_queued=3, on_full="drop_oldest")


def lands(download_id: str, target_id: Any, display_name: str) -> str:
    return "/x"


@pytest.mark.expect_errors("the store cannot write")
@pytest.mark.parametrize("count", [1, 3])
def test_a_dispatch_that_cannot_be_written_drops_nothing(
    make_engine: Callable[..., DownloadEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    engine = make_engine(store=tmp_path / "haulier.db")
    engine.register_source("tidal", DROPPING, lands)
    engine.pause("tidal")
    waiting = [engine.worker.dispatch("tidal", n, "n", "f") for n in range(3)]

    def fails(_: Any) -> None:
        raise StoreUnavailable("no space left")

    with monkeypatch.context() as disk:
        disk.setattr(engine._system.store.storage, "write", fails)  # type: ignore[attr-defined]
        with pytest.raises(StoreUnavailable):
            engine.worker.dispatch_many("tidal", [Wanted(n, "n", "f") for n in range(count)])
    assert [record["state"] for record in engine.iter_records_for_source("tidal")] == [State.INITIALIZING] * 3
    engine.resume("tidal")
    assert [engine.wait(each, 10)["state"] for each in waiting] == [State.SUCCEEDED] * 3


@pytest.mark.parametrize("is_durable", [False, True])
def test_no_dispatch_is_refused_however_many_come_at_once(
    make_engine: Callable[..., DownloadEngine], tmp_path: Path, is_durable: bool
) -> None:
    engine = make_engine(**({"store": tmp_path / "haulier.db"} if is_durable else {}))
    engine.register_source("tidal", DROPPING, lands)
    engine.pause("tidal")
    together = threading.Barrier(8)

    def dispatch(_: int) -> list[str]:
        together.wait(10)
        return [engine.worker.dispatch("tidal", n, "n", "f") for n in range(25)]

    with ThreadPoolExecutor(8) as pool:
        ids = [download_id for some in pool.map(dispatch, range(8)) for download_id in some]
    assert engine.stats()["tidal"]["queued"] == 3
    engine.resume("tidal")
    ends = [engine.wait(download_id, 10) for download_id in ids]
    assert len(ends) == 200
    assert sorted(record["error_type"] or "" for record in ends) == ["", "", "", *["QueueFull"] * 197]
