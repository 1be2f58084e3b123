"""Count what has happened so far from the engine's events, without reading every record."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import PurePath
from typing import NamedTuple

from haulier.events import Changed
from haulier.records import TERMINAL_PHASES, Phase, Record

__all__ = ["CLOSED", "Tally", "Unsuccessful"]

CLOSED = "EngineClosed"
"""``error_type`` of a download that had not ended when the engine was closed."""


class Unsuccessful(NamedTuple):
    """A download that failed, was cancelled, or had not ended when the engine was closed."""

    source: str
    shown: str
    reason: str
    attempts: int
    progress: float
    """How much of the file the last attempt had received, in percent."""


class Tally:
    """The counts of one run of ``total`` downloads. The subscriber's thread writes it; any thread may read it.

    Each record must have the keys ``shown`` (its name in lines) and ``name`` (its name in the table).
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.running: dict[str, str] = {}
        """The source of each running download, by id, in the order of their starts."""
        self.backing_off: dict[str, dict[str, float]] = {}
        """By source and id: when (UTC seconds) each download that backs off is retried."""
        self.done = 0
        self.already_there = 0
        """How many of ``done`` were not downloaded, as their file existed."""
        self.bytes_done = 0
        """Bytes of the files that were downloaded in this run."""
        self.unlisted: list[tuple[str, str]] = []
        """URL and name of each file that a list of checksums should name, and does not."""
        self.failed: list[Unsuccessful] = []
        self.unfinished: list[Unsuccessful] = []
        """Downloads that had not ended when the engine was closed."""
        self.stopped_at: dict[str, tuple[int, float]] = {}
        """By id: attempt and progress (percent) of each download that ran when a signal stopped the command."""
        self.retries: Counter[str] = Counter()
        """By source: failed attempts that are retried."""
        self.pauses: Counter[str] = Counter()
        """By source: attempts that the source answered with a request for a pause."""
        self.all_ended = threading.Event()
        """Set once all ``total`` downloads have ended."""
        if not total:
            self.all_ended.set()
        self._lock = threading.Lock()

    def count(self, event: Changed) -> bool:
        """Count one event. Returns True if its source asked for a pause, and the download went back to its queue."""
        with self._lock:
            return self._count(event)

    def _count(self, event: Changed) -> bool:
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
            if record.get("unlisted"):
                self.unlisted.append((record["shown"], PurePath(record["file_path"]).name))
            if record.get("already_there"):
                self.already_there += 1
            else:
                self.bytes_done += record["transferred"]
        else:
            reason = record.get("error") or "cancelled"
            download = Unsuccessful(source, record["shown"], reason, record["attempt"], record["progress"])
            (self.unfinished if record["error_type"] == CLOSED else self.failed).append(download)
        if self.ended_count >= self.total:
            self.all_ended.set()

    def add_refused(self, source: str, shown: str, reason: str) -> None:
        """Count a download that the engine refused to queue."""
        with self._lock:
            self.failed.append(Unsuccessful(source, shown, reason, 0, 0.0))
            if self.ended_count >= self.total:
                self.all_ended.set()

    def add_unfinished(self, source: str, shown: str, attempts: int = 0, progress: float = 0.0) -> None:
        """Count a download that a stop left undone: not yet queued, or kept in the store for the next command."""
        with self._lock:
            self.unfinished.append(Unsuccessful(source, shown, "not finished", attempts, progress))

    @property
    def ended_count(self) -> int:
        """How many downloads have ended or were left unfinished."""
        return self.done + len(self.failed) + len(self.unfinished)

    def now_running(self) -> list[tuple[str, str]]:
        """The id and the source of each running download."""
        with self._lock:
            return list(self.running.items())

    def next_try(self, source: str) -> tuple[int, float]:
        """How many downloads of ``source`` back off, and when (UTC seconds) the first of them is retried."""
        with self._lock:
            waiting = self.backing_off.get(source)
            return (len(waiting), min(waiting.values())) if waiting else (0, 0.0)
