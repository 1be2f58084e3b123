"""The hand-rolled engine that haulier replaces: one thread per queued download.

Each dispatch starts a thread. The thread blocks on its source's semaphore, waits for the rest of the source's delay,
runs the impl and writes the outcome. Records are dicts of dicts under one lock. The code is as good as this design
allows: it logs and copies nothing without need, waits with no lock held, and reads no clock for a delay of 0.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

from benchmarks.contenders import TERMINAL_STATES, Impl, Record

__all__ = ["ThreadPerDownload", "make"]


class ThreadPerDownload:
    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {}
        self._records_lock = threading.Lock()
        self._slots: dict[str, threading.Semaphore] = {}
        self._delays: dict[str, float] = {}
        self._last_ends: dict[str, float] = {}
        self._sources_lock = threading.Lock()

    def set_concurrency(self, source: str, max_concurrent: int) -> None:
        """Set the concurrency for later dispatches, as the engine does that this contender stands for."""
        with self._sources_lock:
            self._slots[source] = threading.Semaphore(max_concurrent)

    def set_delay(self, source: str, seconds: float) -> None:
        with self._sources_lock:
            self._delays[source] = seconds

    def dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        download_id = str(uuid.uuid4())
        record: Record = {
            "id": download_id,
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
        with self._records_lock:
            self._records.setdefault(source, {})[download_id] = record
        slot = self._slot(source)
        threading.Thread(
            target=self._run, args=(slot, source, download_id, target_id, display_name, impl), daemon=True
        ).start()
        return download_id

    def get_record(self, source: str, download_id: str) -> Record | None:
        with self._records_lock:
            record = self._records.get(source, {}).get(download_id)
            return None if record is None else dict(record)

    def records(self) -> list[Record]:
        with self._records_lock:
            return [dict(record) for of_source in self._records.values() for record in of_source.values()]

    def update_record(self, source: str, download_id: str, patch: Record) -> None:
        with self._records_lock:
            record = self._records.get(source, {}).get(download_id)
            if record is not None:
                record.update(patch)

    def cancel_download(self, source: str, download_id: str) -> bool:
        return self._update_unless_terminal(source, download_id, {"state": "Cancelled"})

    def close(self) -> None:
        """Nothing to do: each thread ends with its download."""

    def _slot(self, source: str) -> threading.Semaphore:
        with self._sources_lock:
            slot = self._slots.get(source)
            if slot is None:
                slot = self._slots[source] = threading.Semaphore(1)
            return slot

    def _run(
        self,
        slot: threading.Semaphore,
        source: str,
        download_id: str,
        target_id: Any,
        display_name: str,
        impl: Impl,
    ) -> None:
        with slot:
            self._wait_for_delay(source)
            if not self._update_unless_terminal(source, download_id, {"state": "InProgress, Downloading"}):
                return
            try:
                path = impl(download_id, target_id, display_name)
            except Exception as exc:
                patch: Record = {"state": "Errored", "error": str(exc)}
            else:
                if path:
                    patch = {"state": "Completed, Succeeded", "progress": 100.0, "file_path": path}
                else:
                    patch = {"state": "Errored"}
            self._update_unless_terminal(source, download_id, patch)
            with self._sources_lock:
                self._last_ends[source] = time.monotonic()

    def _wait_for_delay(self, source: str) -> None:
        with self._sources_lock:
            delay = self._delays.get(source, 0.0)
            last_end = self._last_ends.get(source)
        if delay and last_end is not None:
            rest = last_end + delay - time.monotonic()
            if rest > 0:
                time.sleep(rest)

    def _update_unless_terminal(self, source: str, download_id: str, patch: Record) -> bool:
        with self._records_lock:
            record = self._records.get(source, {}).get(download_id)
            if record is None or record["state"] in TERMINAL_STATES:
                return False
            record.update(patch)
            return True


make = ThreadPerDownload
