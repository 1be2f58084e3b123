"""Who watches which download: each watcher is called once, when it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from haulier._engine.core.entry import Stored, is_terminal, phase_of, view
from haulier.records import Phase, Record

__all__ = ["Watches"]

Callback: TypeAlias = Callable[[Record], None]

_WAITING: Final = (Phase.QUEUED, Phase.BACKING_OFF)


class Watches:
    """The watchers of a ledger."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callback]] = {}
        """By the id of what they wait for."""
        self.due: deque[tuple[list[Callback], Record]] = deque()
        """What the shell is to call, and with what; it takes off the list whom it has called."""
        self._is_closed = False

    def watch(self, download_id: str, stored: Stored, callback: Callback) -> bool:
        """Have ``callback`` called when a download is over; False where it is, or goes on with another engine."""
        if is_terminal(stored) or self._goes_on(stored):
            return False
        self.callbacks.setdefault(download_id, []).append(callback)
        return True

    def unwatch(self, download_ids: Collection[str], callback: Callback) -> None:
        """Undo ``watch``, as often as an id is named."""
        for download_id in download_ids:
            callbacks = self.callbacks.get(download_id, [])
            if callback in callbacks:
                callbacks.remove(callback)
                if not callbacks:
                    del self.callbacks[download_id]

    def call(self, download_id: str, stored: Stored) -> None:
        """Have the callbacks of a download called that has ended or was removed; they watch it no longer.

        If this is interrupted and done again, the list is the same, and each callback runs once.
        """
        callbacks = self.callbacks.get(download_id)
        if callbacks is not None:
            self.due.append((callbacks, view(stored)))
            del self.callbacks[download_id]

    def close(self, watched: Mapping[str, Stored]) -> None:
        """Close with the engine: call the callbacks of downloads that are kept for the next engine."""
        self._is_closed = True
        for download_id, stored in watched.items():
            if self._goes_on(stored):
                self.call(download_id, stored)

    def _goes_on(self, stored: Stored) -> bool:
        return self._is_closed and phase_of(stored) in _WAITING
