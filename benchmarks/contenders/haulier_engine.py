"""haulier as a daemon embeds it: no argument, every promise switched on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haulier
from benchmarks.contenders import Impl, Record

__all__ = ["HaulierEngine", "make"]


class HaulierEngine:
    def __init__(self) -> None:
        self.engine = haulier.DownloadEngine()

    @property
    def dispatch(self) -> Callable[[str, Any, str, str, Impl], str]:
        return self.engine.worker.dispatch

    def get_record(self, source: str, download_id: str) -> Record | None:
        return self.engine.get_record(source, download_id)

    def records(self) -> list[Record]:
        return self.engine.get_all_downloads()

    def close(self) -> None:
        self.engine.close()


make = HaulierEngine
