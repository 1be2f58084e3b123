"""Dispatch one download as the tests of the threads do: only the impl, the target and the source matter to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import haulier
from haulier import DownloadEngine

__all__ = ["dispatch", "dispatch_until_full"]


def dispatch(
    engine: DownloadEngine, fetch: Callable[..., Any] | None = None, target: object = 1, source: str = "tidal"
) -> str:
    """Dispatch one download and return its id. Without ``fetch`` the source's own impl runs it."""
    return engine.worker.dispatch(source, target, "n", "f", fetch)


def dispatch_until_full(engine: DownloadEngine, tries: int) -> list[str]:
    """Dispatch ``tries`` downloads and return the ids of those that the engine accepted."""
    ids = []
    for _ in range(tries):
        try:
            ids.append(dispatch(engine))
        except haulier.QueueFull:
            pass
    return ids
