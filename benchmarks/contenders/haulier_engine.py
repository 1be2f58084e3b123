"""haulier as a daemon embeds it, every promise switched on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import haulier
from benchmarks.contenders import TRACE, Impl, Record

__all__ = ["HaulierEngine", "make"]


KEPT: Final = haulier.Retention(max_terminal=10_000_000)
"""By default the oldest records beyond 10,000 leave memory, so larger runs could not be checked afterwards."""


class HaulierEngine:
    def __init__(self) -> None:
        self.engine = haulier.DownloadEngine(retention=KEPT, trace=os.environ.get(TRACE))

    @property
    def dispatch(self) -> Callable[[str, Any, str, str, Impl], str]:
        return self.engine.worker.dispatch

    def get_record(self, source: str, download_id: str) -> Record | None:
        return self.engine.get_record(source, download_id)

    def records(self) -> list[Record]:
        return self.engine.get_all_downloads()

    def set_delay(self, source: str, seconds: float) -> None:
        self.engine.worker.set_delay(source, seconds)

    @property
    def update_record(self) -> Callable[[str, str, Record], None]:
        return self.engine.update_record

    def cancel_download(self, source: str, download_id: str) -> bool:
        return self.engine.cancel_download(download_id, source)

    def close(self) -> None:
        self.engine.close()


make = HaulierEngine
