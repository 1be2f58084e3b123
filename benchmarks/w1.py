"""W1: many instant downloads over a few sources, until all are terminal. See README.md for the rules."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import IN_MEMORY, TERMINAL_STATES, Contender
from benchmarks.harness import Column, Sample, Stopwatch, Target, Workload, main

PATH: Final = "downloads/instant.bin"

TIMEOUT_S: Final = 240.0

POLL_S: Final = 0.000_05


class Run:
    """One measurement."""

    filename: Final = "instant.bin"

    def __init__(self, contender: Contender, sizes: Mapping[str, int]) -> None:
        self.contender = contender
        self.downloads = sizes["downloads"]
        self.sources = [f"source-{number}" for number in range(min(sizes["sources"], self.downloads))]
        self._all_ran = threading.Event()
        count = itertools.count(1).__next__
        latest: dict[str, str] = {}
        downloads, all_ran = self.downloads, self._all_ran

        def impl(download_id: str, target_id: Any, display_name: str) -> str:
            latest[display_name] = download_id  # display_name is the source's: see below
            if count() == downloads:
                all_ran.set()
            return PATH

        self.impl, self._latest = impl, latest

    def dispatch_each(self) -> None:
        """Dispatch downloads one by one from this thread, over the sources in turn."""
        dispatch, impl, filename = self.contender.dispatch, self.impl, self.filename
        for number, source in enumerate(itertools.islice(itertools.cycle(self.sources), self.downloads)):
            dispatch(source, number, source, filename, impl)

    def measure(self, dispatch: Callable[[], None]) -> Sample:
        """Dispatch everything. The clock stops when the last record of every source is terminal."""
        watch = Stopwatch()
        dispatch()
        dispatch_s = watch.wall_s
        if not self._all_ran.wait(TIMEOUT_S):
            raise TimeoutError(f"not all of {self.downloads:,} impls ran within {TIMEOUT_S:g} s")
        _wait_until_terminal(self.contender, self._latest)
        sample = watch.stop()

        _verify(self.contender, self.downloads)
        wall_s = sample["wall_s"]
        return {
            "wall_us": 1e6 * wall_s / self.downloads,
            "downloads_per_s": self.downloads / wall_s,
            "cpu_us": 1e6 * sample["cpu_s"] / self.downloads,
            "dispatch_us": 1e6 * dispatch_s / self.downloads,
            "switches_per_download": sample["switches"] / self.downloads,
            "peak_rss_mib": sample["peak_rss_kib"] / 1024,
        }


def measure(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """Dispatch everything one by one."""
    run = Run(contender, sizes)
    return run.measure(run.dispatch_each)


def _wait_until_terminal(contender: Contender, latest: Mapping[str, str]) -> None:
    """Wait for the last record of each source. A source runs one impl at a time, so its other records ended before."""
    deadline = time.monotonic() + TIMEOUT_S
    for source, download_id in latest.items():
        while True:
            record = contender.get_record(source, download_id)
            if record is not None and record["state"] in TERMINAL_STATES:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{source}: {record}")
            time.sleep(POLL_S)


def _verify(contender: Contender, downloads: int) -> None:
    """Check that every download has one record, which succeeded with the path that the impl returned."""
    records = contender.records()
    ids = {record["id"] for record in records}
    if not len(records) == len(ids) == downloads:
        raise AssertionError(f"{len(records):,} records with {len(ids):,} ids for {downloads:,} downloads")
    wrong = [r for r in records if r["state"] != "Completed, Succeeded" or r["file_path"] != PATH]
    if wrong:
        raise AssertionError(f"{len(wrong):,} records are wrong, such as {wrong[0]}")


FLOOR: Final = (
    "The floor changes ten keys of a dictionary in place, with no lock, and promises nothing. "
    "[anatomy.md](anatomy.md) shows step by step what haulier adds: checks at the call, a step under a lock that a "
    "cancel can win, two clock readings, an attempt that can be fenced, and messages that the one writer applies in "
    "order. The promises need all of it."
)

W1: Final = Workload(
    name="w1",
    title="instant downloads, until all are terminal",
    measure=measure,
    columns=[
        Column("µs/download", "wall_us"),
        Column("downloads/s", "downloads_per_s", ",.0f"),
        Column("CPU µs/download", "cpu_us"),
        Column("dispatch µs", "dispatch_us"),
        Column("switches/download", "switches_per_download", ".2f"),
        Column("peak MiB", "peak_rss_mib", ".0f"),
        Column("x threads", "wall_us", ".2f", against="threads"),
        Column("x pool", "wall_us", ".2f", against="pool"),
        Column("x floor", "wall_us", ".2f", against="floor"),
    ],
    targets=[
        Target("x threads", at_least=15),
        Target("x pool", at_least=3),
        Target("x floor", at_least=0.5, why=FLOOR),
        Target("CPU µs/download", at_most=8),
    ],
    sizes={"downloads": 10_000, "sources": 8},
    smoke_sizes={"downloads": 200, "sources": 8},
    contenders=("threads", "pool", "pool-ids", *IN_MEMORY[2:]),
    bars="wall_us",
)

if __name__ == "__main__":
    sys.exit(main(W1))
