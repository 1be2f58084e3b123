"""The upkeep of a durable store: prune the history, and give free room back to the file system, a little at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Final

from haulier._engine.storage.protocol import Storage
from haulier.errors import StoreUnavailable
from haulier.policies import Retention

__all__ = ["Upkeep"]

logger = logging.getLogger("haulier.store")

PRUNE_S: Final = 60.0
"""How often the history is pruned, in seconds."""

SHRINK_S: Final = 0.05
"""How long the store gives room back before it serves its messages again, in seconds."""

REST_S: Final = 0.1
"""Seconds until it continues."""


class Upkeep:
    """Decides what is due, and does it. Runs on the store's thread, between two batches."""

    def __init__(self, storage: Callable[[], Storage], retention: Retention) -> None:
        self._storage = storage
        self._retention = retention
        self.prune_at = monotonic()  # at once: a program that runs for less than a minute prunes, too
        self.shrink_at: float | None = None
        """When to give the next piece of room back (monotonic); None if there is none, as far as is known."""

    def run(self) -> None:
        """Do what is due. A failure is logged, and the next try is due at the next pruning."""
        if monotonic() >= self.prune_at:
            self.prune_at = monotonic() + PRUNE_S
            self._try("prune the history", self._prune)
            self.shrink_at = monotonic()
        if self.shrink_at is not None and monotonic() >= self.shrink_at:
            self.shrink_at = None
            self._try("make the database smaller", self._shrink)

    def _try(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreUnavailable as error:
            logger.warning("cannot %s: %s", what, error)

    def _prune(self) -> None:
        most, age_s = self._retention.max_history, self._retention.history_age
        if most is not None or age_s is not None:
            self._storage().prune(most, None if age_s is None else time() - age_s)

    def _shrink(self) -> None:
        until = monotonic() + SHRINK_S
        while self._storage().shrink():
            if monotonic() >= until:
                self.shrink_at = monotonic() + REST_S
                return
