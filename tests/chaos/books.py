"""Books of what was asked for and of what impls really did, kept beside the engine and without its help.

The engine is asked one thing only: whether an impl was given up on (``Transfer.given_up``), since a zombie counts no
longer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeAlias

from tests.chaos.plan import Errand
from tests.chaos.setups import Setup

from haulier import Record, Transfer
from haulier.records import STATE_OF_PHASE, TERMINAL_PHASES

__all__ = ["Books", "Broken", "Did", "Fact", "Promise", "Run"]

ULP_S = 1e-9
"""What two sums of seconds may differ by in their last digits."""

Promise: TypeAlias = Literal["limit", "delay", "order", "lost", "truth", "trace", "hang", "left", "raised", "foreign"]


class Broken(NamedTuple):
    """A promise that was not kept."""

    promise: Promise
    how: str


class Did(NamedTuple):
    """How an impl came back: ``landed`` with a path, ``nothing``, ``failed``, ``throttled``, ``stopped``, ``crashed``
    with a text; ``odd`` with what is judged by its own code."""

    what: str
    text: str
    permanent: bool = False


@dataclass(eq=False)
class Run:
    """An impl that was called and has not come back."""

    transfer: Transfer
    since: float
    number: int
    """The so many-th call of an impl for this download."""


@dataclass
class Fact:
    """What is known of one download."""

    source: str
    errand: Errand
    accepted: bool = False
    asked: bool = False
    """Somebody tried to cancel it, or to take its record out."""
    cancelled: bool = False
    """A cancel of it returned True."""
    replaced: bool = False
    """``add_record`` was called with its id: its record is its caller's own."""
    dids: list[Did] = field(default_factory=list)
    runs: int = 0
    end: str | None = None
    """The last phase, as it was first read."""


@dataclass
class _Floor:
    """Who is inside at one source."""

    setup: Setup
    ceiling: int
    inside: list[Run] = field(default_factory=list)
    last_exit: float = float("-inf")
    peak: int = 0


class Books:
    """The books of one round."""

    def __init__(self, setups: tuple[Setup, ...]) -> None:
        self.max_running: int | None = None
        """How many impls may run at once over all sources; None for no limit."""
        self.lock = threading.Lock()
        self.done: Counter[str] = Counter()
        """What was done to the engine, and how often."""
        self.looks: Counter[Promise] = Counter()
        """How often a promise was looked after."""
        self.broken: list[Broken] = []
        self.facts: dict[str, Fact] = {}
        self.ids: list[str] = []
        """What callers pick from."""
        self.closing = False
        """Whether somebody has begun to close the engine."""
        self.stuck: set[str] = set()
        """Sources that were paused when the engine was dropped, so that nobody can resume them."""
        self._callers: set[int] = set()
        """The threads that dispatch."""
        self._floors = {setup.name: _Floor(setup, setup.concurrency) for setup in setups}

    def count(self, what: str, times: int = 1) -> None:
        """Something was done."""
        with self.lock:
            self.done[what] += times

    def blame(self, promise: Promise, how: str) -> None:
        """A promise was broken."""
        with self.lock:
            self.broken.append(Broken(promise, how))

    def peaks(self) -> dict[int, int]:
        """For each limit of a steady source: the most that ran at once at one."""
        peaks: dict[int, int] = {}
        for floor in self._floors.values():
            if floor.setup.steady:
                limit = floor.setup.concurrency
                peaks[limit] = max(floor.peak, peaks.get(limit, 0))
        return peaks

    # ---- what callers do ---------------------------------------------------------------------------------------------

    @contextmanager
    def calling(self) -> Iterator[None]:
        """The calling thread is one that dispatches, and on which no impl is to run."""
        self._callers.add(threading.get_ident())
        try:
            yield
        finally:
            self._callers.discard(threading.get_ident())

    def accepted(self, download_id: str, source: str, errand: Errand) -> None:
        """A dispatch has returned."""
        with self.lock:
            self._fact(download_id, source, errand).accepted = True
            self.ids.append(download_id)
            self.done["accepted"] += 1

    def allow(self, source: str, concurrency: int) -> None:
        """So many may run at once there from now on, for all that is known here."""
        with self.lock:
            floor = self._floors[source]
            floor.ceiling = max(floor.ceiling, concurrency)

    def mark(self, download_id: str, *, asked: bool = False, cancelled: bool = False, replaced: bool = False) -> None:
        """Somebody does, or has done, that to a download."""
        with self.lock:
            fact = self.facts.get(download_id)
            if fact is not None:
                fact.asked |= asked or cancelled
                fact.cancelled |= cancelled
                fact.replaced |= replaced

    def pick(self, pick: float, *, late: bool = True) -> str | None:
        """An id: one of the last hundred, or any where it need not be ``late``. None while there is none."""
        ids = self.ids
        many = len(ids)
        if not many:
            return None
        return ids[max(0, many - 1 - int(pick * 100))] if late else ids[int(pick * many)]

    def _fact(self, download_id: str, source: str, errand: Errand) -> Fact:
        fact = self.facts.get(download_id)
        if fact is None:  # an impl may be called before the dispatch returns
            fact = self.facts[download_id] = Fact(source, errand)
        return fact

    # ---- what impls do -----------------------------------------------------------------------------------------------

    def enter(self, transfer: Transfer, errand: Errand) -> Run:
        """An impl was called."""
        now = monotonic()
        with self.lock:
            floor = self._floors[transfer.source]
            fact = self._fact(transfer.download_id, transfer.source, errand)
            fact.runs += 1
            run = Run(transfer, now, fact.runs)
            self.broken.extend(self._wrong_start(floor, fact, run))
            self.broken.extend(self._too_early(floor, run))
            floor.inside.append(run)
            serious = [each for each in floor.inside if not each.transfer.given_up]
            floor.peak = max(floor.peak, len(serious))
            self.looks["limit"] += 1
            if len(serious) > floor.ceiling:
                self.broken.append(
                    Broken("limit", f"{len(serious)} run at once at {floor.setup.name}, and {floor.ceiling} may")
                )
            if self.max_running is not None:
                everywhere = [each for other in self._floors.values() for each in other.inside]
                running = sum(not each.transfer.given_up for each in everywhere)
                if running > self.max_running:
                    self.broken.append(Broken("limit", f"{running} run at once in all, and {self.max_running} may"))
        return run

    def _wrong_start(self, floor: _Floor, fact: Fact, run: Run) -> Iterator[Broken]:
        transfer = run.transfer
        self.looks["order"] += 1
        if transfer.target_id is not fact.errand:
            yield Broken("truth", f"{transfer} was given another target than {fact.errand}")
        if threading.get_ident() in self._callers:
            yield Broken("order", f"{transfer} runs on a caller's thread")
        if any(each.transfer.download_id == transfer.download_id for each in floor.inside):
            yield Broken("limit", f"{transfer} runs twice at once")
        if not transfer.cancelled and (fact.cancelled or fact.end is not None):
            yield Broken("order", f"{transfer} starts, and was {fact.end or 'cancelled'} before")
        last = fact.dids[-1] if fact.dids else None
        if last is not None and (last.permanent or last.what in ("landed", "stopped", "crashed")):
            yield Broken("order", f"{transfer} starts again after {last}")

    def _too_early(self, floor: _Floor, run: Run) -> Iterator[Broken]:
        """Where one runs at a time, the time between two is the engine's to see to, and nobody else's."""
        setup = floor.setup
        if setup.steady and setup.concurrency == 1 and setup.delay_from == "end":
            self.looks["delay"] += 1
            gap = run.since - floor.last_exit
            if gap < setup.least_delay - ULP_S:
                yield Broken("delay", f"{run.transfer} starts {gap:.6f} s after the one before: {setup.least_delay} s")

    def leave(self, run: Run, did: Did) -> None:
        """It comes back, or dies."""
        transfer = run.transfer
        with self.lock:
            floor = self._floors[transfer.source]
            floor.inside.remove(run)
            self.facts[transfer.download_id].dids.append(did)
            if not transfer.given_up:
                floor.last_exit = monotonic()

    # ---- what is read ------------------------------------------------------------------------------------------------

    def saw(self, record: Record | None) -> None:
        """Somebody read a record: what is over is so in every word, and for ever."""
        if record is None or record.get("phase") not in TERMINAL_PHASES:
            return
        fact = self.facts.get(record.get("id", ""))
        if fact is None or fact.replaced:
            return
        phase = record["phase"]
        with self.lock:
            self.looks["truth"] += 1
            before = fact.end
            fact.end = before or phase
        wrong = []
        if before not in (None, phase):
            wrong.append(f"was {before}")
        if record["state"] != STATE_OF_PHASE[phase]:
            wrong.append(f"its state is {record['state']!r}")
        if phase == "failed" and not record.get("error"):
            wrong.append("it says nothing of why")
        if phase == "succeeded" and not record.get("file_path"):
            wrong.append("it has no path")
        if fact.cancelled and phase != "cancelled":
            wrong.append("a cancel of it returned True")
        for each in wrong:
            if not fact.replaced:
                self.blame("truth", f"{record['id']} at {fact.source} is {phase}, and {each}: {_short(record)}")


def _short(record: Record) -> dict[str, Any]:
    return {key: record.get(key) for key in ("state", "phase", "attempt", "error", "file_path", "finished_at")}
