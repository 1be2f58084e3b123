"""What is due when: a heap of things with the monotonic second at which each is due."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Agenda"]

T = TypeVar("T")


class Agenda(Generic[T]):
    """Things to do later, the earliest first; things due at the same moment, in the order they were noted."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, thing: T) -> None:
        """Note that ``thing`` is due at ``at``."""
        heappush(self._heap, (at, next(self._order), thing))

    def prune(self, keep: Callable[[T], bool]) -> None:
        """Forget the things that ``keep`` is false for."""
        self._heap = [entry for entry in self._heap if keep(entry[2])]
        heapify(self._heap)

    def next_at(self) -> float | None:
        """When the earliest thing is due; None when nothing is."""
        return self._heap[0][0] if self._heap else None

    def first_due(self, now: float) -> T | None:
        """The earliest thing that is due at ``now``; None when nothing is due yet."""
        return self._heap[0][2] if self._heap and self._heap[0][0] <= now else None

    def pop_due(self, now: float) -> T | None:
        """The same, taken off the agenda."""
        return heappop(self._heap)[2] if self._heap and self._heap[0][0] <= now else None
