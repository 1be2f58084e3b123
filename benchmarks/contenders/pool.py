"""What a good user would write in an afternoon: a ThreadPoolExecutor per source, a dict and a lock."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contenders import TERMINAL_STATES, Impl, Record

__all__ = ["PoolPerSource", "make"]


class PoolPerSource:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._records: dict[tuple[str, str], Record] = {}
        self._delays: dict[str, float] = {}

    def set_delay(self, source: str, seconds: float) -> None:
        with self._lock:
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
        with self._lock:
            self._records[source, download_id] = record
            pool = self._pools.get(source)
            if pool is None:
                pool = self._pools[source] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=source)
        pool.submit(self._run, source, download_id, target_id, display_name, impl)
        return download_id

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

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=True)

    def _run(self, source: str, download_id: str, target_id: Any, display_name: str, impl: Impl) -> None:
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
        with self._lock:
            record = self._records.get((source, download_id))
            if record is None or record["state"] in TERMINAL_STATES:
                return False
            record.update(patch)
            return True


make = PoolPerSource
