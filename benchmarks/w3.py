"""W3: the delay between two downloads of a source: how late is the next one, and is it ever early? See README.md."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, wait_until
from benchmarks.contenders import WITH_CANCEL, Manageable
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main


def measure(contender: Manageable, sizes: Mapping[str, int]) -> Sample:
    """Measure the delays. Impls note when they begin and when they return. Sources always have work."""
    delay_s = sizes["delay-ms"] / 1000
    names = [f"source-{number}" for number in range(sizes["sources"])]
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    done = itertools.count(1).__next__
    counted = [0]

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        began = monotonic()
        counted[0] = done()
        spans[display_name].append((began, monotonic()))
        return PATH

    for name in names:
        contender.set_delay(name, delay_s)
    for _, name in itertools.product(range(sizes["downloads"]), names):
        contender.dispatch(name, None, name, "song.bin", impl)
    wait_until(lambda: sum(map(len, spans.values())) >= sizes["downloads"] * len(names), every_s=0.01)
    late_us = [
        1e6 * (begins - ended - delay_s)
        for of_source in spans.values()
        for (_, ended), (begins, _) in itertools.pairwise(of_source)
    ]
    return {**quantiles("late_us", late_us), "early": sum(late < 0 for late in late_us)}


def measure_waits(_: object, sizes: Mapping[str, int]) -> Sample:
    """Measure what the machine allows, with as many threads that only wait for the end of a delay, as slots do."""
    from haulier._threads.timers import sharpen_timers  # here: other contenders must not import it

    delay_s = sizes["delay-ms"] / 1000
    late_us: list[float] = []

    def wait() -> None:
        sharpen_timers()
        rings: SimpleQueue[None] = SimpleQueue()
        for _ in range(sizes["downloads"]):
            due = monotonic() + delay_s
            with suppress(Empty):
                rings.get(timeout=delay_s)
            late_us.append(1e6 * (monotonic() - due))

    threads = [threading.Thread(target=wait) for _ in range(sizes["sources"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {**quantiles("late_us", late_us), "early": sum(late < 0 for late in late_us)}


WAITS: Final = (
    "Timed waits of this machine take that long by themselves: the row `floor:wait` has eight threads that only "
    "wait. A loop that watches the clock would be more exact, but would use a whole processor of a daemon that only "
    "waits."
)

W3: Final = Workload(
    name="w3",
    title="how late a delay ends, with eight busy sources",
    measure=measure,
    columns=[
        Column("late p50 µs", "late_us@50", ",.0f"),
        Column("p99 µs", "late_us@99", ",.0f"),
        Column("least µs", "late_us@0", ",.0f"),
        Column("early", "early", ".0f"),
        Column("x threads", "late_us@50", ".2f", against="threads"),
        Column("x pool", "late_us@50", ".2f", against="pool"),
        Column("x bare wait", "late_us@50", ".2f", against="floor:wait"),
    ],
    targets=[Target("late p50 µs", at_most=50, why=WAITS), Target("early", at_most=0)],
    sizes={"downloads": 200, "sources": 8, "delay-ms": 10},
    smoke_sizes={"downloads": 5, "sources": 8, "delay-ms": 10},
    contenders=(*WITH_CANCEL, "floor:wait"),
    others=("durable",),
    modes={"wait": measure_waits},
    bars="late_us@50",
    curves={"late_us": "how much later than its delay a download starts, µs"},
)

if __name__ == "__main__":
    sys.exit(main(W3))
