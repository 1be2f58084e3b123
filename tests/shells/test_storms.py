"""Storms: more patches, or more news, than the store can apply. What waits stays bounded, and nothing is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.dispatching import dispatch, dispatch_until_full
from tests.waiting import GUARD_S, Gatekeeper, Listener

from haulier import DownloadEngine, RestartPolicy, SourcePolicy
from haulier._engine import messages as m
from haulier._engine.core.restarts import Restarts
from haulier._engine.shells import backlog
from haulier._engine.shells.backlog import FULL, Ask

WRITERS = 4


class Holding(logging.Handler):
    """A log handler in which the store's thread sits, from ``hold`` until ``let_go``."""

    def __init__(self, engine: DownloadEngine) -> None:
        super().__init__()
        self._store = engine._system.store
        self._held, self._go = threading.Event(), threading.Event()
        self.inside: Callable[[], None] = lambda: None

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is self._store.thread and not self._held.is_set():
            self.inside()
            self._held.set()
            assert self._go.wait(3 * GUARD_S)

    def hold(self) -> None:
        self._store.tell(object())  # a dead letter: it is logged
        self._store._bell.ring()
        assert self._held.wait(GUARD_S)
        self._store.tell(m.Sync())  # while this waits, nothing is written past the store

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
def holding(engine: DownloadEngine) -> Iterator[Holding]:
    handler, logger = Holding(engine), logging.getLogger("haulier.store")
    logger.addHandler(handler)
    yield handler
    handler.let_go()
    logger.removeHandler(handler)


def record_that_is(engine: DownloadEngine, what: str, gatekeeper: Gatekeeper) -> str:
    if what == "unknown":
        return "unknown"
    if what == "added":
        engine.add_record("tidal", "added", {"state": "Initializing"})
        return "added"
    running = dispatch(engine, gatekeeper)
    gatekeeper.wait_inside(1)
    if what == "running":
        return running
    queued = dispatch(engine, gatekeeper)
    if what == "terminal":
        assert engine.cancel_download(queued)
    return queued


STATES = {"progress": [], "the same state": ["InProgress, Downloading"], "states of their own": ["Aborted", "Paused"]}


class Storm:
    """Writers that patch ``download_id`` as fast as they can, ``count`` times each, with a new key each time."""

    def __init__(self, engine: DownloadEngine, download_id: str, count: int, states: list[str]) -> None:
        self._engine, self._id, self._count, self._states = engine, download_id, count, states
        self._backlog = engine._system.store.backlog
        self.peak = 0
        self._threads = [threading.Thread(target=self._write, args=(k,), daemon=True) for k in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        for n in range(self._count):
            patch: dict[str, Any] = {f"{writer}-{n}": n}
            if self._states:
                patch["state"] = self._states[n % len(self._states)]
            self._engine.update_record("tidal", self._id, patch)
            self.peak = max(self.peak, len(self._backlog))

    def wait_until_all_wait(self) -> None:
        """Wait until each writer waits for the store, or has written all it has."""
        while True:
            asking = sum(isinstance(message, Ask) for message in self._backlog.copy())
            if asking >= sum(thread.is_alive() for thread in self._threads):
                return
            threading.Event().wait(0.001)

    def pass_by(self) -> None:
        for thread in self._threads:
            thread.join(3 * GUARD_S)
            assert not thread.is_alive()

    def assert_all_there(self) -> None:
        record = self._engine.get_record("tidal", self._id)
        if self._id == "unknown":
            assert record is None
        else:
            assert record is not None
            assert sum("-" in key for key in record) == WRITERS * self._count


@pytest.mark.parametrize("states", STATES.values(), ids=STATES)
@pytest.mark.parametrize("what", ["queued", "running", "terminal", "unknown", "added"])
def test_a_storm_piles_up_no_more_than_so_many_patches(
    engine: DownloadEngine,
    gatekeeper: Gatekeeper,
    holding: Holding,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    states: Any,
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, what, gatekeeper)
    holding.hold()
    storm = Storm(engine, download_id, FULL // 2, states)
    storm.wait_until_all_wait()
    assert FULL < len(engine._system.store.backlog) <= FULL + 1 + 2 * WRITERS  # each its patch and its question
    holding.let_go()
    storm.pass_by()
    storm.assert_all_there()


@pytest.mark.parametrize("what", ["queued", "running", "added"])
def test_a_storm_while_somebody_listens(
    engine: DownloadEngine, gatekeeper: Gatekeeper, listener: Listener, what: str
) -> None:
    """The store is woken for each patch, and is never done."""
    download_id = record_that_is(engine, what, gatekeeper)
    storm = Storm(engine, download_id, 3 * FULL, STATES["states of their own"])
    storm.pass_by()
    assert 0 < storm.peak <= FULL + 1 + 2 * WRITERS
    storm.assert_all_there()


def test_nothing_else_waits_in_a_storm(
    engine: DownloadEngine, gatekeeper: Gatekeeper, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, "running", gatekeeper)
    holding.hold()
    storm = Storm(engine, download_id, FULL // 2, [])
    storm.wait_until_all_wait()
    ids = [dispatch(engine, gatekeeper) for _ in range(3)]
    gatekeeper.release(2)
    gatekeeper.wait_started(3)  # the news of an end and of a start wait for nobody
    assert engine.cancel_download(ids[2])
    holding.let_go()
    storm.pass_by()
    gatekeeper.open()
    records = {record["id"]: record["state"] for record in engine.as_completed([download_id, *ids], GUARD_S)}
    assert [records[i] for i in (download_id, *ids)] == ["Completed, Succeeded"] * 3 + ["Cancelled"]


def test_slots_do_not_run_ahead_of_the_store_without_end(
    engine: DownloadEngine, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a queue which is bounded bounds all: it is full, and nobody new is let in."""
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)
    monkeypatch.setattr(backlog, "FLOOD", 500)
    engine.register_source("tidal", SourcePolicy(max_queued=50), lambda *_: "/x")
    holding.hold()
    source = engine._system.mailboxes["tidal"].source
    ids: list[str] = []
    while not any(isinstance(message, Ask) for message in engine._system.store.backlog.copy()):
        ids += dispatch_until_full(engine, 1)
        assert len(ids) < 5_000
    ids += dispatch_until_full(engine, 200)
    assert len(source.queue.pending) == 50
    assert dispatch_until_full(engine, 200) == []
    holding.let_go()
    assert [r["state"] for r in engine.as_completed(ids, GUARD_S)] == ["Completed, Succeeded"] * len(ids)


def test_a_store_that_is_stuck_hangs_no_writer(
    engine: DownloadEngine, gatekeeper: Gatekeeper, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 0.001)
    download_id = record_that_is(engine, "running", gatekeeper)
    holding.hold()
    for n in range(FULL + 50):
        engine.update_record("tidal", download_id, {f"0-{n}": n})
    holding.let_go()
    assert len(engine.get_record("tidal", download_id)) > FULL + 50  # type: ignore[arg-type]


def test_the_stores_own_thread_does_not_wait_for_itself(
    engine: DownloadEngine, gatekeeper: Gatekeeper, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, "queued", gatekeeper)

    def write() -> None:
        for n in range(FULL + 50):
            engine.update_record("tidal", download_id, {f"0-{n}": n})

    holding.inside = write
    holding.let_go()
    holding.hold()
    assert len(engine.get_record("tidal", download_id)) > FULL + 50  # type: ignore[arg-type]


@pytest.mark.expect_errors
def test_while_the_store_has_no_actor_writers_apply(
    engine: DownloadEngine, gatekeeper: Gatekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, "queued", gatekeeper)
    store = engine._system.store
    store.restarts = Restarts(RestartPolicy(wait=lambda _: 3600.0))

    def dies() -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(store.ledger.table.retained, "next_expiry", dies)
        engine.update_record_unless_state("tidal", "unknown", {})  # it wakes, answers, and looks when to wake again
        while store.running:
            threading.Event().wait(0.001)
    for n in range(FULL + 50):
        engine.update_record("tidal", download_id, {f"0-{n}": n})
    assert len(store.backlog) < FULL
    assert len(engine.get_record("tidal", download_id)) > FULL + 50  # type: ignore[arg-type]
