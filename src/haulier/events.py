"""The events that subscribers receive. Every ``on`` is in UTC seconds since the epoch."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from haulier.records import Record

__all__ = ["Changed", "Discarded", "Event", "Missed", "Removed"]


class Changed(NamedTuple):
    """A download entered a phase. ``record`` is a copy of its record at that moment.

    The events of one download arrive in the order of its phases.
    """

    download_id: str
    source: str
    phase: str
    record: Record
    on: float


class Removed(NamedTuple):
    """A record was removed: by a caller, by ``clear_all_completed_downloads`` or by retention."""

    download_id: str
    source: str
    on: float


class Discarded(NamedTuple):
    """An impl returned a file for a download that had ended before. ``deleted``: whether haulier deleted the file."""

    download_id: str
    source: str
    path: str
    deleted: bool
    on: float


class Missed(NamedTuple):
    """The subscriber was too slow: haulier dropped ``events`` of its events here. Others are not affected."""

    events: int


Event: TypeAlias = Changed | Removed | Discarded | Missed
