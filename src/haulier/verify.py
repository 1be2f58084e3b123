"""Check a trace (see ``haulier.trace``) for the first line that shows that an engine broke a promise.

``verify`` shares no code with the engine. For each source it checks that

- never more downloads run at once than the limit allowed when a start was decided, and only one after a suspension;
- no download starts while the source is paused or suspended, or before the delay since the last end (or start) has
  passed. With a limit of 1 the delay counts from the return of the impl, else from the report of its slot;
- no download starts once it was withdrawn, cancelled or has ended, and none runs twice at once;
- downloads start in the order of their dispatch;
- every download ends once. When the engine is closed, each has ended or is kept for the next engine;
- a download that ended with one engine does not start with a later engine on the same store;
- no download succeeds that did not start, and none starts at a source whose rules are unknown.

An event that is unknown is a violation too: nobody could say what it means for the promises.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from haulier._trace_lines import Line, no_trace, parsed

__all__ = ["Report", "Violation", "verify"]

_KEPT: Final = 256  # how many starts and ends of a source a new start is checked against


class Violation(Exception):
    """The engine broke a promise: ``line`` contradicts ``before``, an earlier line, if there is one."""

    def __init__(self, what: str, line: Line, before: Line | None = None) -> None:
        self.what, self.line, self.before = what, line, before
        lines = (str(each) for each in (before, line) if each is not None)
        super().__init__("\n  ".join([what, *lines]))


@dataclass
class Report:
    """What a trace without a violation contains."""

    runs: int = 0
    sources: int = 0
    downloads: int = 0
    attempts: int = 0
    open: int = 0  # downloads that had not ended when the trace did: the engine was killed, or still runs


def verify(lines: Iterable[str]) -> Report:
    """Check the trace of one engine or of several. Raises ``Violation``, or ``ValueError`` if it is not a trace."""
    runs: dict[str, _Run] = {}
    ended: dict[str, dict[str, Line]] = {}
    for line in parsed(lines):
        if (name := line.values["run"]) not in runs:
            runs[name] = _Run(ended)
        runs[name].see(line)
    report, downloads = Report(runs=len(runs)), set()
    for run in runs.values():
        downloads |= run.finish(report)
    report.downloads = len(downloads)
    report.open = sum(download_id not in ended[source] for source, download_id in downloads)
    return report


class _Run:
    """What the trace says of one engine."""

    def __init__(self, ended: dict[str, dict[str, Line]]) -> None:
        """``ended``: the line with which each download ended, by source and id, of all engines."""
        self._sources: dict[str, _Source] = {}
        self._closed: Line | None = None
        self._ended = ended

    def see(self, line: Line) -> None:
        event = line.values["event"]
        if event == "closed":
            self._closed = line
        elif event != "opened":
            if f"_on_{event}" not in _Source.__dict__:
                raise Violation(f"unknown event {event!r}", line)
            try:
                source = line.values["source"]
                if source not in self._sources:
                    self._sources[source] = _Source(self._ended.setdefault(source, {}))
                self._sources[source].see(line)
            except (KeyError, TypeError):
                raise no_trace(line) from None  # a value is missing, or of another type

    def finish(self, report: Report) -> set[tuple[str, str]]:
        """End the trace. Returns the source and id of each of the engine's downloads."""
        report.sources += len(self._sources)
        for source in self._sources.values():
            source.finish(self._closed)
            report.attempts += source.attempts
        return {(name, each) for name, source in self._sources.items() for each in source.queued}


@dataclass
class _Source:
    """What the trace says of one source of one engine."""

    ended: dict[str, Line]  # ended, with this engine or an earlier one
    queued: dict[str, Line] = field(default_factory=dict)
    attempts: int = 0
    _rules: list[Line] = field(default_factory=list)
    _in_flight: dict[str, Line] = field(default_factory=dict)
    _begun: dict[str, Line] = field(default_factory=dict)  # the starts of attempts without an end yet
    _given_up: dict[str, Line] = field(default_factory=dict)
    _gone: dict[str, Line] = field(default_factory=dict)  # withdrawn or cancelled
    _removed: dict[str, Line] = field(default_factory=dict)  # mostly long after the end
    _kept: set[str] = field(default_factory=set)  # the engine is closed, and the next one resumes them
    _started: set[str] = field(default_factory=set)
    _called: set[str] = field(default_factory=set)  # their impls, by this engine
    _waiting: list[tuple[float, str]] = field(default_factory=list)  # a heap; some have started or are gone since
    _overtaken: dict[str, Line] = field(default_factory=dict)
    """Downloads that wait although a later one has started. Their own start may have been decided before that."""
    _ends: deque[Line] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _starts: deque[Line] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _returned: Line | None = None
    _suspended: Line | None = None
    _probe: str | None = None  # after a suspension: the download that must run alone; '' before one has started

    def see(self, line: Line) -> None:
        getattr(self, f"_on_{line.values['event']}", lambda _: None)(line)

    def _on_rules(self, line: Line) -> None:
        self._rules.append(line)

    def _on_queued(self, line: Line) -> None:
        download_id = line.values["id"]
        if download_id in self.queued:
            raise Violation(f"{download_id} is queued twice", line, self.queued[download_id])
        self.queued[download_id] = line
        if download_id not in self._started and download_id not in self._gone:
            heapq.heappush(self._waiting, (line.values["at"], download_id))

    def _on_found(self, line: Line) -> None:
        download_id = line.values["id"]
        self.queued[download_id] = Line(line.number, line.text, {**line.values, "began": line.values["at"]})
        if line.values["attempts"]:
            self._started.add(download_id)  # with an earlier engine: a retry need not wait for those before it
        else:
            heapq.heappush(self._waiting, (line.values["at"], download_id))

    def _on_refused(self, line: Line) -> None:
        self.queued.pop(line.values["id"], None)
        self._gone[line.values["id"]] = line

    def _on_taken_back(self, line: Line) -> None:
        self._started.add(line.values["id"])  # its impl was not called: one that came later may have started before it
        self._overtaken.pop(line.values["id"], None)

    def _on_kept(self, line: Line) -> None:
        self._kept.add(line.values["id"])

    def _on_start(self, line: Line) -> None:
        download_id = line.values["id"]
        self.attempts += 1
        gone = (
            ("was withdrawn or cancelled", self._gone), ("was given up on", self._given_up), ("has ended", self.ended),
            ("was removed", self._removed),
        )  # fmt: skip
        for what, seen in gone:
            if download_id in seen and _is_before(seen[download_id], line):
                raise Violation(f"{download_id} {what}, but starts", line, seen[download_id])
        if download_id in self._in_flight:
            raise Violation(f"{download_id} runs twice at once", line, self._in_flight[download_id])
        self._check_rules(line)
        self._check_suspension(line)
        if download_id not in self._started:
            self._started.add(download_id)
            self._check_order(line)
        self._starts.append(line)
        self._called.add(download_id)
        if download_id not in self._given_up:  # else it was given up on before its start was noted: it does not count
            self._in_flight[download_id] = self._begun[download_id] = line
            self._check_limit(line)

    def _check_rules(self, line: Line) -> None:
        rules = self._rules_at(line.values["taken"])
        if rules is None:
            raise Violation("a start before the rules of the source are known", line)
        if rules.values["paused"]:
            raise Violation("a start while the source is paused", line, rules)
        later = [each for each in self._rules if line.values["taken"] < each.values["at"] <= line.values["stamped"]]
        # New rules apply at once, also to a start decided by the old ones. That start has to obey either.
        early = [self._too_early(line, each) for each in (rules, *later)]
        if early[0] is not None and all(early):
            raise early[0]

    def _rules_at(self, at: float) -> Line | None:
        return next((each for each in reversed(self._rules) if each.values["at"] <= at), None)

    def _check_limit(self, line: Line) -> None:
        """Check the limit when the start of ``line`` was decided, and at later decisions that were noted before."""
        taken = sorted(each.values["taken"] for each in self._in_flight.values())
        for number, at in enumerate(taken, 1):
            rules = self._rules_at(at) if at >= line.values["taken"] else None
            if rules is not None and number > rules.values["limit"]:
                oldest = min(self._in_flight.values(), key=lambda each: each.number)
                raise Violation(f"{number} run at once, but the limit is {rules.values['limit']}", line, oldest)

    def _too_early(self, line: Line, rules: Line) -> Violation | None:
        delay, stamped, taken = rules.values["delay"], line.values["stamped"], line.values["taken"]
        # Two slots may note their starts in another order than that in which they started.
        gaps = [(each.values["stamped"], stamped, each) for each in self._starts if each.values["stamped"] <= stamped]
        if rules.values["from"] == "end":
            # The start could not have waited for an end after its decision.
            ends = [(each.values.get("stamped", each.values["at"]), each) for each in self._ends]
            if rules.values["limit"] == 1 and self._returned is not None:
                ends.append((self._returned.values["at"], self._returned))
            gaps += [(at, line.values["at"], each) for at, each in ends if at <= taken]
        for since, at, before in gaps:
            if at < since + delay:  # added, as the engine does: 3.3 - 3 is less than 0.3
                return Violation(f"{at - since:.6f} s after the one before, but the delay is {delay:g} s", line, before)
        return None

    def _check_suspension(self, line: Line) -> None:
        suspended = self._suspended
        # A slot may take its next download just before its suspension is noted: that is late enough to be checked.
        if suspended is None or line.values["taken"] < min(suspended.values["at"], suspended.values["until"]):
            return
        if line.values["taken"] < suspended.values["until"]:
            raise Violation("a start before the suspension ends", line, suspended)
        if self._probe is not None and self._in_flight and line.values["id"] not in self._given_up:
            raise Violation("after a suspension one must run alone", line, next(iter(self._in_flight.values())))
        if self._probe == "":
            self._probe = line.values["id"]

    def _check_order(self, line: Line) -> None:
        download_id, taken = line.values["id"], line.values["taken"]
        overtaker = self._overtaken.pop(download_id, None)
        if overtaker is not None and overtaker.values["taken"] < taken:
            raise Violation(f"{overtaker.values['id']} started before {download_id}, which came first", line, overtaker)
        began = self.queued[download_id].values["began"] if download_id in self.queued else -inf
        while self._waiting:
            at, first = self._waiting[0]
            if first not in self._started and first not in self._gone:
                if at >= began:
                    break
                self._overtaken.setdefault(first, line)
            heapq.heappop(self._waiting)

    def _on_returned(self, line: Line) -> None:
        if self._in_flight.pop(line.values["id"], None) is not None:  # else it was given up on
            self._returned = line

    def _on_end(self, line: Line) -> None:
        start, suspended = self._ended(line), self._suspended
        if self._probe is None or suspended is None or start is None:
            return
        # Any impl called after the suspension shows that it has ended, even if that start was decided before.
        if self._probe == line.values["id"] or start.values["stamped"] >= suspended.values["until"]:
            self._probe = None

    def _on_gave_up(self, line: Line) -> None:
        self._given_up[line.values["id"]] = line
        self._died(line)

    def _on_fell(self, line: Line) -> None:
        if line.values["id"] not in self._given_up:  # else the slot had been given up on
            self._died(line)

    def _died(self, line: Line) -> None:
        self._ended(line)
        if self._probe == line.values["id"]:
            self._probe = ""  # a slot that died proves nothing: the next start is the probe

    def _ended(self, line: Line) -> Line | None:
        self._ends.append(line)
        self._in_flight.pop(line.values["id"], None)
        return self._begun.pop(line.values["id"], None)

    def _on_suspended(self, line: Line) -> None:
        if self._suspended is None or line.values["until"] > self._suspended.values["until"]:
            self._suspended = line
        self._probe = ""

    def _on_withdrawn(self, line: Line) -> None:
        download_id = line.values["id"]
        self._gone[download_id] = line
        overtaker = self._overtaken.pop(download_id, None)
        if overtaker is not None and overtaker.values["taken"] < line.values["at"]:
            raise Violation(f"{overtaker.values['id']} started before {download_id}, which came first", line, overtaker)

    def _on_cancelled(self, line: Line) -> None:
        self._gone[line.values["id"]] = line

    def _on_removed(self, line: Line) -> None:
        self._removed[line.values["id"]] = line

    def _on_over(self, line: Line) -> None:
        download_id = line.values["id"]
        if download_id in self.ended:
            raise Violation(f"{download_id} ended twice", line, self.ended[download_id])
        if line.values.get("phase") == "succeeded" and download_id not in self._called:
            raise Violation(f"{download_id} succeeded, but has not started", line, self.queued.get(download_id))
        self.ended[download_id] = line

    def finish(self, closed: Line | None) -> None:
        """Check that every download has ended or is kept. ``closed``: the line that says the engine closed, if any."""
        if closed is None:
            return
        for download_id, line in self.queued.items():
            # A download in flight whose impl closed the engine ends after the trace. A download whose cancel was
            # interrupted has no end, if its record was removed before the audit.
            ended = download_id in self.ended or download_id in self._removed
            if not (ended or download_id in self._in_flight or download_id in self._kept):
                raise Violation(f"{download_id} has not ended, but the engine is closed", closed, line)


def _is_before(seen: Line, start: Line) -> bool:
    """Whether ``seen`` came before the start was decided. The clocks of two engines cannot be compared."""
    return bool(seen.values["run"] != start.values["run"] or seen.values["at"] <= start.values["taken"])
