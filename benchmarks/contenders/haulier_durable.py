"""haulier on a file: each download is on disk when ``dispatch`` returns, and each end before anybody sees it.

The file is in the folder for temporary files (``TMPDIR``), which must be on the disk to measure.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import haulier
from benchmarks.contenders import TRACE, Impl
from benchmarks.contenders.haulier_engine import KEPT, HaulierEngine

__all__ = ["HaulierDurable", "make"]


class HaulierDurable(HaulierEngine):
    policy = haulier.SourcePolicy()

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.engine = haulier.DownloadEngine(
            store=Path(self._folder.name) / "haulier.db", retention=KEPT, trace=os.environ.get(TRACE)
        )
        self._impls: set[str] = set()

    @property
    def dispatch(self) -> Callable[[str, Any, str, str, Impl], str]:
        return self._dispatch

    def _dispatch(self, source: str, target_id: Any, display_name: str, filename: str, impl: Impl) -> str:
        self._register(source, impl)
        return self.engine.worker.dispatch(source, target_id, display_name, filename)

    def dispatch_many(self, source: str, target_ids: Iterable[Any], filename: str, impl: Impl) -> list[str]:
        """Dispatch many downloads, each with the source's name as its display name."""
        self._register(source, impl)
        wanted = [haulier.Wanted(target_id, source, filename) for target_id in target_ids]
        return self.engine.worker.dispatch_many(source, wanted)

    def _register(self, source: str, impl: Impl) -> None:
        """Register the impl with its source: a function inside another function cannot be found by its name."""
        if source not in self._impls:
            self._impls.add(source)
            self.engine.register_source(source, self.policy, impl)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


make = HaulierDurable
