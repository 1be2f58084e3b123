"""More than can be done: full queues, subscribers that do not listen, and more patches than can be applied."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity

import haulier
from haulier import DownloadEngine, Event, Missed, RestartPolicy, RetryPolicy, SourcePolicy, Throttled
from haulier import messages as m
from haulier.actors import store as store_module
from haulier.actors import system as system_module
from haulier.actors.store import FULL, _Ask
from haulier.core.restarts import Restarts

GUARD_S = 10.0
WRITERS = 4


def dispatch(engine: DownloadEngine, fetch: Any = None, source: str = "tidal") -> str:
    return engine.worker.dispatch(source, 1, "n", "f", fetch)


def taken(engine: DownloadEngine, tries: int) -> list[str]:
    """What of ``tries`` dispatches was accepted."""
    ids = []
    for _ in range(tries):
        try:
            ids.append(dispatch(engine))
        except haulier.QueueFull:
            pass
    return ids


def waiting(engine: DownloadEngine) -> int:
    return engine.stats()["tidal"]["queued"]


def lands(*_: Any) -> str:
    return "/x"


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that take turns after every few steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# ---- full queues -----------------------------------------------------------------------------------------------------


class GivesWay(dict[str, Any]):
    """Lets others go first between a count and what is made of it."""

    def __len__(self) -> int:
        count = super().__len__()
        threading.Event().wait(1e-6)
        return count


def test_as_many_are_accepted_as_there_is_room(
    engine: DownloadEngine, gatekeeper: Any, listener: Any, at_once: Any
) -> None:
    engine.register_source("tidal", SourcePolicy(max_queued=50), gatekeeper)
    running = dispatch(engine)
    gatekeeper.wait_inside(1)
    engine._system.mailboxes["tidal"].source.pending = GivesWay()
    parts = at_once(*[lambda: taken(engine, 100)] * 8)
    accepted = [running, *(download_id for part in parts for download_id in part)]
    assert len(accepted) == 51
    assert waiting(engine) == 50
    assert {r["id"] for r in engine.get_all_downloads()} == set(accepted)
    gatekeeper.open()
    engine.close(drain=True)
    heard = listener.wait_for(lambda events: sum(e.phase == "succeeded" for e in events) == 51)
    assert {e.download_id for e in heard} == set(accepted)  # nobody ever heard of one that was refused


def test_there_is_room_for_one_after_an_end_and_after_a_cancel(engine: DownloadEngine, gatekeeper: Any) -> None:
    engine.register_source("tidal", SourcePolicy(max_queued=3), gatekeeper)
    dispatch(engine)
    gatekeeper.wait_inside(1)
    queued = taken(engine, 9)
    assert len(queued) == 3
    gatekeeper.release()
    gatekeeper.wait_started(2)
    assert len(taken(engine, 9)) == 1
    assert engine.cancel_download(queued[1])
    assert len(taken(engine, 9)) == 1
    assert engine.cancel_download(queued[0])  # it runs: that makes no room
    assert taken(engine, 9) == []


def test_never_more_wait_than_may(engine: DownloadEngine, at_once: Any, restless: None) -> None:
    """Dispatches race cancels and ends."""
    engine.register_source("tidal", SourcePolicy(concurrency=2, max_queued=5), lands)
    accepted: list[str] = []
    cancelled: list[str] = []
    peaks: list[int] = []

    def feed() -> None:
        for _ in range(400):
            ids = taken(engine, 1)
            peaks.append(waiting(engine))
            cancelled.extend(i for i in ids if len(accepted) % 3 == 0 and engine.cancel_download(i, "tidal"))
            accepted.extend(ids)

    at_once(*[feed] * 4)
    assert max(peaks) <= 5
    states = [record["state"] for record in engine.as_completed(accepted, GUARD_S)]
    assert states.count("Cancelled") == len(cancelled)
    assert states.count("Completed, Succeeded") == len(accepted) - len(cancelled)
    assert len(taken(engine, 1)) == 1


@pytest.mark.expect_errors
def test_what_backs_off_waits_too_and_is_never_refused(engine: DownloadEngine) -> None:
    """So up to ``concurrency`` more than may can wait for a while; and nobody new until they are fewer again."""
    go, started = threading.Semaphore(0), threading.Semaphore(0)

    def fails(*_: Any) -> str:
        started.release()
        assert go.acquire(timeout=GUARD_S)
        raise OSError("gone")

    retry = RetryPolicy(stop=tenacity.stop_never, wait=tenacity.wait_fixed(3600))
    engine.register_source("tidal", SourcePolicy(concurrency=2, max_queued=2, retry=retry), fails)

    def start(count: int) -> None:
        assert all(started.acquire(timeout=GUARD_S) for _ in range(count))

    ids = taken(engine, 1) + taken(engine, 1)
    start(2)
    ids += taken(engine, 9)
    assert len(ids) == 4
    go.release(2)
    start(2)
    assert (waiting(engine), taken(engine, 9)) == (2, [])  # two back off
    go.release(2)
    while engine.stats()["tidal"]["in_flight"]:
        threading.Event().wait(0.001)
    assert (waiting(engine), taken(engine, 9)) == (4, [])
    for download_id in ids[:2]:
        assert engine.cancel_download(download_id)
        assert taken(engine, 1) == []
    assert engine.cancel_download(ids[2])
    assert len(taken(engine, 1)) == 1
    go.release(9)


def test_what_is_put_back_waits_too(engine: DownloadEngine, gatekeeper: Any) -> None:
    def throttled(*args: Any) -> str:
        gatekeeper(*args)
        raise Throttled(3600)

    engine.register_source("tidal", SourcePolicy(max_queued=1), throttled)
    first = dispatch(engine)
    gatekeeper.wait_inside(1)
    (second,) = taken(engine, 9)
    gatekeeper.release()
    while engine.stats()["tidal"]["in_flight"]:
        threading.Event().wait(0.001)
    assert (waiting(engine), taken(engine, 9)) == (2, [])
    assert engine.cancel_download(second)
    assert taken(engine, 9) == []
    assert engine.cancel_download(first)
    assert len(taken(engine, 9)) == 1


# ---- subscribers that do not listen ----------------------------------------------------------------------------------


class Slow:
    """A subscriber that hears one event for each turn it is given; ``listens`` lets it hear all."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.came = threading.Semaphore(0)
        """One for each event that it was called with."""
        self._turns = threading.Semaphore(0)
        self._listens = threading.Event()

    def __call__(self, event: Event) -> None:
        self.came.release()
        assert self._listens.is_set() or self._turns.acquire(timeout=3 * GUARD_S)
        self.heard.append(event)

    def hear(self, count: int) -> None:
        """Hear ``count`` events, and be called with the next one."""
        for _ in range(count):
            self._turns.release()
            assert self.came.acquire(timeout=GUARD_S)

    def listen(self) -> None:
        self._listens.set()
        self._turns.release()


def busy(engine: DownloadEngine, count: int = 300) -> list[str]:
    """Let ``count`` downloads come and go: three events each."""
    ids = [dispatch(engine, lands, f"s{n % 3}") for n in range(count)]
    assert [r["state"] for r in engine.as_completed(ids, GUARD_S)] == ["Completed, Succeeded"] * count
    return ids


def raises_exception(_: Event) -> None:
    raise RuntimeError("no")


def raises_exit(_: Event) -> None:
    sys.exit("no")


@pytest.mark.expect_errors("a subscriber failed")
@pytest.mark.parametrize("faulty", [raises_exception, raises_exit])
def test_a_subscriber_that_raises_goes_on_hearing_and_disturbs_nobody(
    engine: DownloadEngine, listener: Any, logged_errors: list[Any], faulty: Callable[[Event], None]
) -> None:
    with engine.subscribe(faulty):
        ids = busy(engine)
    listener.wait_for(lambda events: len(events) == 900)
    assert all(listener.phases_of(i) == ["queued", "running", "succeeded"] for i in ids)
    assert len(logged_errors) == 900


def test_a_subscriber_that_hangs_delays_nobody(
    engine: DownloadEngine, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    subscription = engine.subscribe(slow, capacity=10)
    ids = busy(engine)  # all of them end while it hangs in its first event
    listener.wait_for(lambda events: len(events) == 900)
    assert all(listener.phases_of(i) == ["queued", "running", "succeeded"] for i in ids)
    assert slow.heard == []
    assert len(subscription._events) == 10
    monkeypatch.setattr(system_module, "JOIN_S", 0.05)
    closing = threading.Thread(target=engine.close, daemon=True)
    closing.start()
    closing.join(GUARD_S)
    assert not closing.is_alive()
    slow.listen()
    subscription.thread.join(GUARD_S)
    assert slow.heard == [*listener.events[:11], Missed(900 - 11)]


def test_a_slow_subscriber_is_told_where_it_missed_how_many(engine: DownloadEngine, listener: Any) -> None:
    slow = Slow()
    with engine.subscribe(slow, capacity=10) as subscription:
        busy(engine, 20)
        assert slow.came.acquire(timeout=GUARD_S)
        for turns in (3, 11, 1, 8, 11):
            slow.hear(min(turns, len(subscription._events)))
            busy(engine, 20)
            assert len(subscription._events) <= 11  # a Missed among them
        slow.listen()
    stream = listener.wait_for(lambda events: len(events) == 360)
    place = 0
    for event in slow.heard:
        if isinstance(event, Missed):
            assert event.events > 0
            place += event.events
        else:
            assert event == stream[place]
            place += 1
    assert place == 360
    assert sum(isinstance(event, Missed) for event in slow.heard) >= 4


# ---- storms of patches -----------------------------------------------------------------------------------------------


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


def record_that_is(engine: DownloadEngine, what: str, gatekeeper: Any) -> str:
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
            asking = sum(isinstance(message, _Ask) for message in self._backlog.copy())
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
    engine: DownloadEngine, gatekeeper: Any, holding: Holding, monkeypatch: pytest.MonkeyPatch, what: str, states: Any
) -> None:
    monkeypatch.setattr(store_module, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, what, gatekeeper)
    holding.hold()
    storm = Storm(engine, download_id, FULL // 2, states)
    storm.wait_until_all_wait()
    assert FULL < len(engine._system.store.backlog) <= FULL + 1 + 2 * WRITERS  # each its patch and its question
    holding.let_go()
    storm.pass_by()
    storm.assert_all_there()


@pytest.mark.parametrize("what", ["queued", "running", "added"])
def test_a_storm_while_somebody_listens(engine: DownloadEngine, gatekeeper: Any, listener: Any, what: str) -> None:
    """The store is woken for each patch, and is never done."""
    download_id = record_that_is(engine, what, gatekeeper)
    storm = Storm(engine, download_id, 3 * FULL, STATES["states of their own"])
    storm.pass_by()
    assert 0 < storm.peak <= FULL + 1 + 2 * WRITERS
    storm.assert_all_there()


def test_nothing_else_waits_in_a_storm(
    engine: DownloadEngine, gatekeeper: Any, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROOM_S", 6 * GUARD_S)
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


def test_a_store_that_is_stuck_hangs_no_writer(
    engine: DownloadEngine, gatekeeper: Any, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROOM_S", 0.001)
    download_id = record_that_is(engine, "running", gatekeeper)
    holding.hold()
    for n in range(FULL + 50):
        engine.update_record("tidal", download_id, {f"0-{n}": n})
    holding.let_go()
    assert len(engine.get_record("tidal", download_id)) > FULL + 50  # type: ignore[arg-type]


def test_the_stores_own_thread_does_not_wait_for_itself(
    engine: DownloadEngine, gatekeeper: Any, holding: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROOM_S", 6 * GUARD_S)
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
    engine: DownloadEngine, gatekeeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROOM_S", 6 * GUARD_S)
    download_id = record_that_is(engine, "queued", gatekeeper)
    store = engine._system.store
    store.restarts = Restarts(RestartPolicy(wait=lambda _: 3600.0))

    def dies() -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(store.ledger, "next_expiry", dies)
        engine.update_record_unless_state("tidal", "unknown", {})  # it wakes, answers, and looks when to wake again
        while store.running:
            threading.Event().wait(0.001)
    for n in range(FULL + 50):
        engine.update_record("tidal", download_id, {f"0-{n}": n})
    assert len(store.backlog) < FULL
    assert len(engine.get_record("tidal", download_id)) > FULL + 50  # type: ignore[arg-type]
