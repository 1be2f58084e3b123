"""How downloads ended whose records have left memory: enough for a program that waits for them only afterwards."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, TypeAlias

from haulier._engine.core.entry import Stored, view
from haulier._engine.ticket import SUCCESS_ENDED_ON, SUCCESS_PATH, is_success
from haulier.records import STATE_OF_PHASE, Phase, Record

__all__ = ["MOST_DEPARTED", "Departed"]

MOST_DEPARTED: Final = 50_000
"""How many ends are kept, the latest: some 16 MB at most. A program that dispatches more than its engine retains, and
then waits for all, finds each of them here."""

_KEYS: Final = ("state", "phase", "file_path", "error", "error_type", "finished_at")

_ABSENT: Final = object()
"""Stands for a key that a record does not have."""

_End: TypeAlias = tuple[Any, ...]
"""Source, path and end of a success at the first attempt; or the source and the value of each of ``_KEYS``. A tuple of
plain values is nothing to the cycle collector."""


class Departed:
    """The last ``MOST_DEPARTED`` records that retention evicted, in short."""

    def __init__(self) -> None:
        self._ends: dict[str, _End] = {}
        self._ids: deque[str] = deque()
        """The keys of ``_ends``, the oldest first."""

    def add(self, source: str, download_id: str, stored: Stored) -> None:
        """Keep how a download ended."""
        if is_success(stored):
            end: _End = (source, stored[SUCCESS_PATH], stored[SUCCESS_ENDED_ON])
        else:
            record = view(stored)
            end = (source, *(record.get(key, _ABSENT) for key in _KEYS))
        if download_id not in self._ends:
            self._ids.append(download_id)
        self._ends[download_id] = end
        if len(self._ids) > MOST_DEPARTED:
            del self._ends[self._ids.popleft()]

    def record(self, download_id: str) -> Record | None:
        """Return a short record: id, source, state, phase, path, error and the time of the end. None if unknown."""
        end = self._ends.get(download_id)
        if end is None:
            return None
        about: Record = {"id": download_id, "source": end[0]}
        if len(end) > 3:
            return about | {key: value for key, value in zip(_KEYS, end[1:], strict=True) if value is not _ABSENT}
        phase = Phase.SUCCEEDED
        return about | {
            "state": STATE_OF_PHASE[phase], "phase": phase, "file_path": end[1], "error_type": None,
            "finished_at": end[2],
        }  # fmt: skip
