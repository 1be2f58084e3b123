"""A busy program, killed again and again: nothing acknowledged is lost, nothing runs twice, nothing is stuck.

``HAULIER_KILLS=1000`` kills it so often, in each of the runs here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from haulier.verify import verify

PROGRAM = Path(__file__).parent / "programs" / "killed.py"
KILLS = int(os.environ.get("HAULIER_KILLS", "24"))
SECONDS_A_KILL = 2.0
"""Longer than one takes, on a busy machine too."""

LIMITS = {"wide": 3, "starts": 2, "flaky": 2, "resumes": 2, "once": 2}
DELAYS = {"polite": 0.03, "starts": 0.02, "throttled": 0.005, "resumes": 0.002, "once": 0.002}
AT_MOST_ONCE = {"once", "twice"}
CLOCKS_S = 0.001
"""What the clock on the wall may be off against the other one between two lines."""
INTERRUPTED = "interrupted: the program ended while it ran"

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.timeout(60 + KILLS * SECONDS_A_KILL),
]


class Run(NamedTuple):
    """An impl was called."""

    id: str
    source: str
    attempt: int
    pid: str
    on: float


@dataclass
class Judge:
    """Reads the log of all processes, line by line; what must never happen fails at once."""

    final: dict[str, dict[str, Any]]
    acknowledged: dict[str, str] = field(default_factory=dict)
    by_caller: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    running: dict[str, Run] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    ends: dict[Run, float] = field(default_factory=dict)
    came: dict[Run, str] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    over_in: dict[str, str] = field(default_factory=dict)
    wanted_gone: set[str] = field(default_factory=set)
    """What somebody began to cancel."""
    cancelled_in: dict[str, str] = field(default_factory=dict)
    """In which process ``cancel_download`` returned True."""
    suspensions: list[tuple[str, str, float]] = field(default_factory=list)
    pid: str = ""
    lives: int = 0
    closing: float | None = None
    """When (UTC) the engine of this process began to close."""

    def read(self, line: str) -> None:
        word, *rest = line.split()
        getattr(self, f"on_{word}")(*rest)

    def on_opened(self, pid: str, _: str) -> None:
        assert not self.running, "the process before is gone"
        self.pid = pid
        self.lives += 1
        self.closing = None

    def on_ack(self, source: str, caller: str, *ids: str) -> None:
        self.acknowledged.update(dict.fromkeys(ids, source))
        self.by_caller[source, caller] += ids

    def on_start(self, download_id: str, source: str, attempt: str, pid: str, on: str) -> None:
        run = Run(download_id, source, int(attempt), pid, float(on))
        assert pid == self.pid, f"{run} in a process that is gone"
        assert download_id not in self.running, f"{run} runs twice at once: {self.running[download_id]}"
        # What ends it in the moment of its start may be heard first: within a process the trace is the judge.
        assert self.over_in.get(download_id, pid) == pid, f"{run} was reported to be over, {self.over[download_id]}"
        assert self.cancelled_in.get(download_id, pid) == pid, f"{run} was cancelled"
        if source in AT_MOST_ONCE:
            earlier = [each for each in self.runs if each.id == download_id]
            assert run.attempt not in [each.attempt for each in earlier], f"{run} ran before: {earlier}"
            assert all(each in self.ends and self.came[each] != "landed" for each in earlier), f"{run}: {earlier}"
            assert not any(self.was_killed(each) for each in earlier), f"{run} again, after a kill: {earlier}"
        self.check_spacing(run)
        self.running[download_id] = run
        self.runs.append(run)
        at_once = sum(each.source == source for each in self.running.values())
        assert at_once <= LIMITS.get(source, 1), f"{at_once} at once: {run}"

    def was_killed(self, run: Run) -> bool:
        """Whether its process was gone before it ended."""
        return run not in self.came

    def check_spacing(self, run: Run) -> None:
        """Against what earlier processes did; what one does by itself is for the verifier."""
        for source, pid, until in self.suspensions:
            assert source != run.source or pid == run.pid or run.on >= until - CLOCKS_S, f"{run} in a suspension"
        delay = DELAYS.get(run.source, 0.0)
        for before in self.runs[-50:] if delay else ():
            if before.source == run.source and before.pid != run.pid and self.is_known(before, run):
                since = before.on if run.source == "starts" else self.ends[before]
                assert run.on - since >= delay - CLOCKS_S, f"{run.on - since} s after {before}: {run}"

    def is_known(self, run: Run, next_: Run) -> bool:
        """Whether its start came to the disk: not where it started again as if it never had, or never did again."""
        again = (next_.id, next_.attempt) == (run.id, run.attempt) or any(
            (each.id, each.attempt) == (run.id, run.attempt) and each.pid != run.pid for each in self.future(run)
        )
        return not again and run.attempt in dict(self.final[run.id]["attempts"])

    def future(self, run: Run) -> list[Run]:
        return ALL_RUNS.get(run.id, [])

    def on_end(self, download_id: str, source: str, attempt: str, pid: str, on: str, came: str) -> None:
        run = self.running.pop(download_id)
        assert (run.source, run.attempt, run.pid) == (source, int(attempt), pid)
        self.ends[run], self.came[run] = float(on), came

    def on_over(self, download_id: str, _: str, phase: str) -> None:
        assert download_id not in self.over, f"{download_id} is over twice"
        self.over[download_id], self.over_in[download_id] = phase, self.pid

    def on_cancels(self, download_id: str) -> None:
        self.wanted_gone.add(download_id)

    def on_cancelled(self, download_id: str) -> None:
        self.cancelled_in[download_id] = self.pid

    def on_suspended(self, source: str, until: str) -> None:
        self.suspensions.append((source, self.pid, float(until)))

    def on_closing(self, pid: str, on: str) -> None:
        self.closing = float(on)

    def on_closed(self, pid: str, on: str) -> None:
        """The engine was closed; what did not notice runs to the end of the process, which is next."""

    def on_gone(self, pid: str, on: str) -> None:
        """What still ran ended now; or when the engine gave it up, which is at the earliest as it began to close."""
        for run in self.running.values():
            self.ends[run] = float(on) if self.closing is None else max(run.on, self.closing)
        self.running.clear()

    # ---- at the end --------------------------------------------------------------------------------------------------

    def sum_up(self) -> None:
        lost = self.acknowledged.keys() - self.final.keys()
        assert not lost, f"acknowledged, and lost: {lost}"
        for download_id, record in self.final.items():
            self.check(download_id, record)
        self.check_order()

    def check(self, download_id: str, record: dict[str, Any]) -> None:
        phase, mine = record["phase"], [run for run in self.runs if run.id == download_id]
        assert self.over.get(download_id, phase) == phase, f"reported {self.over[download_id]}: {record}"
        assert download_id not in self.cancelled_in or phase == "cancelled", record
        numbers = [number for number, _ in record["attempts"]]
        assert numbers == list(range(1, len(numbers) + 1)), record
        assert record["attempt"] in (len(numbers), len(numbers) - 1), record  # a pause of the source spends none
        if phase == "succeeded":
            assert record["file_path"] == f"/{download_id}", record
            assert self.came[mine[-1]] == "landed", record
            assert mine[-1].attempt == record["attempt"], record
        elif phase == "failed":
            assert record["error"] in ("reset", INTERRUPTED, "engine closed"), record
            assert mine or record["error"] == INTERRUPTED, f"it never ran: {record}"
            assert record["source"] != "resumes" or record["error"] != INTERRUPTED, record
            assert record["error"] != "reset" or len(numbers) == 3, record
        else:
            assert phase == "cancelled", record
            assert download_id in self.wanted_gone, record

    def check_order(self) -> None:
        first: dict[str, int] = {}
        for place, run in enumerate(self.runs):
            first.setdefault(run.id, place)
        for (source, _), ids in self.by_caller.items():
            if source in ("plain", "named", "polite"):
                # One that was being cancelled was out of the queue, and may be in it again.
                places = [first[each] for each in ids if each in first and each not in self.wanted_gone]
                assert places == sorted(places), f"{source}: {ids}"


ALL_RUNS: dict[str, list[Run]] = {}


def judge(folder: Path) -> Judge:
    records = json.loads((folder / "records").read_text())
    assert records["left"] == [], "these never end"
    lines = (folder / "log").read_text().splitlines()
    ALL_RUNS.clear()
    for line in lines:
        word, *rest = line.split()
        if word == "start":
            run = Run(rest[0], rest[1], int(rest[2]), rest[3], float(rest[4]))
            ALL_RUNS.setdefault(run.id, []).append(run)
    made = Judge(records["over"])
    for line in lines:
        made.read(line)
    made.sum_up()
    with (folder / "trace").open() as trace:
        verify(trace)
    return made


def run(folder: Path, store: str, name: str, seed: str) -> Judge:
    command = [sys.executable, str(PROGRAM), str(folder), store, name, seed, str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50 + KILLS * SECONDS_A_KILL)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return judge(folder)


@pytest.mark.parametrize("seed", ["one", "two"])
def test_nothing_is_lost_doubled_or_stuck(tmp_path: Path, seed: str) -> None:
    check(run(tmp_path, str(tmp_path / "haulier.db"), "default", seed))


def test_nor_in_postgres(tmp_path: Path, postgres: Any) -> None:
    check(run(tmp_path, postgres.url(), postgres.name(), "three"))


def check(seen: Judge) -> None:
    """It was a run in which everything happened."""
    phases = Counter(record["phase"] for record in seen.final.values())
    assert min(phases[each] for each in ("succeeded", "failed", "cancelled")) > 0
    errors = Counter(record.get("error") for record in seen.final.values())
    assert errors[INTERRUPTED] > 0
    resumed = [record for record in seen.final.values() if (1, "interrupted") in map(tuple, record["attempts"])]
    assert any(record["source"] == "resumes" and record["attempt"] > 1 for record in resumed)
    assert seen.lives > KILLS / 2
    assert len(seen.acknowledged) > KILLS
