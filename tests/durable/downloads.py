"""Downloads for tests of durable engines: how to dispatch them, what their impls do, and what is on disk of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import tenacity

from haulier import DownloadEngine, RetryPolicy, Wanted

ONE_DAY = 86_400.0


def fetch(download_id: str, target_id: Any, display_name: str) -> str:
    """An impl that can be imported, and succeeds at once."""
    return f"/{target_id}"


class Impl:
    """An impl with a fate for each target: an exception to raise, a path to return, or a list, one per attempt."""

    def __init__(self, **fates: Any) -> None:
        self.fates = fates
        self.ran: list[Any] = []
        """The target ids, in the order of the calls."""
        self.transfers: list[Any] = []

    def __call__(self, download_id: str, target_id: Any, display_name: str, transfer: Any) -> str:
        self.ran.append(target_id)
        self.transfers.append(transfer)
        fate = self.fates.get(str(target_id))
        if isinstance(fate, list):
            fate = fate.pop(0) if fate else None
        if isinstance(fate, BaseException):
            raise fate
        return str(fate or f"/{target_id}")


def retry(attempts: int, wait_s: float = 0.0) -> RetryPolicy:
    return RetryPolicy(stop=tenacity.stop_after_attempt(attempts), wait=tenacity.wait_fixed(wait_s))


# ---- dispatch --------------------------------------------------------------------------------------------------------


def wanted(count: int, **more: Any) -> Iterator[Wanted]:
    return (Wanted(number, "A Song", f"{number}.flac", **more) for number in range(count))


def dispatch_many(engine: DownloadEngine, count: int, source: str = "s", impl: Any = fetch) -> list[str]:
    """Dispatch the targets 0, 1, 2, …; ``impl`` None means the impl of the source."""
    return engine.worker.dispatch_many(source, wanted(count), impl)


def dispatch_one_or_three(engine: DownloadEngine, many: bool) -> list[str]:
    """Dispatch one download by ``dispatch``, or three by ``dispatch_many``."""
    return dispatch_many(engine, 3) if many else [engine.worker.dispatch("s", 1, "n", "f", fetch)]


# ---- what is known of them -------------------------------------------------------------------------------------------


def record_of(engine: DownloadEngine, download_id: str) -> dict[str, Any]:
    record = engine.get_download_status(download_id)
    assert record is not None, f"there is no record of {download_id}"
    return record


def phases_of(engine: DownloadEngine, ids: list[str]) -> list[str]:
    return [record_of(engine, each)["phase"] for each in ids]


def on_disk(durable: Any, query: str = "SELECT id FROM downloads ORDER BY seq") -> list[Any]:
    """What another process reads from the database just now."""
    with closing(sqlite3.connect(durable.path)) as connection:
        return [row[0] if len(row) == 1 else row for row in connection.execute(query)]


def has_nothing(engine: DownloadEngine, durable: Any) -> bool:
    """Whether no download is on disk, in the records or in the queue of ``s``."""
    return on_disk(durable) == [] == engine.get_all_downloads() and engine.stats()["s"]["queued"] == 0
