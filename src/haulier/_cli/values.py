"""Parse the text of an option: numbers, seconds, bytes, factors. Used by the arguments and by ``--config``.

Every parser raises ``ValueError`` if the text is invalid; the message is meant for the user.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

__all__ = ["MOST_HOSTS", "at_least", "byte_count", "header", "jitter", "rate", "seconds", "seconds_above_zero", "speed"]

MOST_HOSTS: Final = 64
"""From how many hosts ``haulier get`` downloads at once by default.

More would share the same network line, and each needs a thread.
"""

_MOST_SECONDS: Final = 1e9
"""About 30 years. A larger value is a typing error, and the system's clocks reject it."""

USUAL_SPAN_S: Final = 30.0
"""Over how many seconds ``--min-speed`` is averaged by default."""

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def at_least(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers of at least ``least``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"invalid number {text!r}; use a whole number, such as {max(1, least)}") from None
        if value < least:
            raise ValueError(f"must be at least {least}, not {value}")
        return value

    return number


def seconds(text: str) -> float:
    """Parse a number of seconds, at least 0."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"invalid number of seconds {text!r}; use a number such as 2 or 0.5") from None
    if not math.isfinite(value) or not 0 <= value <= _MOST_SECONDS:
        raise ValueError(f"must be between 0 and {_MOST_SECONDS:,.0f} seconds, not {text}")
    return value


def seconds_above_zero(text: str) -> float:
    """Parse a number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise ValueError("must be above 0 seconds")
    return value


def byte_count(text: str) -> int:
    """Parse a number of bytes: ``4096``, ``500k``, ``1.5M`` (powers of 1,000), ``64KiB`` (powers of 1,024)."""
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"invalid number of bytes {text!r}; use a number such as 4096, 500k, 1.5M or 2GiB")
    count = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])
    if count < 1:
        raise ValueError("must be at least 1 byte")
    return count


def rate(text: str) -> int:
    """Parse a number of bytes per second, such as ``500k`` or ``2M/s``."""
    return byte_count(text.strip().removesuffix("/s"))


def speed(text: str) -> tuple[int, float]:
    """Parse a least speed such as ``10k`` or ``10k/60``: bytes per second, and over how many seconds (default 30)."""
    count, slash, over = text.strip().partition("/")
    over = over.strip().removesuffix("s").strip()
    return byte_count(count), seconds_above_zero(over) if slash and over else USUAL_SPAN_S


def jitter(text: str) -> tuple[float, float]:
    """Parse a range of factors such as ``0.5-1.5``. A single number is the distance from 1: ``0.5`` is ``0.5-1.5``."""
    low, dash, high = text.partition("-")
    try:
        factors = (float(low), float(high)) if dash else (1 - float(low), 1 + float(low))
    except ValueError:
        raise ValueError(f"invalid range {text!r}; use two factors such as 0.5-1.5") from None
    if not 0 <= factors[0] <= factors[1] < math.inf:
        raise ValueError(f"must be the lower factor, then the higher, both at least 0, such as 0.5-1.5, not {text}")
    return factors


def header(text: str) -> tuple[str, str]:
    """Parse ``Name: value``. The error does not show the value, which may be a secret."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError("invalid header; write it as 'Name: value'")
    return name.strip(), value.strip()
