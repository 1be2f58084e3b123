"""W7: W1 on disk: many instant downloads over a few sources, until all are terminal. See README.md for the rules.

``dispatch`` returns once its download is on disk. So it matters how downloads are dispatched: from one thread, from
eight, or all of a source at once (``dispatch_many``: one commit). Each end is on disk before anybody is notified.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.harness import Column, Sample, Target, Workload, main
from benchmarks.w1 import Run, measure

THREADS: Final = 8


def measure_eight(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """Dispatch one by one, from eight threads at once."""
    run = Run(contender, sizes)

    def dispatch_some(first: int) -> None:
        every = itertools.islice(itertools.cycle(run.sources), run.downloads)
        for number, source in itertools.islice(enumerate(every), first, None, THREADS):
            contender.dispatch(source, number, source, run.filename, run.impl)

    def dispatch() -> None:
        threads = [threading.Thread(target=dispatch_some, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run.measure(dispatch)


def measure_many(contender: Any, sizes: Mapping[str, int]) -> Sample:
    """Dispatch all downloads of a source at once."""
    run = Run(contender, sizes)

    def dispatch() -> None:
        for place, source in enumerate(run.sources):
            targets = range(place, run.downloads, len(run.sources))
            contender.dispatch_many(source, targets, run.filename, run.impl)

    return run.measure(dispatch)


DATABASE: Final = (
    "Two fifths of it are SQLite's own: an `INSERT` that the dispatch waits for and an `UPDATE` for the end, with "
    "an index for each way to find rows ([anatomy.md](anatomy.md)). The rest is the cost of W1, and encoding the "
    "download as text."
)

SYNCING: Final = (
    "huey makes one commit for each download. haulier does the same if they come one by one (`durable`), and is "
    "hardly faster. The ratio shows the gain of one commit for all. Four fifths of the time for `durable` are the "
    "processor's, so the ratio would be greater on a slower disk."
)

W7: Final = Workload(
    name="w7",
    title="instant downloads on disk, until all are terminal",
    measure=measure,
    modes={"eight": measure_eight, "many": measure_many},
    columns=[
        Column("µs/download", "wall_us"),
        Column("downloads/s", "downloads_per_s", ",.0f"),
        Column("CPU µs/download", "cpu_us"),
        Column("dispatch µs", "dispatch_us"),
        Column("peak MiB", "peak_rss_mib", ".0f"),
        Column("x threads", "wall_us", ".2f", against="threads"),
        Column("x huey", "wall_us", ".1f", against="huey-sqlite"),
        Column("x huey, 8 threads", "wall_us", ".1f", against="huey-sqlite:eight"),
    ],
    targets=[Target("x threads", at_least=6, why=DATABASE), Target("x huey", at_least=20, why=SYNCING)],
    sizes={"downloads": 10_000, "sources": 8},
    smoke_sizes={"downloads": 200, "sources": 8},
    quick_sizes={"downloads": 2_000},
    contenders=("threads", "huey-sqlite", "huey-sqlite:eight", "durable", "durable:eight", "durable:many"),
    others=(*CONTENDERS, "durable-once:many"),
    subject="durable:many",
    bars="wall_us",
)

if __name__ == "__main__":
    sys.exit(main(W7))
