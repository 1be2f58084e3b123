"""What a run came to, in numbers: each is defined here, and computed from the course of the run alone."""

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
    """One source. ``throughput``: its successes per second, from its first arrival to its last end."""

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
    """A whole run.

    - ``makespan_s``: from the first dispatch to the last end of an attempt.
    - ``throughput``: downloads that succeeded, per second of the makespan.
    - ``wait_…_s``: of each download that started, from its dispatch to its first start. Further attempts do not count.
    - ``fairness``: Jain's index over the sources, of their throughputs: 1 where all are the same, ``1/n`` where one of
      ``n`` has all.
    - ``utilisation``: seconds that impls ran, as a share of slots times makespan.
    - ``attempts`` that were started, ``retries`` among them; ``restarts``: crashes, after each of which the source is
      started again.
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
    """The numbers of a run."""
    started: dict[str, float] = {}
    for bar in course.bars:
        started[bar.download_id] = min(bar.start, started.get(bar.download_id, bar.start))
    # Clocks are read one after the other: a start may seem to come before its dispatch by less than they can tell.
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
    """Between the two values next to ``share`` of the way through, in proportion; 0 where there is none."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: ``(Σx)² / (n Σx²)``. 1 where there is nothing to share."""
    most = max(values, default=0.0)
    if most <= 0:
        return 1.0
    shares = [value / most for value in values]  # else the squares of tiny ones are 0
    return fsum(shares) ** 2 / (len(shares) * fsum(share * share for share in shares))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
