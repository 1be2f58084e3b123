"""W2 with a million queued: does the contender survive, and how long does it block other threads? See README.md.

A common Linux starts no more than some 22,000 threads, so one thread per queued download is not possible. ``threads``
gets only ``at-threads`` downloads, which it survives, so that the machine survives, too. Its pauses are a lower bound.
A million tasks of asyncio would need 5 GB and some minutes, so asyncio gets ``at-tasks``.
"""

from __future__ import annotations

import itertools
import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, Held, Ticker, rss_bytes, wait_until
from benchmarks.contenders import Contender
from benchmarks.harness import Column, Sample, Target, Workload, main

ROOM_FOR_THREADS: Final = 2_000
"""Threads of this user in other programs."""


def measure(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """Dispatch all downloads behind a blocked impl, then release it. All must run. A ticker measures the pauses."""
    return _measure(contender, sizes["queued"])


def measure_tasks(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    return _measure(contender, min(sizes["queued"], sizes["at-tasks"]))


def measure_threads(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    most = min(sizes["queued"], sizes["at-threads"])
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit != resource.RLIM_INFINITY:
        most = max(1, min(most, limit - ROOM_FOR_THREADS))
    threading.stack_size(256 * 1024)  # as small as it may be: kinder than the default
    return _measure(contender, most)


def _measure(contender: Contender, queued: int) -> Sample:
    done = itertools.count(1).__next__
    counted = [0]

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        if target_id is None:
            return held()
        counted[0] = done()
        return PATH

    held, dispatch = Held(), contender.dispatch
    dispatch("source", None, "held", "held.bin", impl)
    held.await_start()
    memory, began = rss_bytes(), time.perf_counter()
    ticker = Ticker()
    for number in range(queued):
        dispatch("source", number, "A song", "song.bin", impl)
    dispatch_s, filling_s, grown = time.perf_counter() - began, ticker.stop(), rss_bytes() - memory

    ticker, began = Ticker(), time.perf_counter()
    held.let_go()
    wait_until(lambda: counted[0] >= queued, every_s=0.01)
    drain_s, draining_s = time.perf_counter() - began, ticker.stop()
    return {
        "queued": queued,
        "worst_pause_ms": 1e3 * max(filling_s, draining_s),
        "filling_pause_ms": 1e3 * filling_s,
        "draining_pause_ms": 1e3 * draining_s,
        "dispatch_us": 1e6 * dispatch_s / queued,
        "run_us": 1e6 * drain_s / queued,
        "bytes_per_queued": grown / queued,
    }


COLLECTOR: Final = (
    "While a million are queued the target is met: the cycle collector does not visit tickets. While they run, each "
    "full collection visits their containers: two dictionaries and a deque of a million each. The floor, a bare "
    "queue and dictionary, blocks other threads for longer, but while downloads are queued, because its records are "
    "dictionaries. With only one of the three containers `dispatch` would save a step under the source's lock, but "
    "would need another one."
)

MILLION: Final = Workload(
    name="million",
    title="a million queued behind a blocked impl, then all of them run",
    measure=measure,
    modes={"few": measure_threads, "some": measure_tasks},
    columns=[
        Column("queued", "queued", ",.0f"),
        Column("worst pause ms", "worst_pause_ms", ",.1f"),
        Column("while queueing", "filling_pause_ms", ",.1f"),
        Column("while they run", "draining_pause_ms", ",.1f"),
        Column("µs/dispatch", "dispatch_us", ".1f"),
        Column("µs/run", "run_us", ".1f"),
        Column("bytes/queued", "bytes_per_queued", ",.0f"),
    ],
    targets=[Target("queued", at_least=1_000_000), Target("worst pause ms", at_most=50, why=COLLECTOR)],
    sizes={"queued": 1_000_000, "at-threads": 10_000, "at-tasks": 200_000},
    smoke_sizes={"queued": 500, "at-threads": 100, "at-tasks": 100},
    quick_sizes={"queued": 200_000, "at-threads": 5_000, "at-tasks": 20_000},
    traced_sizes={"queued": 50_000},
    contenders=("threads:few", "pool", "asyncio:some", "haulier", "floor"),
    bars="worst_pause_ms",
)

if __name__ == "__main__":
    sys.exit(main(MILLION))
