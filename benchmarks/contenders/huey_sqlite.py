"""huey on a file: SqliteHuey with ``fsync=True``, as safe against a power failure as haulier's synchronous=FULL.

As ``huey_memory``, but a dispatch has its task in the file when it returns, one commit each. It promises less than
haulier does: a worker takes the task off the file before it runs it, so that what was in flight when the process died
is forgotten, and what became of a download is not on disk (``results=False``: with results it would be one commit
more). The records are the ``Book``'s, in memory.

The file is in the folder for temporary ones (``TMPDIR``), one for each source: shared, its workers would wait for each
other's exclusive transactions.
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
