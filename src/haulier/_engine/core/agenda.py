"""A heap of things to do later, each with the monotonic second at which it is due."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Agenda"]

T = TypeVar("T")


class Agenda(Generic[T]):
    """Things to do later, the earliest first. Things due at the same moment keep the order in which they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, thing: T) -> None:
        """Add a thing that is due at ``at``."""
        heappush(self._heap, (at, next(self._order), thing))

    def prune(self, keep: Callable[[T], bool]) -> None:
        """Drop the things for which ``keep(thing)`` is false."""
        self._heap = [entry for entry in self._heap if keep(entry[2])]
        heapify(self._heap)

    def next_at(self) -> float | None:
        """When the earliest thing is due; None if the agenda is empty."""
        return self._heap[0][0] if self._heap else None

    def first_due(self, now: float) -> T | None:
        """The earliest thing that is due at ``now``; None if nothing is due yet."""
        return self._heap[0][2] if self._heap and self._heap[0][0] <= now else None

    def pop_due(self, now: float) -> T | None:
        """Remove and return the earliest thing that is due at ``now``; None if nothing is due yet."""
        return heappop(self._heap)[2] if self._heap and self._heap[0][0] <= now else None
