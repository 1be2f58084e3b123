"""What a source is doing, and why a download is not running: the answers to ``stats()`` and ``explain()``."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TypedDict

from haulier.core.source import Source
from haulier.records import Phase

__all__ = ["Explanation", "SourceStatus", "explanation_of", "status_of"]


class SourceStatus(TypedDict):
    """One source at one moment. Moments are in UTC seconds since the epoch, None for 'not'."""

    queued: int
    """Waiting for their turn or for their next attempt."""
    in_flight: int
    succeeded: int
    failed: int
    cancelled: int
    restarts: int
    """Of crashed source actors, over the life of the engine."""
    zombies: int
    """Impls that were given up on and still run."""
    slots: int
    """Source actors that live: at most ``concurrency``."""
    concurrency: int
    delay: float
    down: bool
    paused: bool
    suspended_until: float | None
    next_start: float | None
    """The earliest start of another download; None where that depends on something else than time."""


class Explanation(TypedDict):
    """Why a download is not running."""

    phase: str | None
    """None for a record that ``add_record`` made: no source has it."""
    reason: str | None
    """``slot``, ``delay``, ``pause``, ``suspension``, ``back-off``, ``restart``, ``down``, ``closed``; or None."""
    position: int | None
    """In the queue of its source; 0 is next. None where it is not in the queue."""
    earliest_start: float | None
    """UTC seconds; None where that depends on something else than time."""


def status_of(source: Source, counts: Mapping[str, int], now: float, on: float) -> SourceStatus:
    """The status at ``now`` (monotonic), which is ``on`` in UTC seconds."""
    gate = source.gate
    return {
        "queued": len(source.pending),
        "in_flight": len(source.in_flight),
        "succeeded": counts.get(Phase.SUCCEEDED, 0),
        "failed": counts.get(Phase.FAILED, 0),
        "cancelled": counts.get(Phase.CANCELLED, 0),
        "restarts": source.restarts.total,
        "zombies": source.zombies,
        "slots": source.live,
        "concurrency": source.limit,
        "delay": gate.delay,
        "down": source.refusal is not None and source.refusal.kind == "down",
        "paused": gate.paused,
        "suspended_until": on + gate.suspended_until - now if gate.suspended_until > now else None,
        "next_start": _next_start(source, now, on),
    }


def _next_start(source: Source, now: float, on: float) -> float | None:
    if source.refusal is not None or source.resting or len(source.in_flight) >= gate_limit(source):
        return None
    opens_at = source.gate.opens_at()
    return None if opens_at == inf else on + max(0.0, opens_at - now)


def gate_limit(source: Source) -> int:
    """How many may run at once just now."""
    return source.gate.limit(source.limit)


def explanation_of(download_id: str, phase: str | None, source: Source | None, now: float, on: float) -> Explanation:
    """The explanation at ``now`` (monotonic), which is ``on`` in UTC seconds."""
    told: Explanation = {"phase": phase, "reason": None, "position": None, "earliest_start": None}
    if source is None or phase not in (Phase.QUEUED, Phase.BACKING_OFF):
        return told
    told["reason"] = source.why(download_id, now)
    if told["reason"] == "back-off":
        tried = source.tried.get(download_id)  # no lock is held: it may have gone by now
        told["earliest_start"] = None if tried is None else on + tried.due_at - now
        return told
    ahead = [each for each in list(source.queue) if each in source.pending]
    if download_id in ahead:
        told["position"] = ahead.index(download_id)
        if told["position"] == 0:
            told["earliest_start"] = _next_start(source, now, on)
    return told
