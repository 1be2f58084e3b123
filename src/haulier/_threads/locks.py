"""Locks whose holder may be interrupted in any step."""

from __future__ import annotations

from typing import Any

__all__ = ["release_all"]


def release_all(*locks: Any) -> None:
    """Release reentrant locks as often as the calling thread holds them."""
    for lock in locks:
        while lock._is_owned():
            lock.release()
