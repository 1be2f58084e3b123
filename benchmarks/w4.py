"""W4: the time from a dispatch at an idle source to its impl, while others are busy. README.md defines busy."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, TIMEOUT_S, wait_until
from benchmarks.contenders import Contender
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main

QUEUED: Final = 10
"""The number of downloads that wait at each busy source at any time."""

PACKET_S: Final = 0.005
PACKETS: Final = 4
"""How often a busy impl waits for the network, ``PACKET_S`` seconds each."""

COMPUTES: Final = 200
"""How many numbers a busy impl adds up between two waits (a µs or two)."""

IDLE_S: Final = 0.005
"""The time from the end of a probe to the next dispatch, while the source is idle."""


def measure(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """Measure the starts. Each busy impl dispatches a successor, so the number of waiting downloads stays the same."""
    dispatch, stopping = contender.dispatch, threading.Event()
    ran = [0] * sizes["busy"]

    def work(download_id: str, target_id: Any, display_name: str) -> str:
        for _ in range(PACKETS):
            if stopping.is_set():
                return PATH
            time.sleep(PACKET_S)
            sum(range(COMPUTES))
        ran[target_id] += 1
        dispatch(display_name, target_id, display_name, "song.bin", work)
        return PATH

    for _ in range(QUEUED + 1):
        for number in range(sizes["busy"]):
            dispatch(f"busy-{number}", number, f"busy-{number}", "song.bin", work)
    wait_until(lambda: min(ran, default=1) >= 1)

    started_ns, started = [0], threading.Event()

    def probe(download_id: str, target_id: Any, display_name: str) -> str:
        started_ns[0] = perf_counter_ns()
        started.set()
        return PATH

    took_us = []
    for number in range(sizes["probes"]):
        started.clear()
        dispatched_ns = perf_counter_ns()
        dispatch("idle", number, "A song", "song.bin", probe)
        if not started.wait(TIMEOUT_S):
            raise TimeoutError("a probe was never started")
        took_us.append((started_ns[0] - dispatched_ns) / 1000)
        time.sleep(IDLE_S)
    stopping.set()
    return quantiles("start_us", took_us)


WAKING: Final = (
    "At p50, eight times faster than a new thread starts here would be faster than the floor, a bare thread that "
    "waits at a queue. About half of haulier's time is the waking of the slot's thread, as for the floor. The rest "
    "is the mailbox's lock, pykka's loop and the hand-over, which tells the dispatching thread that the impl has "
    "begun. The pool has no hand-over."
)

W4: Final = Workload(
    name="w4",
    title="dispatch to start at an idle source while 32 others are busy",
    measure=measure,
    columns=[
        Column("p50 µs", "start_us@50", ",.0f"),
        Column("p90 µs", "start_us@90", ",.0f"),
        Column("p99 µs", "start_us@99", ",.0f"),
        Column("x threads, p50", "start_us@50", ".1f", against="threads"),
        Column("x threads, p99", "start_us@99", ".1f", against="threads"),
        Column("x pool, p50", "start_us@50", ".1f", against="pool"),
        Column("x pool, p99", "start_us@99", ".1f", against="pool"),
    ],
    targets=[Target("x threads, p50", at_least=8, why=WAKING), Target("x threads, p99", at_least=6, why=WAKING)],
    sizes={"busy": 32, "probes": 500},
    smoke_sizes={"busy": 8, "probes": 10},
    quick_sizes={"probes": 200},
    bars="start_us@50",
    curves={"start_us": "from dispatch to start, µs"},
)

if __name__ == "__main__":
    sys.exit(main(W4))
