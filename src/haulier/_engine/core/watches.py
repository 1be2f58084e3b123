"""Who waits for which download: each callback is called once, when the download has ended."""

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
        """By the id of the download that they wait for."""
        self.due: deque[tuple[list[Callback], Record]] = deque()
        """Callbacks for the shell to call, with the record for each. The shell removes each one that it has called."""
        self.is_closed = False
        """Whether the engine is closed, and downloads that wait are for the next one."""

    def watch(self, download_id: str, stored: Stored, callback: Callback) -> bool:
        """Call ``callback`` when a download has ended. Returns False if it has ended, or the next engine has it."""
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
        """Move the callbacks of a download that has ended or was removed to ``due``.

        If this is interrupted and repeated, ``due`` holds the same list twice, and each callback still runs once.
        """
        callbacks = self.callbacks.get(download_id)
        if callbacks is not None:
            self.due.append((callbacks, view(stored)))
            del self.callbacks[download_id]

    def close(self, watched: Mapping[str, Stored]) -> None:
        """Call the callbacks of downloads that are kept for the next engine, because this one closes."""
        self.is_closed = True
        for download_id, stored in watched.items():
            if self._goes_on(stored):
                self.call(download_id, stored)

    def _goes_on(self, stored: Stored) -> bool:
        return self.is_closed and phase_of(stored) in _WAITING
