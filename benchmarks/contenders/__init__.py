"""The engines that are compared, and the interface through which workloads use them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeAlias

__all__ = [
    "CONTENDERS", "IN_MEMORY", "TERMINAL_STATES", "TRACE", "WITH_CANCEL",
    "Contender", "Impl", "Manageable", "Record", "hire", "is_here",
]  # fmt: skip

Record: TypeAlias = dict[str, Any]
Impl: TypeAlias = Callable[[str, Any, str], str | None]
"""``impl(download_id, target_id, display_name) -> path or None``"""

TERMINAL_STATES: Final = frozenset({"Completed, Succeeded", "Errored", "Cancelled"})


TRACE: Final = "HAULIER_BENCH_TRACE"
"""The environment variable that names a file for haulier's trace. Timed runs do not set it, so they write no trace."""


class Contender(Protocol):
    """What every contender can do, from any thread. Every source has concurrency 1 and delay 0."""

    @property
    def dispatch(self) -> Callable[[str, Any, str, str, Impl], str]:
        """``dispatch(source, target_id, display_name, filename, impl)`` returns the download's id at once.

        A property, so that an engine hands out its own bound method: no wrapper is measured with it.
        """

    def get_record(self, source: str, download_id: str) -> Record | None:
        """Return a copy of one record."""

    def records(self) -> list[Record]:
        """Return copies of all records."""

    def close(self) -> None:
        """End all threads. Called when no impl runs any more."""


class Manageable(Contender, Protocol):
    """What the contenders in ``WITH_CANCEL`` can do in addition."""

    def set_delay(self, source: str, seconds: float) -> None: ...

    def update_record(self, source: str, download_id: str, patch: Record) -> None: ...

    def cancel_download(self, source: str, download_id: str) -> bool: ...


CONTENDERS: Final = {
    "threads": "one thread per queued download, blocked on its source's semaphore",
    "pool": "a ThreadPoolExecutor per source, a dict and a lock",
    "pool-ids": "the pool, with ids made many at a time, as haulier makes them",
    "pool-locks": "the pool, with a lock for each record",
    "asyncio": "a task per download, a semaphore per source, impls in a thread pool",
    "dramatiq": "dramatiq with its StubBroker, a worker per source",
    "huey": "huey in memory, a consumer per source",
    "haulier": "haulier.DownloadEngine, records in memory",
    "floor": "a plain thread per source, a queue and a dict: no lock, no promise",
    "huey-sqlite": "huey on SQLite files with fsync, a consumer per source",
    "durable": "haulier.DownloadEngine, records in an SQLite file, synchronous=FULL",
    "durable-once": "the same with at_most_once: each start is on disk before its impl is called",
}
"""Name and description of each contender, in the order of the tables."""

IN_MEMORY: Final = ("threads", "pool", "asyncio", "dramatiq", "huey", "haulier", "floor")
"""Contenders that lose everything when their process ends."""

WITH_CANCEL: Final = ("threads", "pool", "asyncio", "haulier")
"""Contenders that can cancel, delay and patch a record, with the code that a good programmer adds to them."""

_MODULES: Final = {
    "pool-ids": "pool_ids",
    "pool-locks": "pool_locks",
    "asyncio": "asyncio_loop",
    "dramatiq": "dramatiq_stub",
    "huey": "huey_memory",
    "haulier": "haulier_engine",
    "huey-sqlite": "huey_sqlite",
    "durable": "haulier_durable",
    "durable-once": "haulier_once",
}

_NEEDS: Final = {"dramatiq": "dramatiq", "huey": "huey", "huey-sqlite": "huey"}
"""Packages that haulier itself does not need. The dependency group ``bench`` installs them."""


def is_here(name: str) -> bool:
    """Whether what a contender needs is installed."""
    return name not in _NEEDS or find_spec(_NEEDS[name]) is not None


def hire(name: str) -> Contender:
    """Make a contender. Its module is imported only now, so no contender pays for another one's imports."""
    module = import_module(f"benchmarks.contenders.{_MODULES.get(name, name)}")
    contender: Contender = module.make()
    return contender
