"""How many downloads of an engine run at once, over all its sources, and which source is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, Protocol

__all__ = ["CALL_S", "EngineLimit", "Turns"]

CALL_S: Final = 5.0
"""How many seconds a place is kept for a source that was called: longer than a loaded machine takes for a thread."""


class EngineLimit(Protocol):
    """What a source asks before it starts a download. It names itself by its owner."""

    def take(self, owner: Hashable) -> bool:
        """Start a download if one may start now. Otherwise the source waits for its turn."""

    def admits(self, owner: Hashable) -> bool:
        """Whether a download may start now. Otherwise the source waits for its turn."""

    def waits(self, owner: Hashable) -> bool:
        """Whether the source waits for its turn."""

    def give_back(self, owner: Hashable) -> None:
        """Count the end of a download."""

    def pass_on(self, owner: Hashable) -> None:
        """Give up the place that is kept for the source, since it has nothing to start."""

    def recount(self, owner: Hashable, running: int) -> None:
        """Correct how many downloads of the source run, after an interrupted step."""


class Turns:
    """At most ``limit`` downloads run at once (None: no limit). Sources that wait are called in turn.

    Sources are named by any hashable object; ``now`` is in monotonic seconds. A method that may free a place returns
    the sources to call. A called source must try to start a download (``take``) or pass its place on (``pass_on``). If
    it does neither within ``CALL_S``, it loses the place, so that a source whose thread died holds up no other.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.running = 0
        """How many downloads run now."""
        self._running_at: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, None] = {}
        """Sources that want to start a download, the one that has waited longest first."""
        self._called: dict[Hashable, float] = {}
        """Sources for which a place is kept, with the time of the call."""

    def take(self, source: Hashable, now: float) -> bool:
        """Start a download at ``source`` if one may start now. Otherwise the source waits for its turn."""
        if not self.admits(source, now):
            return False
        self._called.pop(source, None)
        self._waiting.pop(source, None)
        self._count(source, 1)
        return True

    def admits(self, source: Hashable, now: float) -> bool:
        """Whether a download may start at ``source`` now. Otherwise the source waits for its turn."""
        self._drop_overdue(now)
        if source in self._called or (self._has_place and next(iter(self._waiting), source) == source):
            return True
        self._waiting.setdefault(source)
        return False

    def waits(self, source: Hashable) -> bool:
        """Whether ``source`` waits for its turn."""
        return source in self._waiting

    @property
    def is_busy(self) -> bool:
        """Whether any source waits, or has been called."""
        return bool(self._waiting or self._called)

    def _drop_overdue(self, now: float) -> None:
        """Take their places from the sources that were called and did not come."""
        for source in [each for each, since in self._called.items() if since + CALL_S <= now]:
            del self._called[source]

    @property
    def _has_place(self) -> bool:
        return self.limit is None or self.running + len(self._called) < self.limit

    def _count(self, source: Hashable, change: int) -> None:
        self.running += change
        self._running_at[source] += change
        if not self._running_at[source]:
            del self._running_at[source]

    def give_back(self, source: Hashable, now: float) -> list[Hashable]:
        """Count the end of a download. Returns the sources to call."""
        self._count(source, -1)
        return self.call(now)

    def pass_on(self, source: Hashable, now: float) -> list[Hashable]:
        """Give up the place that is kept for ``source``, if there is one. Returns the sources to call."""
        if self._called.pop(source, None) is None:
            return []
        return self.call(now)

    def recount(self, source: Hashable, running: int, now: float) -> list[Hashable]:
        """Correct how many downloads of ``source`` run. Returns the sources to call."""
        self._count(source, running - self._running_at[source])
        return self.call(now)

    def set_limit(self, limit: int | None, now: float) -> list[Hashable]:
        """Change the limit. Running downloads finish. Returns the sources to call."""
        self.limit = limit
        self._waiting = {**dict.fromkeys(self._called), **self._waiting}
        self._called = {}
        return self.call(now)

    def call(self, now: float) -> list[Hashable]:
        """Keep the free places for the sources that have waited longest. Returns these sources."""
        self._drop_overdue(now)
        calls = []
        while self._waiting and self._has_place:
            source = next(iter(self._waiting))
            del self._waiting[source]
            self._called[source] = now
            calls.append(source)
        return calls
