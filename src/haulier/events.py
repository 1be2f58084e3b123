"""What subscribers hear, in the past tense. ``on`` is in UTC seconds since the epoch."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from haulier.records import Record

__all__ = ["Changed", "Discarded", "Event", "Missed", "Removed"]


class Changed(NamedTuple):
    """A download came into a phase. ``record`` is a copy as of then; ``record['phase']`` says which phase.

    The phases of one download arrive in the order in which it went through them.
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
    """A file landed for a download that had been cancelled or given up on. ``deleted``: whether haulier deleted it."""

    download_id: str
    source: str
    path: str
    deleted: bool
    on: float


class Missed(NamedTuple):
    """This subscriber was too slow: ``events`` of its events before the next one were dropped, and only its own."""

    events: int


Event: TypeAlias = Changed | Removed | Discarded | Missed
