"""The engines that are compared, and the one face that a workload sees of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

__all__ = ["CONTENDERS", "IN_MEMORY", "TERMINAL_STATES", "TRACE", "Contender", "Impl", "Record", "hire"]

Record: TypeAlias = dict[str, Any]
Impl: TypeAlias = Callable[[str, Any, str], str | None]
"""``impl(download_id, target_id, display_name) -> path or None``"""

TERMINAL_STATES: Final = frozenset({"Completed, Succeeded", "Errored", "Cancelled"})


TRACE: Final = "HAULIER_BENCH_TRACE"
"""The environment variable that names a file for haulier's trace. In timed runs it is not set, and there is none."""


class Contender(Protocol):
    """What every contender can do; all of it from any thread. Concurrency 1 and delay 0 at every source."""

    @property
    def dispatch(self) -> Callable[[str, Any, str, str, Impl], str]:
        """``dispatch(source, target_id, display_name, filename, impl)`` returns the download's id at once.

        A property, so that an engine hands out its own bound method: no wrapper is measured with it.
        """

    def get_record(self, source: str, download_id: str) -> Record | None:
        """A copy of one record."""

    def records(self) -> list[Record]:
        """Copies of all records."""

    def close(self) -> None:
        """Let go of all threads. Called when nothing runs any more."""


CONTENDERS: Final = {
    "threads": "one thread per queued download, blocked on its source's semaphore",
    "pool": "a ThreadPoolExecutor per source, a dict and a lock",
    "haulier": "haulier.DownloadEngine, records in memory",
    "floor": "a plain thread per source, a queue and a dict: no lock, no promise",
    "durable": "haulier.DownloadEngine, records in an SQLite file, synchronous=FULL",
}
"""Name and description of each contender, in the order of the tables."""

IN_MEMORY: Final = ("threads", "pool", "haulier", "floor")
"""Those that lose everything with their process."""

_MODULES: Final = {"haulier": "haulier_engine", "durable": "haulier_durable"}


def hire(name: str) -> Contender:
    """A new contender. Its module is imported only now: no contender pays for another one's imports."""
    module = import_module(f"benchmarks.contenders.{_MODULES.get(name, name)}")
    contender: Contender = module.make()
    return contender
