"""What ``DownloadEngine.stats()`` and ``explain()`` return."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["Explanation", "SourceStatus"]


class SourceStatus(TypedDict):
    """One source at one moment, as ``stats()`` gives it. Times are UTC seconds since the epoch, None for unset."""

    queued: int
    """Downloads that wait for their first attempt or for another one."""
    in_flight: int
    """Downloads whose impl runs."""
    succeeded: int
    """Downloads that have succeeded since the engine was made."""
    failed: int
    """Downloads that have failed since the engine was made."""
    cancelled: int
    """Downloads that were cancelled since the engine was made."""
    restarts: int
    """How often a crashed source actor was restarted since the engine was made."""
    zombies: int
    """Impls that the engine has given up on and that still run."""
    slots: int
    """Source actors that live. After the limit was lowered, surplus ones leave as soon as their impl returns."""
    concurrency: int
    """How many impls may run at once."""
    delay: float
    """Seconds between two downloads, before jitter."""
    down: bool
    """Whether the source crashed too often and takes nothing until ``revive``."""
    paused: bool
    suspended_until: float | None
    """When the pause ends that ``Throttled`` asked for."""
    next_start: float | None
    """The earliest start of another download; None if that depends on more than time."""


class Explanation(TypedDict):
    """Why a download is not running, as ``explain()`` gives it."""

    phase: str | None
    """The phase of the record; None for a record that ``add_record`` made, since no source has it."""
    reason: str | None
    """What keeps the download from starting now; None if it is about to start, or does not wait.

    Of several reasons the first in this list:

    - ``closed``: the engine is closed. ``down``: the source crashed too often.
    - ``back-off``: the next attempt is not due yet.
    - ``unregistered``: it was restored from disk, and its source is not registered yet.
    - ``store``: the durable store cannot write at the moment.
    - ``pause``: the source is paused. ``suspension``: the source was throttled.
    - ``slot``: the downloads that run and those before it take every slot. A source that was throttled has one slot
      until a download has succeeded.
    - ``restart``: the source rests after a crash, and no other slot is free.
    - ``delay``: the delay since the last download, or those that downloads before it will cause.
    - ``engine``: as many downloads run as ``max_running`` allows, and other sources are before this one.
    """
    position: int | None
    """The position in the queue of its source; 0 is next. None if it is not in the queue."""
    earliest_start: float | None
    """When it starts if nothing else happens, UTC seconds; None if that depends on more than time."""
