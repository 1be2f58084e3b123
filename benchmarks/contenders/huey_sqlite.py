"""huey on a file: SqliteHuey with ``fsync=True``, as safe against a power failure as haulier's synchronous=FULL.

Works as ``huey_memory``, but the task is in the file when a dispatch returns, with one commit for each. It promises
less than haulier: a worker removes the task from the file before it runs it, so a running download is lost if the
process dies. The outcome of a download is not on disk (``results=False``; results would cost one more commit). The
records are those of ``Book``, in memory.

Each source has a file of its own in the folder for temporary files (``TMPDIR``). With a shared file the workers would
wait for each other's exclusive transactions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from huey import Huey, SqliteHuey

from benchmarks.contenders.huey_memory import HueyMemory

__all__ = ["HueySqlite", "make"]


class HueySqlite(HueyMemory):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()

    def _queue(self, source: str) -> Huey:
        return SqliteHuey(source, filename=Path(self._folder.name) / f"{source}.db", fsync=True, results=False)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


make = HueySqlite
