"""W5, progress: eight downloads write their records while another thread reads all records. See README.md."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, TIMEOUT_S, wait_until
from benchmarks.contenders import WITH_CANCEL, Manageable
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main

READ_EVERY_S: Final = 0.01

BUSY: Final = (
    "For the contenders a patch is a lock and a `dict.update`, and their writers compete for the lock. haulier's "
    "patch takes no lock. But it checks the state, keeps the state from changing, and lets readers run after every "
    "64th patch."
)

STATE: Final = "InProgress, Downloading"


def measure(contender: Manageable, sizes: Mapping[str, int]) -> Sample:
    pair_us = _measure_pair(contender, sizes["pairs"])
    return {"pair_us": pair_us, **_measure_storm(contender, sizes["downloads"], sizes["ms"] / 1000)}


def _measure_pair(contender: Manageable, pairs: int) -> float:
    """Measure a plugin's progress hook alone: patch the record, then read it to see a cancel. µs per pair."""
    found: list[float] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        update, get = contender.update_record, contender.get_record
        batches = []
        for _ in range(20):
            began = perf_counter_ns()
            for part in range(pairs // 20):
                update("pair", download_id, {"state": STATE, "progress": 1.0, "transferred": part})
                if get("pair", download_id)["state"] == "Cancelled":  # type: ignore[index]
                    raise AssertionError("the record says Cancelled, but there was no cancel")
            batches.append((perf_counter_ns() - began) / 1000 / (pairs // 20))
        found.append(statistics.median(batches))
        return PATH

    contender.dispatch("pair", None, "A song", "song.bin", impl)
    wait_until(lambda: bool(found))
    return found[0]


def _measure_storm(contender: Manageable, downloads: int, seconds: float) -> Sample:
    """Let every download patch as fast as it can, while one thread reads all records 100 times a second."""
    ready, over = threading.Barrier(downloads + 1), threading.Event()
    written: list[int] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        update = contender.update_record
        ready.wait(TIMEOUT_S)
        patches = 0
        while not over.is_set():
            patches += 1
            update(display_name, download_id, {"state": STATE, "progress": 1.0, "transferred": patches, "speed": 1.0})
        record = contender.get_record(display_name, download_id)
        if record is None or record["transferred"] != patches:
            raise AssertionError(f"the last of {patches:,} patches is not there: {record}")
        written.append(patches)
        return PATH

    for number in range(downloads):
        contender.dispatch(f"source-{number}", None, f"source-{number}", "song.bin", impl)
    ready.wait(TIMEOUT_S)
    began = time.perf_counter()
    reads_us = []
    while (now := time.perf_counter()) < began + seconds:
        start_ns = perf_counter_ns()
        records = contender.records()
        reads_us.append((perf_counter_ns() - start_ns) / 1000)
        if len(records) != downloads + 1:
            raise AssertionError(f"{len(records)} records of {downloads + 1}")
        time.sleep(max(0.0, READ_EVERY_S - (time.perf_counter() - now)))
    over.set()
    took_s = time.perf_counter() - began
    wait_until(lambda: len(written) == downloads)
    return {"patches_per_s": sum(written) / took_s, **quantiles("read_us", reads_us)}


READING: Final = (
    "How long the contenders' reader waits for their lock depends on which thread has the interpreter: less than a "
    "millisecond on a quiet machine. haulier's reader waits for no lock."
)

W5: Final = Workload(
    name="w5",
    title="progress of eight downloads, and a reader of everything at 100 Hz",
    measure=measure,
    columns=[
        Column("patches/s", "patches_per_s", ",.0f"),
        Column("read p50 µs", "read_us@50", ",.0f"),
        Column("read p99 µs", "read_us@99", ",.0f"),
        Column("update+get µs", "pair_us", ".2f"),
        Column("x threads, patches", "patches_per_s", ".2f", against="threads", less_is_better=False),
        Column("x threads, read p99", "read_us@99", ".1f", against="threads"),
    ],
    targets=[
        Target("x threads, patches", at_least=4, why=BUSY),
        Target("x threads, read p99", at_least=50, why=READING),
        Target("update+get µs", at_most=6),
    ],
    sizes={"downloads": 8, "ms": 3000, "pairs": 40_000},
    smoke_sizes={"downloads": 8, "ms": 100, "pairs": 400},
    quick_sizes={"ms": 1000},
    contenders=("threads", "pool", "pool-locks", *WITH_CANCEL[2:]),
    others=("durable",),
    bars="patches_per_s",
    curves={"read_us": "reading all records while eight downloads write, µs"},
)

if __name__ == "__main__":
    sys.exit(main(W5))
