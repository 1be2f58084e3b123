"""haulier: a background download engine for long-running daemons.

One polite actor per source, one record store, and a supervisor: nothing is lost, nothing overlaps, nothing hangs.
"""

from __future__ import annotations

import logging

from haulier._engine.core.status import Explanation, SourceStatus
from haulier._engine.engine import DownloadEngine
from haulier._engine.worker import BackgroundDownloadWorker, Wanted
from haulier._threads.subscription import Subscription
from haulier.errors import (
    DownloadCancelled,
    EngineClosed,
    ForkedEngine,
    HaulierError,
    PermanentError,
    QueueFull,
    SourceCrashed,
    SourceDown,
    StoreLocked,
    StoreUnavailable,
    Throttled,
    UnknownDownload,
)
from haulier.events import Changed, Discarded, Event, Missed, Removed
from haulier.policies import RestartPolicy, Retention, RetryPolicy, SourcePolicy
from haulier.records import Phase, Record, State
from haulier.transfer import Transfer, current_transfer

__all__ = [
    "BackgroundDownloadWorker",
    "Changed",
    "Discarded",
    "DownloadCancelled",
    "DownloadEngine",
    "EngineClosed",
    "Event",
    "Explanation",
    "ForkedEngine",
    "HaulierError",
    "Missed",
    "PermanentError",
    "Phase",
    "QueueFull",
    "Record",
    "Removed",
    "RestartPolicy",
    "Retention",
    "RetryPolicy",
    "SourceCrashed",
    "SourceDown",
    "SourcePolicy",
    "SourceStatus",
    "State",
    "StoreLocked",
    "StoreUnavailable",
    "Subscription",
    "Throttled",
    "Transfer",
    "UnknownDownload",
    "Wanted",
    "current_transfer",
]

logging.getLogger("haulier").addHandler(logging.NullHandler())
