"""Read the course of a run from its trace: when each attempt ran, in which lane, and why lanes were free."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any, Literal, NamedTuple

from haulier.records import Phase

__all__ = ["Bar", "Course", "Gap", "course"]

BarEnding = Literal["succeeded", "failed", "retried", "crashed", "open"]


class Bar(NamedTuple):
    """One attempt in the lane of a slot. All times are seconds since the first dispatch."""

    source: str
    lane: int
    """Starts at 0. The lowest lane that was free: a trace does not name the threads."""
    download_id: str
    attempt: int
    start: float
    end: float
    ending: BarEnding


class Gap(NamedTuple):
    """A time in which a lane was free: for a ``delay``, or for a ``rest`` after a crash.

    A delay is drawn in the lane in which the waiting download then ran.
    """

    source: str
    lane: int
    start: float
    end: float
    kind: Literal["delay", "rest"]


@dataclass
class Course:
    """The course of one run. Times are seconds since the first dispatch."""

    slots: dict[str, int] = field(default_factory=dict)
    """The concurrency of each source."""
    arrivals: dict[str, float] = field(default_factory=dict)
    """When the dispatch of each download began, by id."""
    sources: dict[str, str] = field(default_factory=dict)
    """The source of each download, by id."""
    phases: dict[str, str] = field(default_factory=dict)
    """The last phase of each download, by id."""
    bars: list[Bar] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    @property
    def makespan_s(self) -> float:
        """The seconds from the first dispatch to the last end of an attempt."""
        return max((bar.end for bar in self.bars), default=0.0)


@dataclass
class _Attempt:
    source: str
    download_id: str
    number: int
    start: float
    end: float = inf
    crashed: bool = False
    freed: float = inf
    """When the slot was free again. Its next start may precede the line about the end, but never this time."""


def course(lines: Iterable[str], *, restart_s: float = 0.0, retry_s: float = 0.0) -> Course:
    """Read the trace of one engine.

    ``restart_s``, ``retry_s``: the seconds before a restart after a crash, and before a retry. Raises ``ValueError`` if
    the lines are not a trace.
    """
    notes = [json.loads(line) for line in lines]
    began = min((each["began"] for each in notes if each["event"] == "queued"), default=0.0)
    read = Course()
    delays: dict[str, Mapping[str, Any]] = {}
    attempts: list[_Attempt] = []
    running: dict[str, _Attempt] = {}
    for each in notes:
        event, download_id = each["event"], each.get("id", "")
        if event == "rules":
            read.slots[each["source"]] = each["limit"]
            delays[each["source"]] = each
        elif event == "queued":
            read.arrivals[download_id] = each["began"] - began
            read.sources[download_id] = each["source"]
        elif event == "start":
            attempt = _Attempt(each["source"], download_id, each["attempt"], each["stamped"] - began)
            running[download_id] = attempt
            attempts.append(attempt)
        elif event == "over":
            read.phases[download_id] = each["phase"]
        elif event in ("returned", "end", "fell") and download_id in running:
            attempt = running[download_id]
            if event == "fell":
                attempt.crashed = True
            attempt.end = min(attempt.end, each["at"] - began)
            attempt.freed = each.get("stamped", each["at"]) - began
    attempts.sort(key=lambda attempt: attempt.start)
    _lay(read, attempts, restart_s)
    of_source: dict[str, list[Bar]] = {}
    for bar in read.bars:
        of_source.setdefault(bar.source, []).append(bar)
    for source, rules in delays.items():
        if rules["delay"] > 0:
            _lay_delays(read, of_source.get(source, []), restart_s, retry_s, from_end=rules["from"] == "end")
    return read


def _lay(read: Course, attempts: list[_Attempt], restart_s: float) -> None:
    last_number = {attempt.download_id: attempt.number for attempt in attempts}
    last_end = max((attempt.end for attempt in attempts if attempt.end < inf), default=0.0)
    free: dict[str, list[float]] = {}
    rested: dict[tuple[str, int], float] = {}
    for attempt in attempts:
        lanes = free.setdefault(attempt.source, [0.0] * read.slots.get(attempt.source, 1))
        fitting = [lane for lane, since in enumerate(lanes) if since <= attempt.start]
        if not fitting:  # the limit was changed during the run
            lanes.append(0.0)
            fitting = [len(lanes) - 1]
        # Prefer a lane that does not rest. A rest is drawn slightly late: the crash came before its line.
        well = [each for each in fitting if rested.get((attempt.source, each), 0.0) <= attempt.start]
        lane = (well or fitting)[0]
        lanes[lane] = attempt.freed
        ending = _ending(attempt, last_number[attempt.download_id], read.phases.get(attempt.download_id))
        end = min(attempt.end, max(last_end, attempt.start))
        bar = Bar(attempt.source, lane, attempt.download_id, attempt.number, attempt.start, end, ending)
        read.bars.append(bar)
        if attempt.crashed and restart_s:
            read.gaps.append(Gap(bar.source, lane, end, end + restart_s, "rest"))
            rested[bar.source, lane] = end + restart_s


def _ending(attempt: _Attempt, last: int, phase: str | None) -> BarEnding:
    if attempt.crashed:
        return "crashed"
    if attempt.number < last:
        return "retried"
    if phase == Phase.SUCCEEDED:
        return "succeeded"
    return "open" if phase is None or attempt.end == inf else "failed"


def _lay_delays(read: Course, bars: Sequence[Bar], restart_s: float, retry_s: float, *, from_end: bool) -> None:
    """Add the gaps in which a start waited for its delay, from the end (or start) that the delay counts from."""
    since = -inf
    ends: list[float] = []
    """A heap of the ends of started attempts that do not count for the delay yet."""
    lane_free: dict[int, float] = {}
    tried: dict[str, float] = {}
    for bar in bars:
        while from_end and ends and ends[0] <= bar.start:
            since = max(since, heappop(ends))
        ready = tried.get(bar.download_id, read.arrivals.get(bar.download_id, 0.0))
        begins = max(since, lane_free.get(bar.lane, 0.0), ready)
        if -inf < since and begins < bar.start:
            read.gaps.append(Gap(bar.source, bar.lane, begins, bar.start, "delay"))
        since = max(since, bar.start)
        heappush(ends, bar.end)
        tried[bar.download_id] = bar.end + retry_s
        lane_free[bar.lane] = bar.end + (restart_s if bar.ending == "crashed" else 0.0)
