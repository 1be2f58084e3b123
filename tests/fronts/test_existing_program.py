"""A program written for the hand-rolled engine runs unchanged: ``behaviour.md#calls``.

A client per source, whose ``_download_sync`` patches its record every 2 KiB and looks whether it was cancelled; async
methods that dispatch from a running loop; a page that polls all the time; transfers of its own beside the engine's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from tests.waiting import GUARD_S

from haulier import DownloadEngine, UnknownDownload

CHUNK, SIZE = 2048, 16 * 2048
QUEUED, RUNNING, DONE = "Initializing", "InProgress, Downloading", "Completed, Succeeded"
FAILED, CANCELLED = "Errored", "Cancelled"
OVER = {"succeeded": DONE, "failed": FAILED, "cancelled": CANCELLED}
WANTED = {"fine": DONE, "second try": DONE, "nothing": FAILED, "aborted": FAILED, "raises": FAILED}
KEYS = {
    "id", "filename", "username", "state", "progress", "size", "transferred", "speed", "time_remaining", "file_path",
}  # fmt: skip
AtOnce = Callable[..., list[Any]]


class Client:
    """One source's client. A target id is ``(what is to come of it, number)``."""

    def __init__(self, engine: DownloadEngine, source: str, limit: int = 1, **options: Any) -> None:
        self.engine, self.source, self.options = engine, source, options
        self.limit = limit
        self.inside = self.peak = 0
        self.starts: Counter[str] = Counter()
        self.order: list[str] = []
        self.spans: list[tuple[float, float]] = []
        self.threads: dict[str, str] = {}
        self.changed = threading.Condition()
        self.go_on = threading.Event()
        """Set for impls that wait."""
        engine.worker.set_concurrency(source, limit)

    async def download(self, username: str, filename: str) -> str:
        """``filename`` is what the search gave: target and title in one."""
        outcome, number = filename.split("||")
        options = dict(self.options)
        if "thread_name" in options:
            options["thread_name"] = options["thread_name"].format(number)
        return self.engine.worker.dispatch(
            source_name=self.source,
            target_id=(outcome, number),
            display_name=f"Track {number}",
            original_filename=filename,
            impl_callable=self._download_sync,
            extra_record_fields={"track_id": number, "display_name": f"Track {number}"},
            **options,
        )

    async def get_all_downloads(self) -> list[dict[str, Any]]:
        return list(self.engine.iter_records_for_source(self.source))

    async def cancel(self, download_id: str, remove: bool = False) -> bool:
        return self.engine.cancel_download(download_id, source_hint=self.source, remove=remove)

    def _download_sync(self, download_id: str, target_id: tuple[str, str], display_name: str) -> str | None:
        began = time.monotonic()
        with self.changed:
            self.starts[download_id] += 1
            self.order.append(download_id)
            self.threads[download_id] = threading.current_thread().name
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            self.changed.notify_all()
        try:
            return self._fetch(download_id, target_id[0], display_name)
        finally:
            with self.changed:
                self.inside -= 1
                self.spans.append((began, time.monotonic()))
                self.changed.notify_all()

    def _fetch(self, download_id: str, outcome: str, display_name: str) -> str | None:
        if outcome == "crowd":  # until as many are here as may be
            with self.changed:
                assert self.changed.wait_for(lambda: self.peak >= self.limit, GUARD_S)
        if outcome == "slow":
            assert self.go_on.wait(GUARD_S)
        for transferred in range(CHUNK, SIZE + 1, CHUNK):
            record = self.engine.get_record(self.source, download_id)
            if (record is None or record["state"] == CANCELLED) and outcome != "stubborn":
                return None
            self._progress(download_id, transferred)
            if transferred == SIZE // 2 and outcome == "second try":
                self.engine.update_record(self.source, download_id, {"state": FAILED, "error": "reset by peer"})
        if outcome == "aborted":
            self.engine.update_record(self.source, download_id, {"state": "Aborted"})
        if outcome == "raises":
            raise ConnectionError("no route")
        return None if outcome in ("nothing", "aborted") else f"/music/{display_name}.flac"

    def _progress(self, download_id: str, transferred: int) -> None:
        progress = {
            "state": RUNNING,
            "progress": round(transferred / SIZE * 100, 1),
            "transferred": transferred,
            "size": SIZE,
            "speed": 1_000_000,
            "time_remaining": (SIZE - transferred) // 1_000_000,
        }
        self.engine.update_record(self.source, download_id, progress)

    def wait_inside(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.inside > 0, GUARD_S)


@contextmanager
def page(engine: DownloadEngine, clients: list[Client]) -> Iterator[Counter[str]]:
    """The page that polls, on a thread of its own; what is over must stay as it is."""
    over: dict[str, tuple[Any, ...]] = {}
    seen: Counter[str] = Counter()
    wrong: list[object] = []
    stop = threading.Event()

    def look(record: dict[str, Any]) -> None:
        seen[record["state"]] += 1
        if record["phase"] in OVER:
            now = record["phase"], record["state"], record["file_path"]
            if over.setdefault(record["id"], now) != now or record["state"] != OVER[record["phase"]]:
                wrong.append((over[record["id"]], record))

    def poll() -> None:
        try:
            while not stop.is_set():
                for client in clients:
                    for record in engine.iter_records_for_source(client.source):
                        look(record)
                for record in engine.get_all_downloads(exclude=("soulseek",)):
                    look(record)
        except Exception as error:
            wrong.append(error)

    polling = threading.Thread(target=poll, name="page")
    polling.start()
    try:
        yield seen
    finally:
        stop.set()
        polling.join()
    assert wrong == []


def names(count: int, *outcomes: str) -> list[str]:
    return [f"{outcomes[n % len(outcomes)]}||{n}" for n in range(count)]


@pytest.mark.expect_errors(r"^Failed: ")
def test_a_busy_day(engine: DownloadEngine) -> None:
    deezer = Client(engine, "deezer", username_override="deezer_dl", thread_name="deezer-dl-{}")
    clients = [Client(engine, "tidal"), Client(engine, "youtube"), Client(engine, "soundcloud", limit=3), deezer]
    engine.worker.set_delay("youtube", 0.002)

    async def order(client: Client) -> dict[str, str]:
        wanted = [*names(3, "crowd"), *names(50, *WANTED)]
        return {await client.download(client.source, name): name for name in wanted}

    with page(engine, clients) as seen, ThreadPoolExecutor(4) as pool:
        ordered = list(pool.map(lambda client: asyncio.run(order(client)), clients))
        records = {i: engine.wait(i, 3 * GUARD_S) for names in ordered for i in names}
    assert seen[RUNNING]
    assert seen[DONE]
    for client, of_client in zip(clients, ordered, strict=True):
        assert client.peak == client.limit
        assert client.starts == dict.fromkeys(of_client, 1)
        assert client.order == list(of_client) or client.limit > 1
        for download_id, name in of_client.items():
            check(records[download_id], client, download_id, name)
    gaps = [start - end for (_, end), (start, _) in zip(clients[1].spans, clients[1].spans[1:], strict=False)]
    assert min(gaps) >= 0.002
    assert {deezer.threads[i] for i in ordered[3]} == {f"deezer-dl-{n}" for n in range(50)}
    assert engine.clear_all_completed_downloads() == len(records)
    assert engine.get_all_downloads() == []


def check(record: dict[str, Any], client: Client, download_id: str, name: str) -> None:
    outcome, number = name.split("||")
    assert set(record) >= KEYS
    assert (record["id"], record["filename"], record["track_id"]) == (download_id, name, number)
    assert record["username"] == client.options.get("username_override", client.source)
    assert (record["state"], record["attempt"]) == (WANTED.get(outcome, DONE), 1)
    if record["state"] == DONE:
        assert (record["progress"], record["transferred"], record["size"]) == (100.0, SIZE, SIZE)
        assert record["file_path"] == f"/music/Track {number}.flac"
        assert record.get("error") is None
    else:
        assert record["file_path"] is None
        assert record["error"]
        assert record["error"] == "no route" or outcome != "raises"


def test_cancelling(engine: DownloadEngine) -> None:
    client = Client(engine, "tidal")

    async def main() -> None:
        ids = [await client.download("tidal", name) for name in ("slow||0", *names(6, "fine"))]
        client.wait_inside()
        queued, patched, unless, removed, gone, last = ids[1:]
        assert await client.cancel(queued)
        assert not await client.cancel(queued)
        assert not await client.cancel("unknown")
        engine.update_record("tidal", patched, {"state": CANCELLED, "note": "by hand"})
        assert engine.update_record_unless_state("tidal", unless, {"state": CANCELLED}, (DONE, CANCELLED))
        assert not engine.update_record_unless_state("tidal", unless, {"state": FAILED}, (DONE, CANCELLED))
        taken = engine.remove_record("tidal", removed)
        assert taken is not None
        assert taken["id"] == removed
        assert await client.cancel(gone, remove=True)
        states = {record["id"]: record["state"] for record in await client.get_all_downloads()}
        cancelled = dict.fromkeys((queued, patched, unless), CANCELLED)
        assert states == {ids[0]: RUNNING, **cancelled, last: QUEUED}
        client.go_on.set()
        assert engine.wait(last, GUARD_S)["state"] == DONE
        assert client.order == [ids[0], last]
        assert not await client.cancel(last)
        assert (engine.get_download_status(patched) or {})["note"] == "by hand"
        assert engine.clear_all_completed_downloads() == 5

    asyncio.run(main())


@pytest.mark.parametrize("outcome", ["slow", "stubborn"])
def test_a_running_one_that_goes_on_patching_stays_cancelled(engine: DownloadEngine, outcome: str) -> None:
    client = Client(engine, "tidal")
    patched = threading.Event()
    progress = client._progress

    def late(download_id: str, transferred: int) -> None:
        if transferred == CHUNK:
            assert engine.cancel_download(download_id)
            assert engine.get_record("tidal", download_id) == engine.get_download_status(download_id)
        progress(download_id, transferred)
        record = engine.get_record("tidal", download_id)
        assert record is not None
        assert (record["state"], record["transferred"]) == (CANCELLED, transferred)
        patched.set()

    client.go_on.set()
    with patch.object(client, "_progress", late), page(engine, [client]):
        ids = [asyncio.run(client.download("tidal", name)) for name in (f"{outcome}||1", "fine||2")]
        assert patched.wait(GUARD_S)
        records = [engine.wait(i, GUARD_S) for i in ids]
    assert [record["state"] for record in records] == [CANCELLED, CANCELLED]
    assert [record["file_path"] for record in records] == [None, None]


def test_a_patched_client_is_the_one_that_runs(engine: DownloadEngine) -> None:
    client = Client(engine, "tidal")
    with patch.object(client, "_download_sync", return_value="/music/mocked.flac") as mocked:
        mocked_id = asyncio.run(client.download("tidal", "fine||1"))
    record = engine.wait(mocked_id, GUARD_S)
    assert (record["state"], record["file_path"]) == (DONE, "/music/mocked.flac")
    mocked.assert_called_once_with(mocked_id, ("fine", "1"), "Track 1")
    real = engine.wait(asyncio.run(client.download("tidal", "fine||2")), GUARD_S)
    assert real["file_path"] == "/music/Track 2.flac"


def test_transfers_of_its_own(engine: DownloadEngine, at_once: AtOnce) -> None:
    """Records that the program runs itself: its end and a cancel race, and one of the two wins."""
    wins: Counter[bool] = Counter()
    for n in range(100):
        transfer = f"peer::{n}"
        engine.add_record("soulseek", transfer, {"state": RUNNING, "filename": "song.mp3"})

        def run(transfer: str = transfer) -> bool:
            for transferred in range(CHUNK, SIZE, CHUNK):
                engine.update_record("soulseek", transfer, {"transferred": transferred, "state": RUNNING})
            return engine.update_record_unless_state("soulseek", transfer, {"state": DONE}, (CANCELLED,))

        ended, cancelled = at_once(run, lambda i=transfer: engine.cancel_download(i, source_hint="soulseek"))
        wins[cancelled] += 1
        record = engine.get_record("soulseek", transfer)
        assert record is not None
        assert (ended, record["state"]) == ((False, CANCELLED) if cancelled else (True, DONE))
    assert sum(wins.values()) == len(engine.get_all_downloads()) == engine.clear_all_completed_downloads() == 100


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.expect_errors(r"^Failed: ")
def test_everybody_at_once(engine: DownloadEngine, at_once: AtOnce, seed: int) -> None:
    clients = [Client(engine, source) for source in ("tidal", "qobuz", "hifi")]
    ids: list[tuple[Client, str]] = []
    withdrawn: list[tuple[Client, str]] = []

    def user(number: int) -> None:
        random = Random(f"{seed} {number}")
        for n in range(150):
            client = random.choice(clients)
            match random.choice(("order", "order", "order", "cancel", "cancel", "patch", "limit", "look", "remove")):
                case "order":
                    name = f"{random.choice((*WANTED, 'stubborn'))}||{n}"
                    ids.append((client, asyncio.run(client.download(client.source, name))))
                case "limit":
                    engine.worker.set_concurrency(client.source, random.randint(1, 3))
                case "look":
                    assert all(record["source"] == client.source for record in asyncio.run(client.get_all_downloads()))
                case act if ids:
                    client, download_id = random.choice(ids[-20:])
                    if act == "patch":
                        engine.update_record(client.source, download_id, {"state": CANCELLED})
                    elif act == "remove" and random.random() < 0.3:
                        engine.remove_record(client.source, download_id)
                    elif asyncio.run(client.cancel(download_id)):
                        withdrawn.append((client, download_id))

    with page(engine, clients):
        at_once(*(lambda i=i: user(i) for i in range(6)))
        for _, download_id in ids:
            try:
                record = engine.wait(download_id, GUARD_S)
            except UnknownDownload:
                continue
            assert record["state"] == OVER[record["phase"]]
        engine.close(drain=True, timeout=GUARD_S)
    for client, download_id in ids:
        final = engine.get_record(client.source, download_id)
        assert client.starts[download_id] <= 1
        assert final is None or final["attempt"] == client.starts[download_id]
    for client, download_id in withdrawn:
        final = engine.get_record(client.source, download_id)
        assert final is None or final["state"] == CANCELLED
    assert all(1 <= client.peak <= 3 for client in clients)
    assert max(client.peak for client in clients) > 1
    assert any(client.starts[i] == 0 for client, i in withdrawn)
