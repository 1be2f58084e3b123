"""``Transfer``: what an impl sees of the download that it runs."""

from __future__ import annotations

from contextvars import ContextVar
from time import monotonic
from typing import Any

from haulier._engine.ticket import DISPLAY_NAME, FILENAME, ID, SOURCE, TARGET_ID
from haulier.errors import DownloadCancelled
from haulier.progress import SAMPLE_S, Meter
from haulier.records import Record

__all__ = ["Transfer", "current_transfer"]

_current: ContextVar[Transfer | None] = ContextVar("haulier_transfer", default=None)


class Transfer:
    """One attempt at one download: what to download, whether it is still wanted, and its progress.

    The object is also the fencing token: a report counts only while the record's running attempt is this very object.
    """

    deadline: float | None = None
    """When the engine gives up on this attempt, in ``time.monotonic()`` seconds; None means never."""
    cancelled = False
    """Whether the result is no longer wanted: it was cancelled or given up on, or the engine is closing."""
    fenced = False
    """Whether the record ended without this attempt. The attempt's report then no longer counts."""
    has_ended = False
    """Whether the impl has returned. Progress that the impl's own threads still report no longer counts."""
    claimed = False
    """Taken by a slot, but the impl is not called yet. A delay between starts counts from the call."""
    given_up = False
    """Whether the engine gave up on the impl. Its thread is a zombie until the impl returns."""
    first_start: float | None = None
    """When the first attempt at the download started, in ``time.monotonic()`` seconds; None if this is the first."""
    idle_s = 0.0
    """Seconds of back-off between the attempts so far."""
    moved: Any = None
    """The progress that the supervisor saw last; ``moved_at``: when that changed. It looks for stalls."""
    moved_at = 0.0
    look_at = 0.0
    """When the supervisor checks the time-outs next. Of several such messages only the one for this time counts."""
    _meter: Meter | None = None
    _sample_at = 0.0

    # The defaults stand on the class, so that an attempt need not set nine values that rarely change.
    def __init__(self, ticket: Any, attempt: int, cell: Record, started_at: float, started_on: float = 0.0) -> None:
        self.ticket = ticket
        self.attempt = attempt
        """The number of this attempt, from 1."""
        self.cell = cell
        """The latest progress. Readers lay it over the record, so that writing it needs no message."""
        self.started_at = started_at
        """When this attempt started, in ``time.monotonic()`` seconds."""
        self.started_on = started_on
        """When this attempt started, in UTC seconds since the epoch."""

    @property
    def download_id(self) -> str:
        """The id of the download, a UUID4 string."""
        return str(self.ticket[ID])

    @property
    def source(self) -> str:
        """The name of the source."""
        return str(self.ticket[SOURCE])

    @property
    def target_id(self) -> Any:
        """What to download: the object that was dispatched. After a restart it is an equal one from the store."""
        return self.ticket[TARGET_ID]

    @property
    def display_name(self) -> str:
        """The name that people see, as dispatched."""
        return str(self.ticket[DISPLAY_NAME])

    @property
    def filename(self) -> str:
        """``original_filename``, as dispatched."""
        return str(self.ticket[FILENAME])

    def progress(self, transferred: int, size: int | None = None) -> None:
        """Report that ``transferred`` bytes of ``size`` bytes have arrived. ``size=None``: unknown.

        A call is cheap enough for every 16 KiB. Speed (bytes per second) and time remaining (seconds) are computed four
        times a second. The call does nothing once the record has ended without this attempt or the impl has returned.
        """
        if self.fenced or self.has_ended:
            return
        cell = self.cell
        cell["transferred"] = transferred
        if size:
            cell["size"] = size
            cell["progress"] = min(100.0, 100.0 * transferred / size)
        now = monotonic()
        if now >= self._sample_at:
            self._sample(transferred, size, now)

    def _sample(self, transferred: int, size: int | None, now: float) -> None:
        self._sample_at = now + SAMPLE_S
        if self._meter is None:
            self._meter = Meter(transferred, now)
            return
        speed = self._meter.sample(transferred, now)
        remaining = self._meter.remaining(transferred, size) if size else None
        self.cell.update(speed=speed, time_remaining=remaining)

    def raise_if_cancelled(self) -> None:
        """Raise ``DownloadCancelled`` if the result is no longer wanted. Let the exception leave the impl."""
        if self.cancelled:
            raise DownloadCancelled(f"{self.display_name} is no longer wanted")

    def __repr__(self) -> str:
        return f"<Transfer {self.download_id} of {self.source}, attempt {self.attempt}>"


def current_transfer() -> Transfer:
    """Return the transfer of the impl that runs on the calling thread.

    Raises ``LookupError`` on any other thread. Pass the transfer to the threads that an impl starts.
    """
    transfer = _current.get()
    if transfer is None:
        raise LookupError("no download runs on this thread: current_transfer() is for impls")
    return transfer


set_current = _current.set


def running() -> Transfer | None:
    """Return the transfer of the impl that runs on the calling thread; None if no impl does."""
    return _current.get()
