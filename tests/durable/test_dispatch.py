"""When ``dispatch`` has returned, the download is on disk; an interrupted dispatch leaves nothing."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.durable.downloads import dispatch_one_or_three, fetch, has_nothing, on_disk, wanted
from tests.waiting import GUARD_S

import haulier
import haulier.aio
from haulier import DownloadEngine, EngineClosed, SourcePolicy


@pytest.fixture(autouse=True)
def stopped(engine: DownloadEngine) -> None:
    """Nothing starts of itself."""
    engine.register_source("s")
    engine.pause("s")


# ---- it is there -----------------------------------------------------------------------------------------------------


def test_a_dispatch_is_on_disk_when_it_returns(engine: DownloadEngine, durable: Any) -> None:
    ids = []
    for number in range(5):
        ids.append(engine.worker.dispatch("s", number, "A Song", "song.flac", fetch))
        assert on_disk(durable) == ids


def test_many_are_one_commit_and_in_order(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    meddler = meddle(engine)
    ids = engine.worker.dispatch_many("s", wanted(3000), fetch)
    assert on_disk(durable) == ids
    assert [len(batch.added) for batch in meddler.batches] == [3000]
    assert [record["filename"] for record in engine.get_all_downloads()] == [f"{number}.flac" for number in range(3000)]
    assert engine.worker.dispatch_many("s", [], fetch) == []


def test_many_at_once_share_commits(engine: DownloadEngine, durable: Any, meddle: Any, at_once: Any) -> None:
    """Who comes while a commit is under way is in the next one, with all others who came."""
    meddler = meddle(engine)
    meddler.hold()
    first = threading.Thread(target=engine.worker.dispatch, args=("s", 0, "n", "f", fetch))
    first.start()
    assert meddler.arrived.wait(GUARD_S)

    def let_go() -> None:
        until = threading.Event()
        while len(engine._system.store.backlog) < 9:  # the first is in it until it is written
            until.wait(0.001)
        meddler.gate.set()

    at_once(let_go, *(lambda: engine.worker.dispatch("s", 1, "n", "f", fetch) for _ in range(8)))
    first.join()
    assert [len(batch.added) for batch in meddler.batches] == [1, 8]
    assert len(on_disk(durable)) == 9


def test_an_impl_dispatches(engine: DownloadEngine, durable: Any) -> None:
    seen: list[Any] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        seen.append(engine.worker.dispatch("s", 1, "n", "f", fetch))
        seen.append(on_disk(durable, f"SELECT id FROM downloads WHERE id = '{seen[0]}'"))
        return "/x"

    engine.register_source("other", impl=impl)
    assert engine.wait(engine.worker.dispatch("other", 1, "n", "f"), GUARD_S)["phase"] == "succeeded"
    assert seen[1] == [seen[0]]


def test_a_dispatch_from_asyncio_does_not_block_the_loop(engine: DownloadEngine, durable: Any, meddle: Any) -> None:
    meddler = meddle(engine)

    async def main() -> list[str]:
        face = haulier.aio.DownloadEngine(engine)
        meddler.hold()
        one = asyncio.create_task(face.worker.dispatch("s", 1, "n", "f", fetch))
        many = asyncio.create_task(face.worker.dispatch_many("s", wanted(2), fetch))
        await asyncio.to_thread(meddler.arrived.wait, GUARD_S)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not one.done()
        assert not many.done()
        meddler.gate.set()
        ids = [await one, *await many]
        assert await face.history() == []
        await face.close()
        return ids

    ids = asyncio.run(main())
    assert on_disk(durable) == ids


def test_the_disk_says_what_the_record_says(engine: DownloadEngine, durable: Any) -> None:
    extras = {"url": "https://x", "tags": ["a", {"b": None}], "ratio": 0.1, "text": "😀 é \udc80", "flag": True}
    engine.worker.dispatch(
        "s", {"id": 5}, "A Song", "song.flac", fetch, extra_record_fields=extras, username_override="me"
    )
    (before,) = engine.get_all_downloads()
    (after,) = durable.reopen().get_all_downloads()
    assert after == {**before, "reason": "unregistered"}
    assert {key: after[key] for key in extras} == extras


# ---- calls that are broken off ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["announce", "enqueue", "call_on_slots", "ask_store"])
@pytest.mark.parametrize("many", [False, True])
def test_a_dispatch_that_is_broken_off_leaves_nothing(
    engine: DownloadEngine, durable: Any, monkeypatch: pytest.MonkeyPatch, where: str, many: bool
) -> None:
    """A signal handler may raise anywhere in it."""
    mailbox = engine._system.mailboxes["s"]
    place: Any = mailbox.source.queue if where in ("announce", "enqueue") else mailbox
    before = getattr(place, where)

    def interrupt(*args: Any) -> None:
        before(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        dispatch_one_or_three(engine, many)
    monkeypatch.undo()
    durable.settle()
    assert has_nothing(engine, durable)
    engine.resume("s")
    assert engine.wait(engine.worker.dispatch("s", 5, "n", "f", fetch), GUARD_S)["file_path"] == "/5"


# ---- cancelled while it is written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_cancel_that_races_a_dispatch(engine: DownloadEngine, durable: Any, at_once: Any, seed: int) -> None:
    """Who sees it may cancel it, before its dispatch has returned: then it never starts."""
    engine.resume("s")
    stop = threading.Event()
    cancelled: list[str] = []

    def cancel() -> None:
        while not stop.is_set():
            for record in engine.get_all_downloads():
                if record["phase"] == "queued" and engine.cancel_download(record["id"]):
                    cancelled.append(record["id"])

    def call() -> list[str]:
        try:
            return [engine.worker.dispatch("s", n, "n", "f", fetch) for n in range(20)]
        finally:
            stop.set()

    ids, _ = at_once(call, cancel)
    phases = {each: engine.wait(each, GUARD_S)["phase"] for each in ids}
    assert {each for each, phase in phases.items() if phase == "cancelled"} == set(cancelled)
    durable.settle()
    rows = on_disk(durable, "SELECT id, phase FROM downloads")
    assert dict(rows) == phases


def test_what_is_over_is_not_known_by_what_it_was_asked_for(engine: DownloadEngine, durable: Any) -> None:
    """There may be a password in it."""
    engine.register_source("cancelled")
    engine.pause("cancelled")
    url = "https://joe:hunter2@example.org/a"
    ids = [engine.worker.dispatch(each, url, "n", "f", fetch) for each in ("s", "cancelled")]
    engine.resume("s")
    assert engine.wait(ids[0], GUARD_S)["phase"] == "succeeded"
    tickets = "SELECT ticket FROM downloads ORDER BY seq"
    durable.settle()
    assert [bool(ticket) for ticket in on_disk(durable, tickets)] == [False, True]
    assert engine.cancel_download(ids[1])
    assert on_disk(durable, tickets) == [None, None]


# ---- what is not to survive ------------------------------------------------------------------------------------------


def test_a_source_may_live_in_memory_alone(engine: DownloadEngine, durable: Any) -> None:
    engine.register_source("s", SourcePolicy(durable=False))
    ids = [engine.worker.dispatch("s", object(), "n", "f", lambda *_: "/x", extra_record_fields={"cover": b"x"})]
    ids += engine.worker.dispatch_many("s", wanted(2), lambda *_: "/x")
    engine.add_record("s", "mine", {"state": "InProgress", "cover": b"x"})
    engine.update_record("s", "mine", {"path": Path("/x")})
    assert engine.update_record_unless_state("s", ids[0], {"path": Path("/x")})
    assert (engine.get_record("s", "mine") or {})["path"] == Path("/x")
    durable.settle()
    assert on_disk(durable) == []
    engine.resume("s")
    assert [engine.wait(each, GUARD_S)["file_path"] for each in ids] == ["/x"] * 3
    assert engine.history("s") == []
    waiting = engine.worker.dispatch("s", 1, "n", "f", lambda *_: "/x")
    again = durable.reopen()
    assert again.get_download_status(waiting) is None


def test_it_fails_when_the_engine_closes(engine: DownloadEngine) -> None:
    engine.register_source("s", SourcePolicy(durable=False))
    download_id = engine.worker.dispatch("s", 1, "n", "f", lambda *_: "/x")
    engine.close()
    assert engine.wait(download_id, 0)["error"] == "engine closed"


def test_it_does_not_change_while_something_is_on_its_way(engine: DownloadEngine) -> None:
    engine.worker.dispatch("s", 1, "n", "f", fetch)
    with pytest.raises(ValueError, match="durable cannot change"):
        engine.register_source("s", SourcePolicy(durable=False))
    assert engine._system.mailboxes["s"].is_durable


def test_what_was_kept_is_history_when_its_source_is_no_longer(engine: DownloadEngine, durable: Any) -> None:
    engine.resume("s")
    download_id = engine.worker.dispatch("s", 1, "n", "f", fetch)
    engine.wait(download_id, GUARD_S)
    engine.register_source("s", SourcePolicy(durable=False))
    assert engine.get_download_status(download_id) is not None
    engine.clear_all_completed_downloads()
    again = durable.open()
    assert again.get_all_downloads() == []
    assert [row.id for row in again.history()] == [download_id]


# ---- the store ends --------------------------------------------------------------------------------------------------


def test_a_closed_engine_takes_nothing(engine: DownloadEngine, durable: Any) -> None:
    engine.close()
    for call in (
        lambda: engine.worker.dispatch("s", 1, "n", "f", fetch),
        lambda: engine.worker.dispatch_many("s", wanted(2), fetch),
        engine.history,
        lambda: engine.attempts("s", "x"),
    ):
        with pytest.raises(EngineClosed):
            call()
    assert on_disk(durable) == []
