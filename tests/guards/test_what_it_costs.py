"""What a download may cost, in counts: messages, wake-ups, bytes, objects of the cycle collector.

No time is measured: these hold on any machine, however busy, and turn red with the change that breaks them.
"""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.waiting import Gatekeeper

from haulier import DownloadEngine
from haulier._engine import messages as m
from haulier._engine.shells.backlog import BACKLOG
from haulier._threads.bell import Bell

GUARD_S = 30.0

QUEUED = 10_000

MOST_BYTES = 400
"""For one that is queued: its ticket, id and time of coming, and its places at the source and in the records. They are
311 on CPython 3.11, as its allocators count; resident memory grows by about twice as much, for which there is W2."""


class Burst:
    """``downloads`` instant ones over a few sources; ``over`` is set in the impl of the last."""

    def __init__(self, engine: DownloadEngine, downloads: int, sources: int) -> None:
        self.engine, self.downloads = engine, downloads
        self.sources = [f"source-{number}" for number in range(sources)]
        self._over = threading.Event()
        self._done = itertools.count(1)

    def impl(self, download_id: str, target_id: Any, display_name: str) -> str:
        if next(self._done) == self.downloads:
            self._over.set()
        return "/x"

    def dispatch(self) -> list[str]:
        dispatch = self.engine.worker.dispatch
        return [
            dispatch(source, number, "A Song", "song.flac", self.impl)
            for number, source in zip(range(self.downloads), itertools.cycle(self.sources), strict=False)
        ]

    def wait(self) -> None:
        assert self._over.wait(GUARD_S), "they do not end"


@pytest.fixture
def engine(make_engine: Callable[..., DownloadEngine]) -> DownloadEngine:
    """Not traced: a trace listens, and where somebody listens the store is woken for every message."""
    return make_engine(trace=None)


@pytest.fixture
def told(engine: DownloadEngine) -> Counter[type]:
    """What the store was told, by type; but not what the test itself has it told as it waits."""
    counts: Counter[type] = Counter()
    store: Any = engine._system.store
    tell = store.tell

    def counted(message: Any) -> None:
        counts[type(message)] += type(message) is not m.Unwatch
        tell(message)

    store.tell = counted
    return counts


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Counter[Bell]:
    """How often each bell woke its waiter."""
    counts: Counter[Bell] = Counter()
    ring = Bell.ring

    def counted(bell: Bell) -> None:
        counts[bell] += bell.armed
        ring(bell)

    monkeypatch.setattr(Bell, "ring", counted)
    return counts


@pytest.fixture
def traced_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def states_of(engine: DownloadEngine, ids: list[str]) -> list[str]:
    return [record["state"] for record in engine.as_completed(ids, GUARD_S)]


# ---- messages and wake-ups -------------------------------------------------------------------------------------------


def test_an_instant_download_is_three_messages(engine: DownloadEngine, told: Counter[type]) -> None:
    """That it is queued, that it has started, how it ended; and where others wait, the second comes with a third."""
    burst = Burst(engine, 4000, 8)
    ids = burst.dispatch()
    burst.wait()
    assert states_of(engine, ids) == ["Completed, Succeeded"] * 4000
    assert told[m.Succeeded] == 4000
    assert 2 * 4000 < sum(told.values()) <= 3 * 4000


def test_an_end_brings_the_next_start_along(engine: DownloadEngine, told: Counter[type]) -> None:
    burst = Burst(engine, 4000, 8)
    for source in burst.sources:
        engine.register_source(source)
        engine.pause(source)
    ids = burst.dispatch()
    for source in burst.sources:
        engine.resume(source)
    burst.wait()
    assert states_of(engine, ids) == ["Completed, Succeeded"] * 4000
    assert told[m.Succeeded] == 4000
    # Only the first start of each source has a message of its own.
    assert sum(told.values()) <= 2 * 4000 + len(burst.sources)


def test_a_burst_hardly_wakes_anybody(engine: DownloadEngine, woken: Counter[Bell]) -> None:
    """The store once a batch, a source that is busy never."""
    burst = Burst(engine, QUEUED, 1)
    engine.register_source(burst.sources[0])
    engine.pause(*burst.sources)
    ids = burst.dispatch()
    store = engine._system.store
    assert woken[store._bell] <= QUEUED // BACKLOG
    engine.resume(*burst.sources)
    burst.wait()
    assert 1 <= woken[store._bell] <= 2 * QUEUED // BACKLOG + 1
    mailbox = engine._system.mailboxes["source-0"]
    assert woken[mailbox.bell] <= 2  # by the resume
    assert states_of(engine, ids) == ["Completed, Succeeded"] * QUEUED


# ---- what a queued download is ---------------------------------------------------------------------------------------


@pytest.fixture
def held_up(engine: DownloadEngine, gatekeeper: Gatekeeper) -> DownloadEngine:
    """Its source has a download that does not end."""
    engine.worker.dispatch("tidal", 0, "A Song", "song.flac", gatekeeper)
    gatekeeper.wait_inside(1)
    return engine


def queue(engine: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    """Have so many wait, and the store know of them."""
    for number in range(QUEUED):
        engine.worker.dispatch("tidal", number, "A Song", "song.flac", gatekeeper)
    engine._system.store.ask(m.Sync())
    assert engine.stats()["tidal"]["queued"] == QUEUED


def test_a_queued_download_is_small(held_up: DownloadEngine, gatekeeper: Gatekeeper, traced_memory: None) -> None:
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    queue(held_up, gatekeeper)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    assert (after - before) / QUEUED <= MOST_BYTES
    held_up.close(timeout=0.0)


def test_the_cycle_collector_does_not_see_a_queued_download(held_up: DownloadEngine, gatekeeper: Gatekeeper) -> None:
    gc.collect()
    before = len(gc.get_objects())
    queue(held_up, gatekeeper)
    gc.collect()  # which lets go of tuples of atoms
    assert len(gc.get_objects()) - before < QUEUED / 100
    held_up.close(timeout=0.0)
