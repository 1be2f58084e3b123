"""Download ids: UUID4 strings, made many at a time.

``uuid.uuid4()`` asks the operating system for 16 bytes each time and releases the interpreter lock for that. Under load
that is a thread switch per id.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["new_id"]

_BATCH: Final = 256
_VERSION_4: Final = bytes(octet & 0x0F | 0x40 for octet in range(256))
_VARIANT: Final = bytes(octet & 0x3F | 0x80 for octet in range(256))
_LINE: Final = b"00000000-0000-0000-0000-000000000000\n"
_PLACES: Final = [place for place, character in enumerate(_LINE) if character == ord("0")]
_pool: list[str] = []


def new_id() -> str:
    """Return a random UUID (RFC 9562, version 4) as a string of 36 characters."""
    try:
        return _pool.pop()
    except IndexError:
        first, *rest = _some_ids()
        _pool.extend(rest)
        return first


def _some_ids() -> list[str]:
    octets = bytearray(os.urandom(16 * _BATCH))
    octets[6::16] = octets[6::16].translate(_VERSION_4)
    octets[8::16] = octets[8::16].translate(_VARIANT)
    digits = octets.hex().encode()
    lines = bytearray(_LINE * _BATCH)
    for number, place in enumerate(_PLACES):  # one digit of all ids at a time: a step in C instead of one per id
        lines[place :: len(_LINE)] = digits[number :: len(_PLACES)]
    return lines.decode().split()


if hasattr(os, "register_at_fork"):
    # A child must not hand out the ids that its parent still has in stock.
    os.register_at_fork(after_in_child=_pool.clear)
