"""What a source is doing, and why a download is not running: the answers to ``stats()`` and ``explain()``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import inf

from haulier._engine.core.source import Source
from haulier.records import WAITING_PHASES, Phase
from haulier.status import Explanation, SourceStatus

__all__ = ["Outlook", "explanation_of", "status_of"]


class Outlook:
    """What the waiting downloads of a source have before them at ``now`` (monotonic seconds).

    Call it under the source's lock. Without the lock the answer may be wrong while another thread changes the source.
    """

    def __init__(self, source: Source, now: float) -> None:
        self._source, self._now = source, now
        self._closed_by = source.gate.closed_by(now)
        self._places = source.gate.limit(source.slots.limit) - len(source.attempts.in_flight)
        """How many more downloads may run at once, whether their slots are hired or not."""

    @cached_property
    def _next_up(self) -> dict[str, int]:
        """The downloads that a place is free for, by id, with their positions in the queue (from 0)."""
        source, found = self._source, dict[str, int]()
        for download_id in source.queue.first(self._places):
            found[download_id] = len(found)
        return found

    @property
    def _served(self) -> float:
        """How many of them a slot would take now. While the source rests, no slot is hired for the others."""
        return self._source.slots.live - len(self._source.attempts.in_flight) if self._source.slots.resting else inf

    def reason(self, download_id: str) -> str | None:
        """What keeps a waiting download from starting now; the values are those of ``Explanation``."""
        source = self._source
        refusal, tried = source.refusal, source.queue.tried.get(download_id)
        if refusal is not None:
            return refusal.kind
        if tried is not None and tried.backs_off:
            return "back-off"
        if self._closed_by is not None and self._closed_by != "delay":
            return self._closed_by
        ahead = self._next_up.get(download_id, len(self._next_up))
        if ahead >= self._places:
            return "slot"
        if ahead >= self._served:
            return "restart"
        if self._closed_by or (ahead and source.gate.is_spaced):
            return "delay"
        return "engine" if self._waits_for_engine else None

    @property
    def _waits_for_engine(self) -> bool:
        return self._source.turns is not None and self._source.turns.waits(self._source.owner)

    @property
    def next_start(self) -> float | None:
        """The monotonic second at which a download could start next; None if that depends on more than time."""
        source = self._source
        opens_at = source.gate.opens_at() if self._closed_by else self._now
        if source.refusal is not None or self._places <= 0 or opens_at == inf or self._waits_for_engine:
            return None
        if self._served <= 0:
            opens_at = max(opens_at, source.slots.resting_until)
        return max(opens_at, self._now)

    def start_of(self, download_id: str, position: int | None) -> float | None:
        """The monotonic second at which a waiting download starts, if nothing else happens.

        None if that depends on more than time: on downloads before it, or on one whose back-off ends first.
        """
        source, at = self._source, self.next_start
        if at is None:
            return None
        due = {each: tried.due_at for each, tried in source.queue.tried.copy().items() if tried.backs_off}
        if (own := due.pop(download_id, None)) is not None:
            if len(source.queue.pending) > 1 or (
                source.slots.resting and own < source.slots.resting_until and self._served > 0
            ):
                return None
            return max(at, own)
        is_next = position == 0 or (position is not None and self.reason(download_id) is None)
        return at if is_next and min(due.values(), default=inf) > at else None


def status_of(source: Source, counts: Mapping[str, int], now: float, on: float) -> SourceStatus:
    """The status of a source at ``now`` (monotonic), which is ``on`` in UTC seconds. Needs the source's lock."""
    gate = source.gate
    next_start = Outlook(source, now).next_start
    return {
        "queued": len(source.queue.pending),
        "in_flight": len(source.attempts.in_flight),
        "succeeded": counts.get(Phase.SUCCEEDED, 0),
        "failed": counts.get(Phase.FAILED, 0),
        "cancelled": counts.get(Phase.CANCELLED, 0),
        "restarts": source.slots.restarts.total,
        "zombies": source.slots.zombies,
        "slots": source.slots.live,
        "concurrency": source.slots.limit,
        "delay": gate.delay,
        "down": source.refusal is not None and source.refusal.kind == "down",
        "paused": gate.paused,
        "suspended_until": on + (gate.suspended_until - now) if gate.suspended_until > now else None,
        "next_start": None if next_start is None else on + (next_start - now),
    }


def explanation_of(download_id: str, phase: str | None, source: Source | None, now: float, on: float) -> Explanation:
    """Why a download does not run at ``now`` (monotonic), which is ``on`` in UTC seconds. Needs the source's lock."""
    explanation: Explanation = {"phase": phase, "reason": None, "position": None, "earliest_start": None}
    if source is None or phase not in WAITING_PHASES:
        return explanation
    outlook = Outlook(source, now)
    explanation["reason"] = outlook.reason(download_id)
    explanation["position"] = source.queue.position(download_id)
    starts_at = outlook.start_of(download_id, explanation["position"])
    if starts_at is not None:
        explanation["earliest_start"] = on + (starts_at - now)
    return explanation
