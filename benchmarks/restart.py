"""restart: the time from the crash of a source to its next download's start, minus the back-off. See README.md.

Measures haulier only. In the others nothing survives such a crash, and a pool treats an exception of an impl as its
result.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

import tenacity

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, wait_until
from benchmarks.contenders import TERMINAL_STATES
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main

UNLIMITED: Final = 10**9


def measure(contender: Any, sizes: Mapping[str, int]) -> Sample:
    """Crash the source with every other download. The clock runs from the ``raise`` to the next download's impl."""
    from haulier import RestartPolicy, SourceCrashed, SourcePolicy  # here: other contenders must not import it

    back_off_s = sizes["back-off-ms"] / 1000
    crashes = sizes["crashes"]
    crashed_ns = [0]
    took_us: list[float] = []

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        now = perf_counter_ns()
        if target_id % 2 == 0:
            crashed_ns[0] = perf_counter_ns()
            raise SourceCrashed("its client is broken")
        took_us.append((now - crashed_ns[0]) / 1000 - 1e6 * back_off_s)
        return PATH

    restart = RestartPolicy(UNLIMITED, 1.0, tenacity.wait_fixed(back_off_s))
    contender.engine.register_source("source", SourcePolicy(restart=restart))
    for number in range(2 * crashes):
        contender.dispatch("source", number, "A song", "song.bin", impl)
    wait_until(lambda: all(record["state"] in TERMINAL_STATES for record in contender.records()), every_s=0.05)
    states = [record["state"] for record in contender.records()]
    return {
        **quantiles("start_us", took_us),
        "crashes": states.count("Errored"),
        "lost": 2 * crashes - states.count("Errored") - states.count("Completed, Succeeded"),
        "early": sum(took < 0 for took in took_us),
    }


THREADS: Final = (
    "It is the end of a timed wait and the start of a new thread. Both take longer if the other processor is "
    "asleep: see W3's bare waits. The least value is the time without that. A successor started in advance would "
    "save the second half, but would be a thread that usually waits for nothing."
)

RESTART: Final = Workload(
    name="restart",
    title="from a source's crash to its next download's start, less the back-off",
    measure=measure,
    columns=[
        Column("p50 µs", "start_us@50", ",.0f"),
        Column("p99 µs", "start_us@99", ",.0f"),
        Column("least µs", "start_us@0", ",.0f"),
        Column("crashes", "crashes", ",.0f"),
        Column("lost", "lost", ".0f"),
        Column("early", "early", ".0f"),
    ],
    targets=[Target("p50 µs", at_most=500, why=THREADS), Target("lost", at_most=0), Target("early", at_most=0)],
    sizes={"crashes": 200, "back-off-ms": 5},
    smoke_sizes={"crashes": 5, "back-off-ms": 5},
    contenders=("haulier",),
    others=(),
    curves={"start_us": "from a crash to the next start, less the back-off, µs"},
)

if __name__ == "__main__":
    sys.exit(main(RESTART))
