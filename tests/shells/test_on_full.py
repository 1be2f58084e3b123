"""A full queue that drops its oldest download, in a real engine: in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haulier import DownloadEngine, SourcePolicy, Wanted
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
