"""Every exception of haulier, in one tree.

::

    HaulierError
    ├── EngineClosed        dispatch, and every other write, after close()
    │   └── ForkedEngine    a forked child touched its parent's engine: make a new one in the child
    ├── SourceDown          dispatch to a source that crashed too often: fix the cause, then revive(source)
    ├── QueueFull           dispatch to a source with max_queued downloads waiting: try later
    ├── StoreUnavailable    the record store cannot read or write: nothing was accepted
    │   └── StoreLocked         another engine uses the database: close that one first
    ├── UnknownDownload     wait() for a download that has no record
    ├── UnknownSource       pause, resume or revive of a name that is not a source
    ├── SupervisorStopped   haulier.supervision: start or revive after stop()
    │   └── ForkedSupervisor   a forked child touched its parent's supervisor: make a new one in the child
    └── raised by an impl, to say what happened to it
        ├── PermanentError      failed for good: no further attempt
        ├── Throttled           the source asks for a pause: all its downloads wait, no attempt is spent
        ├── SourceCrashed       the source's client is broken: restart the source
        └── DownloadCancelled   the impl noticed the cancel: see Transfer.raise_if_cancelled()

Invalid arguments raise plain ``ValueError`` or ``TypeError`` at the call, before anything is stored.
"""

from __future__ import annotations

__all__ = [
    "DownloadCancelled",
    "EngineClosed",
    "ForkedEngine",
    "ForkedSupervisor",
    "HaulierError",
    "PermanentError",
    "QueueFull",
    "SourceCrashed",
    "SourceDown",
    "StoreLocked",
    "StoreUnavailable",
    "SupervisorStopped",
    "Throttled",
    "UnknownDownload",
    "UnknownSource",
]


class HaulierError(Exception):
    """The base class of every exception that haulier defines."""


class EngineClosed(HaulierError):
    """The engine is closed and takes no more work. Its records can still be read."""


class ForkedEngine(EngineClosed):
    """This process is a fork of the one that made the engine; the engine's threads are not here.

    Make a new engine in the child.
    """


def forked() -> ForkedEngine:
    """The exception for a forked child that uses its parent's engine."""
    return ForkedEngine("this engine was made before the fork, and its threads are not here: make a new one")


class SourceDown(HaulierError):
    """The source crashed too often, or has too many hung impls. Fix the cause, then call ``engine.revive(source)``."""


class QueueFull(HaulierError):
    """As many downloads wait at this source as ``SourcePolicy.max_queued`` allows. Dispatch again later."""


class StoreUnavailable(HaulierError):
    """The record store cannot read or write: the disk is full, say, or the database is gone.

    A ``dispatch`` that raises it has stored nothing. A cancel that raises it counts in this engine, and is written as
    soon as the store can.
    """


class StoreLocked(StoreUnavailable):
    """Another engine uses the database, in this process or in another one.

    Only one engine may use a database at a time. Close the other engine, or give this one its own file or name.
    """


class UnknownDownload(HaulierError, LookupError):
    """There is no record with this id: it never existed, was removed, or was evicted by retention."""


class UnknownSource(HaulierError, LookupError):
    """There is no source with this name or alias: it was never registered, and got no download. Check its spelling."""


class SupervisorStopped(HaulierError):
    """The supervisor was stopped, and starts and revives no children any more. Make a new one."""


class ForkedSupervisor(SupervisorStopped):
    """This process is a fork of the one that made the supervisor; the supervisor's threads are not here.

    Make a new supervisor in the child.
    """


class PermanentError(HaulierError):
    """Raise this in an impl for a failure that another attempt cannot fix. The download is never retried."""


class Throttled(HaulierError):
    """Raise this in an impl when the source asks for a pause ('429 Too Many Requests').

    The engine suspends the whole source for ``retry_after`` seconds. The download goes back to the head of the queue,
    and no attempt is spent. After the pause one download runs alone before the source opens fully.

    Raises ``TypeError`` if ``retry_after`` is not a number, ``ValueError`` if it is negative or not finite.
    """

    def __init__(self, retry_after: float, message: str = "") -> None:
        if isinstance(retry_after, bool) or not isinstance(retry_after, (int, float)):
            raise TypeError(f"retry_after must be a number of seconds, not {retry_after!r}")
        if not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after must be finite and at least 0, not {retry_after!r}")
        self.retry_after = float(retry_after)
        super().__init__(message or f"throttled for {self.retry_after:g} s")


class SourceCrashed(HaulierError):
    """Raise this in an impl when the client of the source is broken, so that the supervisor restarts the source."""


class DownloadCancelled(HaulierError):
    """Raised by ``Transfer.raise_if_cancelled()``. Let it leave the impl: the download then ends as ``Cancelled``."""
