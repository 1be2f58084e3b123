"""W2: dispatch to a source whose impl is blocked, so that all the others queue up. See README.md for the rules."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, Held, rss_bytes, wait_until
from benchmarks.contenders import Contender
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main


def measure(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """Time each dispatch on its own. Afterwards release the source; all downloads must run."""
    queued = sizes["queued"]
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
    took_ns = [0] * queued
    gc.collect()
    threads, memory = threading.active_count(), rss_bytes()
    for number in range(queued):
        began = perf_counter_ns()
        dispatch("source", number, "A song", "song.bin", impl)
        took_ns[number] = perf_counter_ns() - began
    grown, threads = rss_bytes() - memory, threading.active_count() - threads
    held.let_go()
    wait_until(lambda: counted[0] >= queued)
    return {
        **quantiles("dispatch_us", [ns / 1000 for ns in took_ns]),
        "bytes_per_queued": max(0, grown) / queued,
        "threads": threads,
    }


W2: Final = Workload(
    name="w2",
    title="dispatch while a blocked impl holds its source up",
    measure=measure,
    columns=[
        Column("dispatch p50 µs", "dispatch_us@50", ".2f"),
        Column("p99 µs", "dispatch_us@99", ".1f"),
        Column("worst µs", "dispatch_us@100", ",.0f"),
        Column("bytes/queued", "bytes_per_queued", ",.0f"),
        Column("threads for them", "threads", ",.0f"),
        Column("x threads", "dispatch_us@50", ".1f", against="threads"),
        Column("x pool", "dispatch_us@50", ".1f", against="pool"),
    ],
    targets=[
        Target("dispatch p50 µs", at_most=2),
        Target("bytes/queued", at_most=700),
        Target("threads for them", at_most=0),
    ],
    sizes={"queued": 10_000},
    smoke_sizes={"queued": 200},
    bars="dispatch_us@50",
    curves={"dispatch_us": "a dispatch with 10,000 queued, µs"},
)

if __name__ == "__main__":
    sys.exit(main(W2))
