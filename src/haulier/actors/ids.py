"""Download ids: UUID4 strings, made many at a time.

``uuid.uuid4()`` asks the operating system for 16 bytes and lets go of the interpreter each time; under load that is a
thread switch per id.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["new_id"]

_BATCH: Final = 64
_pool: list[str] = []


def new_id() -> str:
    """A random UUID (RFC 9562, version 4) as a string of 36 characters."""
    try:
        return _pool.pop()
    except IndexError:
        first, *rest = _some_ids()
        _pool.extend(rest)
        return first


def _some_ids() -> list[str]:
    digits = os.urandom(16 * _BATCH).hex()
    ids = []
    for i in range(0, len(digits), 32):
        d = digits[i : i + 32]
        variant = "89ab"[int(d[16], 16) & 3]
        ids.append(f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{variant}{d[17:20]}-{d[20:]}")
    return ids


if hasattr(os, "register_at_fork"):
    # A child must not hand out the ids that its parent still has in stock.
    os.register_at_fork(after_in_child=_pool.clear)
