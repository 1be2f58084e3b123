"""What has happened so far, counted from the engine's events: nobody ever goes through all downloads."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from haulier.events import Changed
from haulier.records import TERMINAL_PHASES, Phase, Record

__all__ = ["Ended", "Tally"]

CLOSED = "EngineClosed"
"""``error_type`` of what had not ended when the engine was closed."""


class Ended(NamedTuple):
    """A download that did not make it."""

    source: str
    shown: str
    reason: str
    attempts: int
    progress: float
    """Percent of the last attempt."""


class Tally:
    """Written on the subscriber's thread, read on any.

    The records must have the keys ``shown`` and ``name``: what a download is called in lines, and in the table.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.running: dict[str, str] = {}
        """The source of each download that runs, in the order in which they started."""
        self.backing_off: dict[str, dict[str, float]] = {}
        """By source, when (UTC seconds) each download that failed once is tried again."""
        self.done = 0
        self.already = 0
        """Of those, what was here before."""
        self.bytes_landed = 0
        self.failed: list[Ended] = []
        self.unfinished: list[Ended] = []
        """Not over when the engine was closed."""
        self.retries: Counter[str] = Counter()
        """By source: attempts that failed and were followed by another."""
        self.pauses: Counter[str] = Counter()
        """By source: attempts that ended with the source asking for a pause."""
        self.over = threading.Event()
        """Set once all are over."""
        if not total:
            self.over.set()
        self._lock = threading.Lock()

    def hear(self, event: Changed) -> bool:
        """Count one event. True where it is a download's return to its queue: the source asked for a pause."""
        with self._lock:
            return self._hear(event)

    def _hear(self, event: Changed) -> bool:
        download_id, source, phase, record, _ = event
        ran = self.running.pop(download_id, None) is not None
        self.backing_off.get(source, {}).pop(download_id, None)
        if phase == Phase.RUNNING:
            self.running[download_id] = source
        elif phase == Phase.BACKING_OFF:
            self.retries[source] += 1
            self.backing_off.setdefault(source, {})[download_id] = record.get("next_attempt_at", 0.0)
        elif phase == Phase.QUEUED and ran:
            self.pauses[source] += 1
            return True
        elif phase in TERMINAL_PHASES:
            self._end(source, phase, record)
        return False

    def _end(self, source: str, phase: str, record: Record) -> None:
        if phase == Phase.SUCCEEDED:
            self.done += 1
            if record.get("already_there"):
                self.already += 1
            else:
                self.bytes_landed += record["transferred"]
        else:
            reason = record.get("error") or "cancelled"
            ended = Ended(source, record["shown"], reason, record["attempt"], record["progress"])
            (self.unfinished if record["error_type"] == CLOSED else self.failed).append(ended)
        if self.ended >= self.total:
            self.over.set()

    def refuse(self, source: str, shown: str, reason: str) -> None:
        """Count a download that the engine did not take."""
        with self._lock:
            self.failed.append(Ended(source, shown, reason, 0, 0.0))
            if self.ended >= self.total:
                self.over.set()

    def leave(self, source: str, shown: str, attempts: int = 0, progress: float = 0.0) -> None:
        """Count a download that was not handed to the engine, since all is being stopped, or is kept for another."""
        with self._lock:
            self.unfinished.append(Ended(source, shown, "not finished", attempts, progress))

    @property
    def ended(self) -> int:
        """How many are over."""
        return self.done + len(self.failed) + len(self.unfinished)

    def now_running(self) -> list[tuple[str, str]]:
        """The id and the source of each download that runs."""
        with self._lock:
            return list(self.running.items())

    def next_try(self, source: str) -> tuple[int, float]:
        """How many downloads of a source back off, and when (UTC seconds) the first of them is tried again."""
        with self._lock:
            waiting = self.backing_off.get(source)
            return (len(waiting), min(waiting.values())) if waiting else (0, 0.0)
