"""Cancel on real threads: ``behaviour.md#cancel``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.dispatching import dispatch
from tests.waiting import Gatekeeper

import haulier
from haulier import Discarded, DownloadEngine, SourcePolicy, State
from haulier._engine.shells.mailbox import Mailbox


def test_a_queued_download_never_starts(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    first, second = dispatch(engine, gatekeeper, 1), dispatch(engine, gatekeeper, 2)
    gatekeeper.wait_inside(1)
    assert engine.cancel_download(second) is True
    assert engine.get_download_status(second)["state"] == "Cancelled"  # type: ignore[index]
    assert engine.cancel_download(second) is False
    gatekeeper.open()
    marker = dispatch(engine, gatekeeper, 3)
    engine.wait(marker, 10)
    assert gatekeeper.order == [1, 3]
    assert engine.wait(first)["state"] == State.SUCCEEDED


def test_whatever_the_race_a_cancel_that_came_in_time_means_no_call(engine: DownloadEngine, at_once: Any) -> None:
    """Cancel races start: True on a download that was not running means that its impl is never called."""
    called = set()

    def fetch(download_id: str, *_: Any) -> str:
        called.add(download_id)
        return "/x"

    ids = [dispatch(engine, fetch, n) for n in range(3000)]
    cancelled = at_once(
        *[lambda part=ids[k::4]: [(i, engine.cancel_download(i)) for i in reversed(part)] for k in range(4)]
    )
    records = {r["id"]: r for r in engine.as_completed(ids, 20)}
    for download_id, was_cancelled in (pair for part in cancelled for pair in part):
        record = records[download_id]
        assert (record["state"] == State.CANCELLED) is was_cancelled
        if was_cancelled and record["started_at"] is None:
            assert download_id not in called
        if not was_cancelled:
            assert download_id in called


def test_running(engine: DownloadEngine) -> None:
    seen, started = [], threading.Event()

    def fetch(download_id: str, *_: Any) -> str:
        transfer = haulier.current_transfer()
        started.set()
        while not transfer.cancelled:
            threading.Event().wait(0.001)
        seen.append(engine.get_record("tidal", download_id)["state"])  # type: ignore[index]
        engine.update_record("tidal", download_id, {"state": "InProgress, Downloading", "progress": 77.0})
        return "/late"

    with engine.subscribe(lambda event: events.append(event)) as subscription:
        events: list[haulier.Event] = []
        download_id = dispatch(engine, fetch)
        assert started.wait(10)
        assert engine.cancel_download(download_id, source_hint="tidal") is True
        assert engine.get_download_status(download_id)["state"] == "Cancelled"  # type: ignore[index]
        engine.wait(dispatch(engine, lambda *_: "/x"), 10)  # the slot has reported by then
        subscription.close()
    assert seen == ["Cancelled"]
    record = engine.wait(download_id)
    # The state stays; the rest of the late patch is taken; so is nothing of the late result.
    assert (record["state"], record["progress"], record["file_path"]) == ("Cancelled", 77.0, None)
    assert [e.path for e in events if isinstance(e, Discarded)] == ["/late"]


def test_a_file_that_lands_is_deleted_only_where_the_policy_says_so(engine: DownloadEngine, tmp_path: Path) -> None:
    for source, discard in (("keeps", False), ("deletes", True)):
        file, started = tmp_path / source, threading.Event()

        def fetch(*_: Any, file: Path = file, started: threading.Event = started) -> str:
            started.set()
            while not haulier.current_transfer().cancelled:
                threading.Event().wait(0.001)
            file.write_text("late")
            return str(file)

        engine.register_source(source, SourcePolicy(discard_cancelled=discard))
        download_id = dispatch(engine, fetch, source=source)
        assert started.wait(10)
        assert engine.cancel_download(download_id)
        engine.wait(dispatch(engine, lambda *_: "/x", source=source), 10)
        assert file.exists() is not discard


def test_a_patch_with_the_state_cancelled_is_a_cancel_in_full(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    running, queued, third = (dispatch(engine, gatekeeper, n) for n in range(3))
    gatekeeper.wait_inside(1)
    engine.update_record("tidal", queued, {"state": "Cancelled", "note": "mine"})
    engine.update_record("tidal", running, {"state": "Cancelled"})
    assert engine.update_record_unless_state("tidal", third, {"state": "Cancelled"}, ("Cancelled",)) is True
    assert [r["state"] for r in engine.iter_records_for_source("tidal")] == ["Cancelled"] * 3
    assert engine.get_record("tidal", queued)["note"] == "mine"  # type: ignore[index]
    gatekeeper.open()
    engine.wait(dispatch(engine, gatekeeper, "marker"), 10)
    assert gatekeeper.order == [0, "marker"]
    assert engine.get_record("tidal", running)["state"] == "Cancelled"  # type: ignore[index]


def test_terminal_and_unknown_ones(engine: DownloadEngine) -> None:
    done = dispatch(engine, lambda *_: "/x")
    engine.wait(done, 10)
    assert engine.cancel_download(done) is False
    assert engine.get_record("tidal", done)["state"] == State.SUCCEEDED  # type: ignore[index]
    assert engine.cancel_download("nobody") is False
    assert engine.cancel_download(done, remove=True) is False
    assert engine.get_record("tidal", done) is None


def test_remove(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    running, queued, removed = (dispatch(engine, gatekeeper, n) for n in range(3))
    gatekeeper.wait_inside(1)
    assert engine.cancel_download(queued, remove=True) is True
    assert engine.cancel_download(running, "tidal", True) is True
    assert engine.remove_record("tidal", removed)["state"] == "Cancelled"  # type: ignore[index]
    assert engine.get_all_downloads() == []
    gatekeeper.open()
    engine.wait(dispatch(engine, gatekeeper, "marker"), 10)
    assert gatekeeper.order == [0, "marker"]


def test_foreign_records_can_be_cancelled(engine: DownloadEngine) -> None:
    engine.add_record("tidal", "theirs", {"state": "InProgress, Downloading"})
    assert engine.cancel_download("theirs") is True
    engine.update_record("tidal", "theirs", {"state": "InProgress, Downloading", "progress": 5.0})
    assert engine.get_record("tidal", "theirs") == {"state": "Cancelled", "progress": 5.0}
    assert engine.cancel_download("theirs") is False


def test_cancelling_costs_no_more_in_a_long_queue(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    """Counted, not timed: the queue is not walked, and what was withdrawn does not pile up in it."""
    ids = [dispatch(engine, gatekeeper, n) for n in range(10_000)]
    source = engine._system.mailboxes["tidal"].source
    assert engine.cancel_download(ids[5000])
    assert len(source.queue.ids) == 9_999  # left where it was: found by its id alone
    for download_id in ids[1:9_900]:
        engine.cancel_download(download_id)
    assert len(source.queue.ids) <= 2 * len(source.queue.pending) + 64
    gatekeeper.open()


def test_a_cancel_steps_in_only_where_the_download_is(
    engine: DownloadEngine, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each of the thousand sources that there may be."""
    for number in range(50):
        engine.register_source(f"source-{number}")
        engine.pause(f"source-{number}")
    waiting = engine.worker.dispatch("source-7", None, "n", "f", gatekeeper)
    asked: list[str] = []
    cancel = Mailbox.cancel

    def noted(mailbox: Mailbox, download_id: str) -> bool:
        asked.append(mailbox.source.name)
        return cancel(mailbox, download_id)

    monkeypatch.setattr(Mailbox, "cancel", noted)
    assert not engine.cancel_download("unknown")
    assert asked == []
    assert engine.cancel_download(waiting, source_hint="source-3")
    assert not engine.cancel_download(waiting)
    assert asked == ["source-7", "source-7"], "the second time its record says where it was"
