"""A record owns what is in it, in memory as on disk: ``behaviour.md#calls``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import GUARD_S, Gatekeeper

import haulier
from haulier import DownloadEngine


@pytest.fixture(params=["memory", "disk"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DownloadEngine]:
    """An engine with its records in memory, then one with a durable store. Its source 's' is paused."""
    with DownloadEngine(store=tmp_path / "haulier.db" if request.param == "disk" else None) as engine:
        engine.register_source("s", impl=lambda download_id, target_id, display_name: "file.bin")
        engine.pause("s")
        yield engine


def tags_of(engine: DownloadEngine, download_id: str) -> list[Any]:
    record = engine.get_record("s", download_id)
    assert record is not None
    return list(record["tags"])


def change_what_is_read(engine: DownloadEngine, download_id: str) -> None:
    record = engine.get_record("s", download_id)
    assert record is not None
    for each in (record, *engine.iter_records_for_source("s"), *engine.get_all_downloads()):
        each["tags"].append("by a reader")


def test_what_was_dispatched(any_engine: DownloadEngine) -> None:
    tags = ["mine"]
    download_id = any_engine.worker.dispatch("s", 1, "n", "f", extra_record_fields={"tags": tags})
    tags.append("after the dispatch")
    change_what_is_read(any_engine, download_id)
    assert tags_of(any_engine, download_id) == ["mine"]
    any_engine.resume("s")
    any_engine.wait(download_id, GUARD_S)["tags"].append("by one who waited")
    change_what_is_read(any_engine, download_id)
    assert tags_of(any_engine, download_id) == ["mine"]


def test_what_was_added_and_patched(any_engine: DownloadEngine) -> None:
    tags = ["mine"]
    any_engine.add_record("s", "x", {"tags": tags})
    tags.append("after add_record")
    change_what_is_read(any_engine, "x")
    assert tags_of(any_engine, "x") == ["mine"]
    tags = ["patched"]
    any_engine.update_record("s", "x", {"tags": tags})
    tags.append("after update_record")
    change_what_is_read(any_engine, "x")
    assert tags_of(any_engine, "x") == ["patched"]
    tags = ["unless"]
    assert any_engine.update_record_unless_state("s", "x", {"tags": tags}, ()) is True
    tags.append("after update_record_unless_state")
    change_what_is_read(any_engine, "x")
    assert tags_of(any_engine, "x") == ["unless"]


def test_what_an_impl_patches_while_it_runs(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    download_id = dispatch(engine, gatekeeper, source="s")
    gatekeeper.wait_inside()
    tags = [{"deep": ["mine"]}]
    engine.update_record("s", download_id, {"tags": tags})
    tags[0]["deep"].append("later")
    change_what_is_read(engine, download_id)
    assert tags_of(engine, download_id) == [{"deep": ["mine"]}]
    gatekeeper.open()
    assert engine.wait(download_id, GUARD_S)["tags"] == [{"deep": ["mine"]}]


def test_what_comes_back_from_disk(tmp_path: Path) -> None:
    store = tmp_path / "haulier.db"
    with DownloadEngine(store=store) as engine:
        engine.register_source("s", impl=lambda download_id, target_id, display_name: "file.bin")
        done = engine.worker.dispatch("s", 1, "n", "f", extra_record_fields={"tags": ["done"]})
        engine.wait(done, GUARD_S)
        engine.pause("s")
        queued = engine.worker.dispatch("s", 2, "n", "f", extra_record_fields={"tags": ["queued"]})
        engine.add_record("s", "x", {"tags": ["x"]})
    with haulier.DownloadEngine(store=store) as engine:
        for download_id, tags in ((done, ["done"]), (queued, ["queued"]), ("x", ["x"])):
            change_what_is_read(engine, download_id)
            assert tags_of(engine, download_id) == tags
