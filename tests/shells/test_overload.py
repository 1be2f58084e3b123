"""More than can be done: full queues, and subscribers that do not listen."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from tests.dispatching import dispatch, dispatch_until_full
from tests.waiting import GUARD_S, Gatekeeper, Listener

from haulier import DownloadEngine, Event, Missed, RetryPolicy, SourcePolicy, Throttled


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
    engine: DownloadEngine, gatekeeper: Gatekeeper, listener: Listener, at_once: Any
) -> None:
    engine.register_source("tidal", SourcePolicy(max_queued=50), gatekeeper)
    running = dispatch(engine)
    gatekeeper.wait_inside(1)
    engine._system.mailboxes["tidal"].source.queue.pending = GivesWay()
    parts = at_once(*[lambda: dispatch_until_full(engine, 100)] * 8)
    accepted = [running, *(download_id for part in parts for download_id in part)]
    assert len(accepted) == 51
    assert waiting(engine) == 50
    assert {r["id"] for r in engine.get_all_downloads()} == set(accepted)
    gatekeeper.open()
    engine.close(drain=True)
    heard = listener.wait_for(lambda events: sum(getattr(e, "phase", None) == "succeeded" for e in events) == 51)
    known = {event.download_id for event in heard if not isinstance(event, Missed)}
    assert known == set(accepted), "no event tells of a refused download"


def test_there_is_room_for_one_after_an_end_and_after_a_cancel(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    engine.register_source("tidal", SourcePolicy(max_queued=3), gatekeeper)
    dispatch(engine)
    gatekeeper.wait_inside(1)
    queued = dispatch_until_full(engine, 9)
    assert len(queued) == 3
    gatekeeper.release()
    gatekeeper.wait_started(2)
    assert len(dispatch_until_full(engine, 9)) == 1
    assert engine.cancel_download(queued[1])
    assert len(dispatch_until_full(engine, 9)) == 1
    assert engine.cancel_download(queued[0])  # it runs: that makes no room
    assert dispatch_until_full(engine, 9) == []


def test_never_more_wait_than_may(engine: DownloadEngine, at_once: Any, restless: None) -> None:
    """Dispatches race cancels and ends."""
    engine.register_source("tidal", SourcePolicy(concurrency=2, max_queued=5), lands)
    accepted: list[str] = []
    cancelled: list[str] = []
    peaks: list[int] = []

    def feed() -> None:
        for _ in range(400):
            ids = dispatch_until_full(engine, 1)
            peaks.append(waiting(engine))
            cancelled.extend(i for i in ids if len(accepted) % 3 == 0 and engine.cancel_download(i, "tidal"))
            accepted.extend(ids)

    at_once(*[feed] * 4)
    assert max(peaks) <= 5
    states = [record["state"] for record in engine.as_completed(accepted, GUARD_S)]
    assert states.count("Cancelled") == len(cancelled)
    assert states.count("Completed, Succeeded") == len(accepted) - len(cancelled)
    assert len(dispatch_until_full(engine, 1)) == 1


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

    ids = dispatch_until_full(engine, 1) + dispatch_until_full(engine, 1)
    start(2)
    ids += dispatch_until_full(engine, 9)
    assert len(ids) == 4
    go.release(2)
    start(2)
    assert (waiting(engine), dispatch_until_full(engine, 9)) == (2, [])  # two back off
    go.release(2)
    while engine.stats()["tidal"]["in_flight"]:
        threading.Event().wait(0.001)
    assert (waiting(engine), dispatch_until_full(engine, 9)) == (4, [])
    for download_id in ids[:2]:
        assert engine.cancel_download(download_id)
        assert dispatch_until_full(engine, 1) == []
    assert engine.cancel_download(ids[2])
    assert len(dispatch_until_full(engine, 1)) == 1
    go.release(9)


def test_what_is_put_back_waits_too(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    def throttled(*args: Any) -> str:
        gatekeeper(*args)
        raise Throttled(3600)

    engine.register_source("tidal", SourcePolicy(max_queued=1), throttled)
    first = dispatch(engine)
    gatekeeper.wait_inside(1)
    (second,) = dispatch_until_full(engine, 9)
    gatekeeper.release()
    while engine.stats()["tidal"]["in_flight"]:
        threading.Event().wait(0.001)
    assert (waiting(engine), dispatch_until_full(engine, 9)) == (2, [])
    assert engine.cancel_download(second)
    assert dispatch_until_full(engine, 9) == []
    assert engine.cancel_download(first)
    assert len(dispatch_until_full(engine, 9)) == 1


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
    ids = [dispatch(engine, lands, source=f"s{n % 3}") for n in range(count)]
    assert [r["state"] for r in engine.as_completed(ids, GUARD_S)] == ["Completed, Succeeded"] * count
    return ids


def raises_exception(_: Event) -> None:
    raise RuntimeError("no")


def raises_exit(_: Event) -> None:
    sys.exit("no")


@pytest.mark.expect_errors("a subscriber failed")
@pytest.mark.parametrize("faulty", [raises_exception, raises_exit])
def test_a_subscriber_that_raises_goes_on_hearing_and_disturbs_nobody(
    engine: DownloadEngine, listener: Listener, logged_errors: list[Any], faulty: Callable[[Event], None]
) -> None:
    with engine.subscribe(faulty):
        ids = busy(engine)
    listener.wait_for(lambda events: len(events) == 900)
    assert all(listener.phases_of(i) == ["queued", "running", "succeeded"] for i in ids)
    assert len(logged_errors) == 900


def test_a_subscriber_that_hangs_delays_nobody(engine: DownloadEngine, listener: Listener) -> None:
    slow = Slow()
    subscription = engine.subscribe(slow, capacity=10)
    dispatch(engine, lands, source="s0")
    assert slow.came.acquire(timeout=GUARD_S)
    ids = busy(engine)  # all of them end while it hangs in its first event
    listener.wait_for(lambda events: len(events) == 903)
    assert all(listener.phases_of(i) == ["queued", "running", "succeeded"] for i in ids)
    assert slow.heard == []
    assert len(subscription._events) == 10
    closing = threading.Thread(target=engine.close, daemon=True)  # it waits for two seconds
    closing.start()
    closing.join(GUARD_S)
    assert not closing.is_alive()
    slow.listen()
    subscription.thread.join(GUARD_S)
    assert slow.heard == [*listener.events[:11], Missed(903 - 11)]


def test_a_slow_subscriber_is_told_where_it_missed_how_many(engine: DownloadEngine, listener: Listener) -> None:
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
