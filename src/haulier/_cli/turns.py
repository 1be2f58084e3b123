"""Hosts take turns: so many at once, the next one when one is through, however long the list is."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from itertools import islice
from threading import Lock
from typing import Final

from haulier._engine.engine import DownloadEngine

__all__ = ["MOST_HOSTS", "Turns"]

MOST_HOSTS: Final = 64
"""At once, by default: more only share the same line, and each needs a thread, a connection and a file."""


class Turns:
    """``downloads``: how many each source has. Sources beyond the first ``most`` are paused until one is through."""

    def __init__(self, engine: DownloadEngine, downloads: Mapping[str, int], most: int) -> None:
        self._engine = engine
        self._left = Counter(downloads)
        self._waiting = deque(islice(downloads, min(most, len(downloads)), None))
        self._lock = Lock()
        for source in self._waiting:
            engine.pause(source)

    def ended(self, source: str) -> None:
        """One of the source's downloads is over."""
        with self._lock:
            self._left[source] -= 1
            follower = self._waiting.popleft() if self._waiting and not self._left[source] else None
        if follower is not None:
            self._engine.resume(follower)
