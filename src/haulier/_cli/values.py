"""What an option's text means: numbers, seconds, bytes, factors. Used by the arguments and by the configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

__all__ = ["MOST_HOSTS", "at_least", "byte_count", "header", "jitter", "rate", "seconds", "seconds_above_zero"]

MOST_HOSTS: Final = 64
"""How many hosts download at once by default. More would only share the same line, and each needs a thread."""

_MOST_SECONDS: Final = 1e9
"""Some thirty years: more is a typing error, and no clock of the system takes it."""

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def at_least(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` up. All of these raise ``ValueError`` that says what is wrong."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is no whole number") from None
        if value < least:
            raise ValueError(f"must be at least {least}, not {value}")
        return value

    return number


def seconds(text: str) -> float:
    """Seconds from 0 up."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds") from None
    if not math.isfinite(value) or not 0 <= value <= _MOST_SECONDS:
        raise ValueError(f"must be a number of seconds from 0 up, not {text}")
    return value


def seconds_above_zero(text: str) -> float:
    """Seconds, and some."""
    value = seconds(text)
    if value == 0:
        raise ValueError("must be above 0")
    return value


def byte_count(text: str) -> int:
    """Bytes: ``4096``, ``500k``, ``1.5M`` (powers of 1,000), ``64KiB`` (powers of 1,024)."""
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number of bytes, like 500k, 1.5M or 2GiB")
    count = int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()])
    if count < 1:
        raise ValueError("must be at least 1 byte")
    return count


def rate(text: str) -> int:
    """Bytes per second, written like ``byte_count``."""
    return byte_count(text.strip().removesuffix("/s"))


def jitter(text: str) -> tuple[float, float]:
    """A range of factors: ``0.5-1.5``; one number is the distance from 1, so ``0.5`` is the same."""
    low, dash, high = text.partition("-")
    try:
        factors = (float(low), float(high)) if dash else (1 - float(low), 1 + float(low))
    except ValueError:
        raise ValueError(f"{text!r} is no range of factors, like 0.5-1.5") from None
    if not 0 <= factors[0] <= factors[1] < math.inf:
        raise ValueError(f"must go from the lower factor to the higher, from 0 up, not {text}")
    return factors


def header(text: str) -> tuple[str, str]:
    """``Name: value``. The error does not show the value: it may be a secret."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError("a header is written as 'Name: value'")
    return name.strip(), value.strip()
