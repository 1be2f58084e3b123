"""The records that a good programmer keeps beside a pool, a loop or a task queue: dicts under one lock."""

from __future__ import annotations

import threading
import time
import uuid

from benchmarks.contenders import TERMINAL_STATES, Impl, Record

__all__ = ["Book"]


class Book:
    """The base class of contenders that have no records of their own. They add what runs the downloads.

    A download that is cancelled while it waits stays in its queue, and is skipped when its turn comes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], Record] = {}
        self._delays: dict[str, float] = {}

    def set_delay(self, source: str, seconds: float) -> None:
        with self._lock:
            self._delays[source] = seconds

    def get_record(self, source: str, download_id: str) -> Record | None:
        with self._lock:
            record = self._records.get((source, download_id))
            return None if record is None else dict(record)

    def records(self) -> list[Record]:
        with self._lock:
            return [dict(record) for record in self._records.values()]

    def update_record(self, source: str, download_id: str, patch: Record) -> None:
        with self._lock:
            record = self._records.get((source, download_id))
            if record is not None:
                record.update(patch)

    def cancel_download(self, source: str, download_id: str) -> bool:
        return self._move(source, download_id, {"state": "Cancelled"})

    def _new_id(self) -> str:
        return str(uuid.uuid4())

    def _new_record(self, source: str, filename: str) -> Record:
        return {
            "id": self._new_id(),
            "filename": filename,
            "username": source,
            "state": "Initializing",
            "progress": 0.0,
            "size": 0,
            "transferred": 0,
            "speed": 0,
            "time_remaining": None,
            "file_path": None,
        }

    def _run(self, source: str, download_id: str, target_id: object, display_name: str, impl: Impl) -> None:
        """Run one download on this thread, then wait for the source's delay."""
        if not self._move(source, download_id, {"state": "InProgress, Downloading"}):
            return
        try:
            path = impl(download_id, target_id, display_name)
        except Exception as exc:
            self._move(source, download_id, {"state": "Errored", "error": str(exc)})
        else:
            if path:
                outcome: Record = {"state": "Completed, Succeeded", "progress": 100.0, "file_path": path}
            else:
                outcome = {"state": "Errored"}
            self._move(source, download_id, outcome)
        delay = self._delays.get(source)
        if delay:
            time.sleep(delay)

    def _move(self, source: str, download_id: str, patch: Record) -> bool:
        """Move a record to another state, unless it has ended."""
        with self._lock:
            record = self._records.get((source, download_id))
            if record is None or record["state"] in TERMINAL_STATES:
                return False
            record.update(patch)
            return True
