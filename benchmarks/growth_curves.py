"""What each growth curve measures, and at which points."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.clients import PATH, TIMEOUT_S, Held, cpu_s_of, rss_bytes, wait_until
from benchmarks.contenders import Impl
from benchmarks.figures import Sample, median

__all__ = ["CURVES", "Curve"]

AT_LEAST: Final = 20_000
"""Downloads per point: with fewer queued at a time the measurement is repeated."""

NO_MORE: Final = 10**9


@dataclass(frozen=True)
class Curve:
    """``lines``: the lines to draw, by their keys in the sample. ``judged``: the lines whose slope should be 0.

    ``rows``: the contenders, each with its largest point. ``why``: the reasons for steep lines, by their titles.
    """

    name: str
    title: str
    x: str
    points: Sequence[int]
    quick_points: Sequence[int]
    measure: Callable[[Any, int], Sample]
    lines: Mapping[str, str]
    judged: Sequence[str]
    rows: Mapping[str, int] = field(default_factory=lambda: {"haulier": NO_MORE})
    why: Mapping[str, str] = field(default_factory=dict)
    log: Sequence[str] = ("slots_used",)
    """Lines with a logarithmic axis of their own."""

    def points_of(self, size: str) -> Sequence[int]:
        return {"full": self.points, "quick": self.quick_points, "smoke": self.points[:1]}[size]


class Counting:
    """An instant impl that signals when it has been called ``target`` times. With no target it waits for release."""

    def __init__(self, calls: int) -> None:
        count, done, held = itertools.count(1).__next__, threading.Event(), Held()

        def impl(download_id: str, target_id: Any, display_name: str) -> str:
            if target_id is None:
                return held()
            if count() == calls:
                done.set()
            return PATH

        self.impl: Impl = impl
        self.held = held
        self._done = done

    def wait(self) -> None:
        if not self._done.wait(TIMEOUT_S):
            raise TimeoutError("not all have run")


def _timed(contender: Any, sources: Sequence[str], downloads: int) -> Sample:
    """Dispatch downloads over the sources in turn, and wait until all have ended. Return µs per download."""
    counting, dispatch = Counting(downloads), contender.dispatch
    impl, names = counting.impl, itertools.islice(itertools.cycle(sources), downloads)
    cpu_s, began = time.process_time(), time.perf_counter()
    for source in names:
        last = source, dispatch(source, 0, "A song", "song.bin", impl)
    counting.wait()
    contender.get_record(*last)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    return {"wall_us": 1e6 * wall_s / downloads, "cpu_us": 1e6 * cpu_s / downloads}


def queued(contender: Any, x: int) -> Sample:
    """Queue ``x`` downloads behind a blocked impl. Measure each dispatch, a cancel, each run, and the memory of one."""
    rounds = [_queued(contender, f"source-{number}", x) for number in range(max(1, AT_LEAST // x))]
    return {**median(rounds), "bytes_each": rounds[0]["bytes_each"]}


def _queued(contender: Any, source: str, x: int) -> Sample:
    counting, dispatch = Counting(x), contender.dispatch
    held = counting.held
    dispatch(source, None, "held", "held.bin", counting.impl)
    held.await_start()
    impl, memory, began = counting.impl, rss_bytes(), time.perf_counter()
    ids = [dispatch(source, 0, "A song", "song.bin", impl) for _ in range(x)]
    dispatch_s, grown = time.perf_counter() - began, rss_bytes() - memory
    sample: Sample = {"dispatch_us": 1e6 * dispatch_s / x, "bytes_each": grown / x}
    if hasattr(contender, "cancel_download"):
        extra = [dispatch(source, 0, "A song", "song.bin", impl) for _ in range(20)]
        contender.get_record(source, ids[0])  # applies all messages, so that the cancel does not pay for them
        cancels = []
        for download_id in extra:
            began = time.perf_counter()
            contender.cancel_download(source, download_id)
            contender.get_record(source, download_id)
            cancels.append(1e6 * (time.perf_counter() - began))
        sample["cancel_us"] = statistics.median(cancels)
    began = time.perf_counter()
    held.let_go()
    counting.wait()
    contender.get_record(source, ids[-1])
    sample["run_us"] = 1e6 * (time.perf_counter() - began) / x
    return sample


def sources(contender: Any, x: int) -> Sample:
    """Measure downloads over ``x`` sources that are all in use. The clock starts after the sources have started."""
    names = [f"source-{number}" for number in range(x)]
    memory = rss_bytes()
    _timed(contender, names, x)
    grown = rss_bytes() - memory
    rounds = [_timed(contender, names, AT_LEAST) for _ in range(5)]
    return {**median(rounds), "bytes_each": grown / x}


def idle(contender: Any, x: int) -> Sample:
    """Measure ``x`` sources that were used and are idle now, beside ten sources in use."""
    import haulier  # here: other contenders must not import it

    with haulier.DownloadEngine(idle_timeout=0.2) as engine:
        before = threading.active_count()
        counting = Counting(x)
        for number in range(x):
            engine.worker.dispatch(f"idle-{number}", 0, "A song", "song.bin", counting.impl)
        counting.wait()
        wait_until(lambda: threading.active_count() <= before)
        held = [Held() for _ in range(10)]
        for number, impl in enumerate(held):
            engine.worker.dispatch(f"busy-{number}", 0, "A song", "song.bin", impl)
        for impl in held:
            impl.await_start()
        sample = {"threads": threading.active_count() - before, "idle_cpu_percent": 100 * cpu_s_of(1.0)}
        for impl in held:
            impl.let_go()
        wait_until(lambda: all(status["in_flight"] == 0 for status in engine.stats().values()))
    contender.records()
    return {**sample, **_timed(contender, [f"source-{number}" for number in range(10)], AT_LEAST)}


def slots(contender: Any, x: int) -> Sample:
    """Measure one source with ``x`` slots: instant downloads, and how many downloads of 2 ms really run at once."""
    contender.engine.worker.set_concurrency("source", x)
    rounds = [_timed(contender, ["source"], AT_LEAST) for _ in range(5)]
    count, sleeps, done = itertools.count(1).__next__, 100 * x, threading.Event()

    def sleep(download_id: str, target_id: Any, display_name: str) -> str:
        time.sleep(0.002)
        if count() == sleeps:
            done.set()
        return PATH

    cpu_s, began = time.process_time(), time.perf_counter()
    for _ in range(sleeps):
        contender.dispatch("source", 0, "A song", "song.bin", sleep)
    done.wait(TIMEOUT_S)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    return {
        **median(rounds),
        "sleeper_cpu_us": 1e6 * cpu_s / sleeps,
        "slots_used": 0.002 * sleeps / wall_s,
        "threads": threading.active_count(),
    }


def records(contender: Any, x: int) -> Sample:
    """Keep ``x`` records of ended downloads. Measure one more download, reading one record, and reading all."""
    names = [f"source-{number}" for number in range(8)]
    _timed(contender, names, x)
    rounds = [_timed(contender, names, 2_000) for _ in range(5)]
    download_id = contender.dispatch("source-0", 0, "A song", "song.bin", Counting(1).impl)
    gets = []
    for _ in range(50):
        began = time.perf_counter()
        for _ in range(100):
            contender.get_record("source-0", download_id)
        gets.append(1e4 * (time.perf_counter() - began))
    began = time.perf_counter()
    found = len(contender.records())
    return {
        **median(rounds),
        "get_us": statistics.median(gets),
        "read_all_us": 1e6 * (time.perf_counter() - began) / found,
    }


def subscribers(contender: Any, x: int) -> Sample:
    """Measure µs per download until each of ``x`` counting subscribers has received the end of every download."""
    downloads, heard = 5_000, [0] * x
    names = [f"source-{number}" for number in range(8)]

    def listener(number: int) -> Callable[[Any], None]:
        def hear(event: Any) -> None:
            heard[number] += 1

        return hear

    subscriptions = [contender.engine.subscribe(listener(number), capacity=NO_MORE) for number in range(x)]
    rounds = []
    for _ in range(3):
        cpu_s = time.process_time()
        sample = _timed(contender, names, downloads)
        last = [-1] * x
        while last != heard:  # until no further event comes
            last = list(heard)
            time.sleep(0.05)
        rounds.append({"wall_us": sample["wall_us"], "cpu_us": 1e6 * (time.process_time() - cpu_s) / downloads})
    for subscription in subscriptions:
        subscription.close()
    found = median(rounds)
    return {**found, "cpu_per_subscriber_us": found["cpu_us"] / (x + 1)}


THREADS: Final = (
    "With so many sources in turn, each download finds its source's thread asleep and must wake it. This begins with a "
    "few sources for the pool, with some hundred for haulier, and with some hundreds for the floor."
)

CURVES: Final = (
    Curve(
        "queued", "Downloads queued", "queued",
        (100, 1_000, 10_000, 100_000, 1_000_000), (100, 1_000, 10_000, 100_000),
        queued,
        {"dispatch_us": "dispatch µs", "cancel_us": "cancel µs", "run_us": "run µs", "bytes_each": "bytes each"},
        ("dispatch_us", "cancel_us", "run_us"),
        {"haulier": NO_MORE, "threads": 10_000, "pool": 100_000, "asyncio": 100_000, "floor": NO_MORE},
    ),
    Curve(
        "sources", "Sources in use", "sources", (1, 3, 10, 30, 100, 300, 1_000), (1, 10, 100, 1_000), sources,
        {"wall_us": "µs/download", "cpu_us": "CPU µs/download", "bytes_each": "bytes each"}, ("wall_us", "cpu_us"),
        {"haulier": NO_MORE, "pool": 1_000, "floor": 1_000},
        {"µs/download": THREADS, "CPU µs/download": THREADS},
    ),
    Curve(
        "idle", "Idle sources beside ten that are in use", "idle sources", (1, 10, 100, 990), (10, 990), idle,
        {"threads": "threads", "idle_cpu_percent": "CPU % of one while nothing happens"}, ("threads",),
    ),
    Curve(
        "slots", "Slots of one source", "slots", (1, 2, 4, 8, 16, 32, 64), (1, 8, 64), slots,
        {
            "wall_us": "µs/instant download", "cpu_us": "CPU µs/instant download",
            "sleeper_cpu_us": "CPU µs/download of 2 ms", "slots_used": "slots really used",
        },
        ("wall_us", "cpu_us", "sleeper_cpu_us"),
    ),
    Curve(
        "records", "Records kept", "records", (100, 1_000, 10_000, 100_000, 500_000), (100, 10_000, 100_000), records,
        {"wall_us": "µs/download", "get_us": "get_record µs", "read_all_us": "reading all, µs each"},
        ("wall_us", "get_us", "read_all_us"),
    ),
    Curve(
        "subscribers", "Subscribers", "subscribers", (0, 1, 2, 4, 8, 16), (0, 1, 16), subscribers,
        {
            "wall_us": "µs/download", "cpu_us": "CPU µs/download",
            "cpu_per_subscriber_us": "CPU µs/download and subscriber",
        },
        ("cpu_per_subscriber_us",),
    ),
)  # fmt: skip
"""In the order of the page."""
