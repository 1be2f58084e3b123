"""W7: W1 on disk: many instant downloads over a few sources, until all are terminal. See README.md for the rules.

A durable contender takes them with one commit for each source, and has each end on disk before anybody hears of it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import Contender
from benchmarks.harness import Column, Sample, Target, Workload, main
from benchmarks.w1 import Run


def measure(contender: Contender, sizes: Mapping[str, int]) -> Sample:
    """As W1 does it, with ``dispatch_many`` where there is one."""
    run = Run(contender, sizes)
    many = getattr(contender, "dispatch_many", None)
    if many is None:
        return run.measure(run.dispatch_each)

    def dispatch() -> None:
        for place, source in enumerate(run.sources):
            many(source, range(place, run.downloads, len(run.sources)), run.filename, run.impl)

    return run.measure(dispatch)


W7: Final = Workload(
    name="w7",
    title="instant downloads on disk, until all are terminal",
    measure=measure,
    columns=[
        Column("µs/download", "wall_us"),
        Column("downloads/s", "downloads_per_s", ",.0f"),
        Column("CPU µs/download", "cpu_us"),
        Column("dispatch µs", "dispatch_us"),
        Column("peak MiB", "peak_rss_mib", ".0f"),
        Column("x threads", "wall_us", ".2f", against="threads"),
    ],
    targets=[Target("x threads", at_least=6)],
    sizes={"downloads": 10_000, "sources": 8},
    smoke_sizes={"downloads": 200, "sources": 8},
    contenders=("threads", "durable"),
    subject="durable",
)

if __name__ == "__main__":
    sys.exit(main(W7))
