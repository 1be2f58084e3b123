"""A background download engine that long-running programs embed.

Each source of downloads (a site, an API, a host) gets its own limits: so many downloads at once, so many seconds
between two. You bring a function that fetches one file. haulier queues, starts, spaces, retries and cancels::

    with haulier.DownloadEngine() as engine:
        engine.worker.set_delay("example.org", 2.0)
        download_id = engine.worker.dispatch("example.org", url, "A song", "song.opus", fetch)
        record = engine.wait(download_id)

Start with ``help(haulier.DownloadEngine)``. The names below are public: import them from ``haulier``, wherever they are
defined. So are these modules:

- ``haulier.aio``: the engine for asyncio programs.
- ``haulier.fetchers``: functions that fetch files: ``fetchers.http`` and ``fetchers.ytdlp``.
- ``haulier.presets``: ready policies for six sources.
- ``haulier.supervision``: supervision for pykka actors of your own.
- ``haulier.testing``: run an impl without an engine, and a virtual clock.
- ``haulier.trace`` and ``haulier.verify``: a log of what an engine did, and a check of it against the promises.
- ``haulier.policies``, ``records``, ``status``, ``events``, ``errors``, ``transfer``, ``progress``: where the names
  below are defined.

Modules whose names begin with an underscore are private and change without notice.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from haulier._engine.engine import DownloadEngine
from haulier._engine.ticket import Impl
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
    UnknownSource,
)
from haulier.events import Changed, Discarded, Event, Missed, Removed
from haulier.policies import RestartPolicy, Retention, RetryPolicy, SourcePolicy
from haulier.records import Attempt, Cursor, DownloadRecord, HistoryRow, Phase, Record, State
from haulier.status import Explanation, SourceStatus
from haulier.transfer import Transfer, current_transfer

if TYPE_CHECKING:
    from haulier import aio, fetchers, presets, supervision, testing, trace, verify

__all__ = [  # noqa: RUF022  # in the order in which a reader needs them
    # the engine
    "DownloadEngine",
    "BackgroundDownloadWorker",
    "Wanted",
    # how sources are treated
    "SourcePolicy",
    "RetryPolicy",
    "RestartPolicy",
    "Retention",
    # what an impl is, is given, and may raise
    "Impl",
    "Transfer",
    "current_transfer",
    "DownloadCancelled",
    "PermanentError",
    "SourceCrashed",
    "Throttled",
    # what the engine returns
    "Record",
    "DownloadRecord",
    "State",
    "Phase",
    "SourceStatus",
    "Explanation",
    "HistoryRow",
    "Cursor",
    "Attempt",
    # what subscribers receive
    "Subscription",
    "Event",
    "Changed",
    "Removed",
    "Discarded",
    "Missed",
    # what calls raise
    "HaulierError",
    "EngineClosed",
    "ForkedEngine",
    "QueueFull",
    "SourceDown",
    "StoreLocked",
    "StoreUnavailable",
    "UnknownDownload",
    "UnknownSource",
    # modules, imported when they are first used
    "aio",
    "fetchers",
    "presets",
    "supervision",
    "testing",
    "trace",
    "verify",
]

_LAZY_MODULES = frozenset({"aio", "fetchers", "presets", "supervision", "testing", "trace", "verify"})


def __getattr__(name: str) -> Any:
    """Import a public module when it is first used, so that ``import haulier`` stays fast."""
    if name in _LAZY_MODULES:
        return import_module(f"haulier.{name}")
    raise AttributeError(f"module 'haulier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES})


logging.getLogger("haulier").addHandler(logging.NullHandler())
