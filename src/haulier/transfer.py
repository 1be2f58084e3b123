"""What an impl is given of the download that it runs."""

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
    """One attempt at one download: what is wanted, whether it still is, and how far it has come.

    The object is also the fencing token: a report counts only while this very transfer is the one that the record
    is run by.
    """

    deadline: float | None = None
    """When the engine will give this attempt up, in ``time.monotonic()`` seconds; None for never."""
    cancelled = False
    """Whether the result is no longer wanted: cancelled, given up on, or the engine is closing."""
    fenced = False
    """Whether the record has ended without waiting for this attempt: its report no longer counts."""
    over = False
    """Whether its impl has returned: what threads of its own still say of its progress no longer counts."""
    claimed = False
    """Taken, but not yet at the impl: where starts are spaced, the next one is counted from there."""
    given_up = False
    """Whether the engine waits for its impl no longer: its thread is a zombie until it returns."""
    first_start: float | None = None
    """When the first attempt at the download started; None where this is the first."""
    idle_s = 0.0
    """Seconds of back-off between the attempts so far."""
    moved: Any = None
    """The progress that was seen last, and ``moved_at``, since when, by whoever looks for stalls."""
    moved_at = 0.0
    look_at = 0.0
    """When the supervisor looks after its time-outs next: of several that tell it to, this one goes on."""
    _meter: Meter | None = None
    _sample_at = 0.0

    # Defaults above, on the class: nine values that mostly stay as they are need not be set for each attempt.
    def __init__(self, ticket: Any, attempt: int, cell: Record, started_at: float, started_on: float = 0.0) -> None:
        self.ticket = ticket
        self.attempt = attempt
        """Starts at 1."""
        self.cell = cell
        """The latest progress, which readers lay over the record: writing it needs no message."""
        self.started_at = started_at
        """When this attempt started, in ``time.monotonic()`` seconds."""
        self.started_on = started_on
        """The same in UTC seconds since the epoch."""

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
        """What to download: the very object that was dispatched."""
        return self.ticket[TARGET_ID]

    @property
    def display_name(self) -> str:
        """The name for people."""
        return str(self.ticket[DISPLAY_NAME])

    @property
    def filename(self) -> str:
        """``original_filename``, as dispatched."""
        return str(self.ticket[FILENAME])

    def progress(self, transferred: int, size: int | None = None) -> None:
        """Say that ``transferred`` bytes of ``size`` (None: unknown) are here.

        Cheap enough for every 16 KiB: the numbers go into a cell that readers look into; speed (bytes per second) and
        time remaining (seconds) are computed four times a second. Ignored once the record has ended
        without this attempt, or the impl has returned.
        """
        if self.fenced or self.over:
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
        """Raise ``DownloadCancelled`` if the result is no longer wanted. Let the exception pass through the impl."""
        if self.cancelled:
            raise DownloadCancelled(f"{self.display_name} is no longer wanted")

    def __repr__(self) -> str:
        return f"<Transfer {self.download_id} of {self.source}, attempt {self.attempt}>"


def current_transfer() -> Transfer:
    """The transfer that the calling impl runs, on the impl's own thread.

    Raises ``LookupError`` elsewhere: on a thread that the impl started, hand the transfer over.
    """
    transfer = _current.get()
    if transfer is None:
        raise LookupError("no download runs on this thread: current_transfer() is for impls")
    return transfer


set_current = _current.set


def running() -> Transfer | None:
    """The same, or None outside impls."""
    return _current.get()
