"""W6: cancel one of ten thousand queued: when is the cancel visible, and does it ever start? See README.md."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clients import PATH, Held, wait_until
from benchmarks.contenders import TERMINAL_STATES, WITH_CANCEL, Manageable
from benchmarks.figures import quantiles
from benchmarks.harness import Column, Sample, Target, Workload, main


def measure(contender: Manageable, sizes: Mapping[str, int]) -> Sample:
    """Time the cancel of one in ten while the source is blocked; then cancel others while the queue empties."""
    started_ns: dict[str, int] = {}

    def impl(download_id: str, target_id: Any, display_name: str) -> str:
        if target_id is None:
            return held()
        started_ns[download_id] = perf_counter_ns()
        return PATH

    held = Held()
    contender.dispatch("source", None, "held", "held.bin", impl)
    held.await_start()
    ids = [contender.dispatch("source", n, "A song", "song.bin", impl) for n in range(sizes["queued"])]
    chosen = random.Random(7).sample(ids, len(ids) // 5)
    at_rest, in_a_race = chosen[::2], chosen[1::2]

    visible_us, called_us, cancelled_ns = [], [], {}
    for download_id in at_rest:
        began = perf_counter_ns()
        if not contender.cancel_download("source", download_id):
            raise AssertionError("it waits, and cannot be cancelled")
        called = perf_counter_ns()
        while contender.get_record("source", download_id)["state"] != "Cancelled":  # type: ignore[index]
            pass
        visible_us.append((perf_counter_ns() - began) / 1000)
        called_us.append((called - began) / 1000)
        cancelled_ns[download_id] = called

    held.let_go()
    for download_id in in_a_race:
        if contender.cancel_download("source", download_id):
            cancelled_ns[download_id] = perf_counter_ns()
    wait_until(lambda: all(record["state"] in TERMINAL_STATES for record in contender.records()), every_s=0.05)
    never = len(cancelled_ns.keys() - started_ns.keys())
    after_all = sum(started_ns.get(download_id, 0) > ns for download_id, ns in cancelled_ns.items())
    wrong = [r for r in contender.records() if r["id"] in cancelled_ns and r["state"] != "Cancelled"]
    if wrong:
        raise AssertionError(f"{len(wrong)} were cancelled and are not, such as {wrong[0]}")
    return {
        **quantiles("visible_us", visible_us),
        **quantiles("call_us", called_us),
        "cancelled": len(cancelled_ns),
        "never_started": never,
        "started_after_all": after_all,
    }


ASKING: Final = (
    "The call takes some µs, and after it the download cannot start. To read the cancel takes one question to the "
    "store, which wakes one thread. On a virtual machine whose other processor is asleep the wake-up takes this "
    "long; W3's bare waits show it, too."
)

W6: Final = Workload(
    name="w6",
    title="cancel of one of ten thousand queued",
    measure=measure,
    columns=[
        Column("visible p50 µs", "visible_us@50", ".1f"),
        Column("p99 µs", "visible_us@99", ".1f"),
        Column("call p50 µs", "call_us@50", ".1f"),
        Column("cancelled", "cancelled", ",.0f"),
        Column("started after all", "started_after_all", ".0f"),
        Column("x threads", "visible_us@50", ".2f", against="threads"),
    ],
    targets=[Target("visible p50 µs", at_most=30, why=ASKING), Target("started after all", at_most=0)],
    sizes={"queued": 10_000},
    smoke_sizes={"queued": 200},
    contenders=WITH_CANCEL,
    others=("durable",),
    bars="visible_us@50",
    curves={"visible_us": "from the cancel until a reader sees it, µs"},
)

if __name__ == "__main__":
    sys.exit(main(W6))
