"""Every exception of haulier, in one tree.

::

    HaulierError
    ├── EngineClosed        dispatch, and every other write, after close()
    │   └── ForkedEngine    a forked child touched its parent's engine: make a new one in the child
    ├── SourceDown          dispatch to a source that crashed too often: mend it, then revive(source)
    ├── QueueFull           dispatch to a source with max_queued downloads waiting: try later
    ├── StoreUnavailable    the record store cannot go on: nothing was accepted
    │   └── StoreLocked         another engine has the database: one at a time
    ├── UnknownDownload     wait() for a download that has no record
    ├── SupervisorStopped   haulier.supervision: start or revive after stop()
    │   └── ForkedSupervisor   a forked child touched its parent's supervisor: make a new one in the child
    └── raised by an impl, to say what happened to it
        ├── PermanentError      failed for good: no further attempt
        ├── Throttled           the source asks for a pause: everybody waits, no attempt is spent
        ├── SourceCrashed       the source's client is broken: restart the source
        └── DownloadCancelled   the impl noticed the cancel (Transfer.raise_if_cancelled())

Bad arguments are plain ``ValueError`` and ``TypeError``, raised at the call, before anything is stored.
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
]


class HaulierError(Exception):
    """The base of all of haulier's exceptions."""


class EngineClosed(HaulierError):
    """The engine was closed; it takes no more work. Its records can still be read."""


class ForkedEngine(EngineClosed):
    """This process is a fork of the one that made the engine; the engine's threads are not here.

    Make a new engine in the child.
    """


def forked() -> ForkedEngine:
    """What a forked child is told that touches its parent's engine."""
    return ForkedEngine("this engine was made before the fork, and its threads are not here: make a new one")


class SourceDown(HaulierError):
    """The source was given up on (too many restarts or hung threads). ``engine.revive(source)`` reopens it."""


class QueueFull(HaulierError):
    """As many downloads wait at this source as its policy's ``max_queued`` allows."""


class StoreUnavailable(HaulierError):
    """The record store cannot accept records."""


class StoreLocked(StoreUnavailable):
    """Another engine has the database, in this process or another one: it is one engine's at a time.

    Close that one, or give this one a file, or a name, of its own.
    """


class UnknownDownload(HaulierError, LookupError):
    """No record with this id: it never existed, was removed, or retention let it go."""


class SupervisorStopped(HaulierError):
    """The supervisor was stopped; it starts and revives nothing more."""


class ForkedSupervisor(SupervisorStopped):
    """This process is a fork of the one that made the supervisor; the supervisor's threads are not here.

    Make a new supervisor in the child.
    """


class PermanentError(HaulierError):
    """Raise it in an impl for a failure that no further attempt can mend: it is never retried."""


class Throttled(HaulierError):
    """Raise it in an impl when the source asks for a pause ('429 Too Many Requests').

    The whole source is suspended for ``retry_after`` seconds, the download goes back to the head of its queue and no
    attempt is spent; then one download is tried alone before the source opens fully.

    Raises ``ValueError`` or ``TypeError`` for a ``retry_after`` that is not a finite number of at least 0.
    """

    def __init__(self, retry_after: float, message: str = "") -> None:
        if isinstance(retry_after, bool) or not isinstance(retry_after, (int, float)):
            raise TypeError(f"retry_after must be a number of seconds, not {retry_after!r}")
        if not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after must be finite and at least 0, not {retry_after!r}")
        self.retry_after = float(retry_after)
        super().__init__(message or f"throttled for {self.retry_after:g} s")


class SourceCrashed(HaulierError):
    """Raise it in an impl when the source's client itself is broken, so that the supervisor restarts the source."""


class DownloadCancelled(HaulierError):
    """Raised by ``Transfer.raise_if_cancelled()``: let it pass, and the download ends as ``Cancelled``."""
