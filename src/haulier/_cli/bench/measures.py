"""Define the numbers of a run and compute them from its course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import floor, fsum
from typing import Any

from haulier._cli.bench.course import Bar, Course
from haulier.records import Phase

__all__ = ["Measures", "SourceMeasures", "jain", "measure", "quantile"]


@dataclass(frozen=True)
class SourceMeasures:
    """The numbers of one source. ``throughput``: succeeded downloads per second, from first arrival to last end."""

    name: str
    slots: int
    downloads: int
    succeeded: int
    failed: int
    restarts: int
    throughput: float
    wait_mean_s: float
    wait_p95_s: float
    utilisation: float


@dataclass(frozen=True)
class Measures:
    """The numbers of a run.

    - ``makespan_s``: from the first dispatch to the last end of an attempt.
    - ``throughput``: succeeded downloads per second of the makespan.
    - ``wait_…_s``: seconds from the dispatch of a download to its first start. Retries do not count.
    - ``fairness``: Jain's index of the throughputs of the sources. 1: all are equal; ``1/n``: one of ``n`` has all.
    - ``utilisation``: the seconds in which impls ran, divided by slots times makespan.
    - ``attempts``: all starts; ``retries`` are those after the first start of a download.
    - ``restarts``: the number of crashes. Each crashed slot is started again.
    """

    downloads: int
    succeeded: int
    failed: int
    attempts: int
    retries: int
    restarts: int
    makespan_s: float
    throughput: float
    wait_mean_s: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    wait_max_s: float
    fairness: float
    utilisation: float
    sources: tuple[SourceMeasures, ...]

    def as_dict(self) -> dict[str, Any]:
        """The measures as a dict of plain values, for JSON."""
        return asdict(self)


def measure(course: Course) -> Measures:
    """Compute the numbers of a run."""
    started: dict[str, float] = {}
    for bar in course.bars:
        started[bar.download_id] = min(bar.start, started.get(bar.download_id, bar.start))
    # Two clock readings may differ by their resolution, so a start can seem to precede its dispatch.
    waits = {each: max(0.0, at - course.arrivals.get(each, at)) for each, at in started.items()}
    makespan_s = course.makespan_s
    ids: dict[str, list[str]] = {name: [] for name in course.slots}
    bars: dict[str, list[Bar]] = {name: [] for name in course.slots}
    for each, source in course.sources.items():
        ids[source].append(each)
    for bar in course.bars:
        bars[bar.source].append(bar)
    sources = tuple(_of_source(course, name, ids[name], bars[name], waits) for name in course.slots)
    every = sorted(waits.values())
    busy_s = fsum(bar.end - bar.start for bar in course.bars)
    succeeded = sum(phase == Phase.SUCCEEDED for phase in course.phases.values())
    return Measures(
        downloads=len(course.arrivals),
        succeeded=succeeded,
        failed=sum(phase == Phase.FAILED for phase in course.phases.values()),
        attempts=len(course.bars),
        retries=len(course.bars) - len(started),
        restarts=sum(bar.ending == "crashed" for bar in course.bars),
        makespan_s=makespan_s,
        throughput=_ratio(succeeded, makespan_s),
        wait_mean_s=_ratio(fsum(every), len(every)),
        wait_p50_s=quantile(every, 0.5),
        wait_p95_s=quantile(every, 0.95),
        wait_p99_s=quantile(every, 0.99),
        wait_max_s=quantile(every, 1.0),
        fairness=jain([source.throughput for source in sources if source.downloads]),
        utilisation=_ratio(busy_s, sum(course.slots.values()) * makespan_s),
        sources=sources,
    )


def _of_source(
    course: Course, name: str, ids: Sequence[str], bars: Sequence[Bar], waits: dict[str, float]
) -> SourceMeasures:
    mine = sorted(waits[each] for each in ids if each in waits)
    phases = [course.phases.get(each) for each in ids]
    first, last = min((course.arrivals[each] for each in ids), default=0.0), max((bar.end for bar in bars), default=0.0)
    busy_s = fsum(bar.end - bar.start for bar in bars)
    return SourceMeasures(
        name=name,
        slots=course.slots[name],
        downloads=len(ids),
        succeeded=phases.count(Phase.SUCCEEDED),
        failed=phases.count(Phase.FAILED),
        restarts=sum(bar.ending == "crashed" for bar in bars),
        throughput=_ratio(phases.count(Phase.SUCCEEDED), last - first),
        wait_mean_s=_ratio(fsum(mine), len(mine)),
        wait_p95_s=quantile(mine, 0.95),
        utilisation=_ratio(busy_s, course.slots[name] * course.makespan_s),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile ``share`` of the sorted values, with linear interpolation. 0 if there are no values."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: ``(Σx)² / (n Σx²)``. 1 if all values are 0, or if there are none."""
    most = max(values, default=0.0)
    if most <= 0:
        return 1.0
    shares = [value / most for value in values]  # otherwise the squares of tiny values become 0
    return fsum(shares) ** 2 / (len(shares) * fsum(share * share for share in shares))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
